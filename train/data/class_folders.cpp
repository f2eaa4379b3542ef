#include "tessera/train/data/class_folders.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <map>

#include "tessera/core/error.h"
#include "tessera/core/io/text.h"
#include "tessera/core/rng.h"
#include "tessera/train/data/readers.h"

namespace tessera::data {
namespace {

namespace fs = std::filesystem;

std::string extension(const fs::path& path) {
  std::string e = path.extension().string();
  std::transform(e.begin(), e.end(), e.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return e.empty() ? e : e.substr(1);
}

bool hidden(const fs::path& path) { return path.filename().string().starts_with("."); }

bool is_folder(const fs::path& path) {
  std::error_code none;
  return fs::is_directory(path, none);
}

/// Everything in a folder, sorted, so that class numbers and orders never depend on the file system.
std::vector<fs::path> entries(const fs::path& dir) {
  std::vector<fs::path> all;
  std::error_code error;
  for (fs::directory_iterator it(dir, error), end; !error && it != end; it.increment(error)) all.push_back(it->path());
  if (error) fail("data", "cannot list {}: {}", dir.string(), error.message());
  std::sort(all.begin(), all.end());
  return all;
}

std::vector<std::string> folders_of(const fs::path& dir) {
  std::vector<std::string> names;
  for (const auto& e : entries(dir)) {
    if (hidden(e) || !is_folder(e)) continue;
    names.push_back(e.filename().string());
    io::check_text("data", fmt::format("{}: the class folder", dir.string()), names.back());
  }
  return names;
}

/// What lies among the files and is none of them.
class Skipped {
 public:
  void add(const std::string& kind) { ++kinds_[kind], ++count_; }
  size_t count() const { return count_; }
  /// "3 of 10 files skipped: 2 webp, 1 txt (PNG and JPEG are read)", or "".
  std::string sentence(size_t read, const char* what) const {
    if (count_ == 0) return "";
    return fmt::format("{} of {} files skipped: {} ({} are read)", count_, read + count_, list(), what);
  }
  /// "2 webp, 1 txt", the most frequent first.
  std::string list() const {
    constexpr size_t listed = 6;
    std::vector<std::pair<std::string, size_t>> kinds(kinds_.begin(), kinds_.end());
    std::stable_sort(kinds.begin(), kinds.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
    std::string text;
    for (size_t i = 0; i < kinds.size() && i < listed; ++i)
      text += fmt::format("{}{} {}", i > 0 ? ", " : "", kinds[i].second, kinds[i].first);
    return kinds.size() > listed ? text + ", ..." : text;
  }
  void add(const Skipped& other) {
    for (const auto& [kind, n] : other.kinds_) kinds_[kind] += n;
    count_ += other.count_;
  }

 private:
  std::map<std::string, size_t> kinds_;
  size_t count_ = 0;
};

/// The files of a class at any depth: a folder's own first, then its folders', both sorted.
struct Class {
  const FileKind& kind;
  std::vector<std::string> files{};
  Skipped skipped{};
  std::vector<std::pair<dev_t, ino_t>> above{};  // the folders we are in

  void look(const fs::path& dir) {
    struct stat info {};
    if (::stat(dir.c_str(), &info) != 0) fail("data", "cannot read {}: {}", dir.string(), io::explain_read(errno));
    const std::pair id{info.st_dev, info.st_ino};
    if (std::find(above.begin(), above.end(), id) != above.end() || above.size() > 60)
      fail("data", "{} leads back into a folder above it (or is very deep); remove the link", dir.string());
    above.push_back(id);
    std::vector<fs::path> folders;
    for (const auto& e : entries(dir)) {
      if (is_folder(e)) {
        if (!hidden(e)) folders.push_back(e);
      } else if (hidden(e)) {
        if (kind.is(e)) skipped.add("hidden");
      } else if (kind.is(e)) {
        files.push_back(e.string());
      } else {
        const std::string ending = extension(e);
        skipped.add(ending.empty() || ending.size() > 12 ? "without extension" : ending);
      }
    }
    for (const auto& folder : folders) look(folder);
    above.pop_back();
  }
};

std::vector<LabelledFile> files_of(const FileKind& kind, const fs::path& dir, const std::vector<std::string>& classes,
                                   Skipped& skipped) {
  for (const auto& found : folders_of(dir))
    if (!std::binary_search(classes.begin(), classes.end(), found))
      fail("data", "{} has the class folder '{}' that the training folder lacks", dir.string(), found);
  for (const auto& e : entries(dir))
    if (!is_folder(e) && kind.is(e) && !hidden(e)) skipped.add("beside the class folders");
  std::vector<LabelledFile> all;
  for (size_t label = 0; label < classes.size(); ++label) {
    const fs::path folder = dir / classes[label];
    Class found{kind};
    if (is_folder(folder)) found.look(folder);
    if (found.files.empty())
      fail("data", "{} holds no {}{}", folder.string(), kind.file,
           found.skipped.list().empty() ? "" : fmt::format(", but {}", found.skipped.list()));
    for (std::string& file : found.files) all.push_back({std::move(file), static_cast<int>(label)});
    skipped.add(found.skipped);
  }
  return all;
}

void add_sentence(std::string& note, const std::string& sentence) {
  if (!sentence.empty()) note += (note.empty() ? "" : "; ") + sentence;
}

/// Folders beside train, val and test: "validation", whose files somebody may believe to be used.
std::string unread(const fs::path& root) {
  std::string names;
  for (const auto& e : entries(root)) {
    const std::string name = e.filename().string();
    if (!hidden(e) && is_folder(e) && name != "train" && name != "val" && name != "test")
      names += (names.empty() ? "" : ", ") + name;
  }
  return names.empty() ? "" : fmt::format("not read: {} (train, val and test are)", names);
}

}  // namespace

FilesBelow files_below(const FileKind& kind, const std::string& dir) {
  Class all{kind};
  all.look(dir);
  std::sort(all.files.begin(), all.files.end());
  return {std::move(all.files), all.skipped.count()};
}

bool FileKind::is(const std::string& path) const {
  return std::find(endings.begin(), endings.end(), extension(path)) != endings.end();
}

ClassFolders find_classes(const FileKind& kind, const std::string& dir) {
  const fs::path root(dir);
  io::check_text("data", fmt::format("{}: the folder", kind.spec), dir);
  if (!is_folder(root))
    fail("data", "{}: {} is not a folder; name one with train/CLASS/*.{} and test/CLASS/*.{}", kind.spec, dir,
         kind.endings.front(), kind.endings.front());
  const bool two_levels = is_folder(root / "train"), has_test = is_folder(root / "test"),
             has_val = is_folder(root / "val");
  if (two_levels && !has_test && !has_val)
    fail("data", "{} has a train folder but neither test nor val; add one, or put the class folders directly below {}",
         dir, dir);
  if (!two_levels && (has_test || has_val))
    fail("data", "{} has a {} folder but no train folder; add it, or rename what is a class", dir,
         has_test ? "test" : "val");
  ClassFolders found;
  found.split = two_levels;
  const fs::path first = two_levels ? root / "train" : root;
  found.classes = folders_of(first);
  if (found.classes.size() < 2)
    fail("data", "{} has {} class folders; at least two are needed (train/CLASS/*.{} and test/CLASS/*.{})",
         first.string(), found.classes.size(), kind.endings.front(), kind.endings.front());
  if (found.classes.size() > most_classes)
    fail("data", "{} has {} class folders; {} are the most", dir, found.classes.size(), most_classes);
  Skipped skipped;
  found.train = files_of(kind, first, found.classes, skipped);
  if (has_val) found.val = files_of(kind, root / "val", found.classes, skipped);
  if (has_test) found.test = files_of(kind, root / "test", found.classes, skipped);
  if (has_val && !has_test)
    found.note = fmt::format("{} has no test folder: val is the validation split, and nothing is tested", dir);
  if (two_levels) add_sentence(found.note, unread(root));
  found.skipped = skipped.sentence(found.train.size() + found.val.size() + found.test.size(), kind.read);
  return found;
}

std::pair<Index, Index> four_fifths(const Index& labels, size_t classes, uint64_t seed) {
  std::vector<size_t> seen(classes, 0);
  std::pair<Index, Index> parts;
  for (const int32_t i : permutation(labels.size(), seed ^ rng::hash("imagefolder"))) {
    size_t& n = seen[static_cast<size_t>(labels[static_cast<size_t>(i)])];
    (n++ % 5 == 1 ? parts.second : parts.first).push_back(i);
  }
  return parts;
}

std::string note_of(const FileKind& kind, const std::string& dir, const ClassFolders& folders, size_t train,
                    size_t test) {
  std::string note = folders.note;
  if (!folders.split)
    note = fmt::format("{} has no train folder: its {} were split 80/20 into {} for training and {} for testing", dir,
                       kind.samples, train, test);
  add_sentence(note, folders.skipped);
  return note;
}

}  // namespace tessera::data
