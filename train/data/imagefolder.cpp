// imagefolder:DIR: class folders of PNG and JPEG files, below train/, val/ and test/, or directly below DIR. As for
// torchvision's ImageFolder, classes are the sorted folders and pictures are looked for at any depth below them.
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <map>

#include "tessera/core/error.h"
#include "tessera/core/io/text.h"
#include "tessera/core/rng.h"
#include "tessera/train/data/digest.h"
#include "tessera/train/data/image.h"
#include "tessera/train/data/readers.h"

namespace tessera::data {
namespace {

namespace fs = std::filesystem;

std::string extension(const fs::path& path) {
  std::string e = path.extension().string();
  std::transform(e.begin(), e.end(), e.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return e.empty() ? e : e.substr(1);
}

bool is_picture(const fs::path& path) {
  const std::string e = extension(path);
  return e == "png" || e == "jpg" || e == "jpeg" || e == "jpe" || e == "jfif";
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

std::vector<std::string> class_folders(const fs::path& dir) {
  std::vector<std::string> names;
  for (const auto& e : entries(dir)) {
    if (hidden(e) || !is_folder(e)) continue;
    names.push_back(e.filename().string());
    io::check_text("data", fmt::format("{}: the class folder", dir.string()), names.back());
  }
  return names;
}

/// What lies among the pictures and is none.
class Skipped {
 public:
  void add(const std::string& kind) { ++kinds_[kind], ++count_; }
  /// "3 of 10 files skipped: 2 webp, 1 txt (PNG and JPEG are read)", or "".
  std::string sentence(size_t read) const {
    if (count_ == 0) return "";
    return fmt::format("{} of {} files skipped: {} (PNG and JPEG are read)", count_, read + count_, list());
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

/// The pictures of a class at any depth: a folder's own first, then its folders', both sorted.
struct Pictures {
  std::vector<fs::path> files;
  Skipped skipped;
  std::vector<std::pair<dev_t, ino_t>> above;  // the folders we are in

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
        if (is_picture(e)) skipped.add("hidden");
      } else if (is_picture(e)) {
        files.push_back(e);
      } else {
        const std::string kind = extension(e);
        skipped.add(kind.empty() || kind.size() > 12 ? "without extension" : kind);
      }
    }
    for (const auto& folder : folders) look(folder);
    above.pop_back();
  }
};

struct PictureReader {
  int img_size = 0;
  Digest digest{Digest::sha256};
  Skipped skipped{};
  size_t read = 0;
  std::string first{};  // the file that set the size
  int height = 0, width = 0;

  void add(Samples& to, const fs::path& path, int label) {
    Image image = read_image(path.string());
    if (img_size > 0 && (image.h != img_size || image.w != img_size)) image = fit(image, img_size);
    if (first.empty()) first = path.string(), height = image.h, width = image.w;
    if (image.h != height || image.w != width)
      fail("data",
           "{} is {}x{} pixels but {} is {}x{}; give one size to all: data.img_size=N (data info: --img-size N)",
           path.string(), image.w, image.h, first, width, height);
    to.h = height, to.w = width, to.channels = 3;
    to.pixels.insert(to.pixels.end(), image.pixels.begin(), image.pixels.end());
    to.labels.push_back(label);
    digest.add(fmt::format("{} {} {}\n", label, image.w, image.h)).add(image.pixels);
    ++read;
  }
};

Samples read_classes(PictureReader& reader, const fs::path& dir, const std::vector<std::string>& classes) {
  for (const auto& found : class_folders(dir))
    if (!std::binary_search(classes.begin(), classes.end(), found))
      fail("data", "{} has the class folder '{}' that the training folder lacks", dir.string(), found);
  for (const auto& e : entries(dir))
    if (!is_folder(e) && is_picture(e) && !hidden(e)) reader.skipped.add("beside the class folders");
  Samples samples;
  for (size_t label = 0; label < classes.size(); ++label) {
    const fs::path folder = dir / classes[label];
    Pictures found;
    if (is_folder(folder)) found.look(folder);
    if (found.files.empty())
      fail("data", "{} holds no PNG or JPEG file{}", folder.string(),
           found.skipped.list().empty() ? "" : fmt::format(", but {}", found.skipped.list()));
    for (const auto& file : found.files) reader.add(samples, file, static_cast<int>(label));
    reader.skipped.add(found.skipped);
  }
  return samples;
}

// Every fifth sample of each class, in random order, goes to the test set.
std::pair<Samples, Samples> cut(const Samples& all, size_t classes, uint64_t seed) {
  std::vector<size_t> seen(classes, 0);
  std::pair<Samples, Samples> parts;
  const size_t bytes = static_cast<size_t>(all.h) * static_cast<size_t>(all.w) * static_cast<size_t>(all.channels);
  for (int32_t i : permutation(all.labels.size(), seed ^ rng::hash("imagefolder"))) {
    const int32_t label = all.labels[static_cast<size_t>(i)];
    Samples& s = seen[static_cast<size_t>(label)]++ % 5 == 1 ? parts.second : parts.first;
    s.h = all.h, s.w = all.w, s.channels = all.channels;
    const auto begin = all.pixels.begin() + static_cast<std::ptrdiff_t>(static_cast<size_t>(i) * bytes);
    s.pixels.insert(s.pixels.end(), begin, begin + static_cast<std::ptrdiff_t>(bytes));
    s.labels.push_back(label);
  }
  return parts;
}

void add_sentence(std::string& note, const std::string& sentence) {
  if (!sentence.empty()) note += (note.empty() ? "" : "; ") + sentence;
}

/// Folders beside train, val and test: "validation", whose pictures somebody may believe to be used.
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

TrainTest read_imagefolder(const std::string& dir, const OpenOptions& options) {
  const fs::path root(dir);
  io::check_text("data", "imagefolder: the folder", dir);
  if (!is_folder(root)) fail("data", "imagefolder: {} is not a folder", dir);
  if (options.img_size < 0 || options.img_size > 4096)
    fail("data", "img_size {} makes no sense; 1 to 4096, or 0 to leave images as they are", options.img_size);
  const bool two_levels = is_folder(root / "train"), has_test = is_folder(root / "test"),
             has_val = is_folder(root / "val");
  if (two_levels && !has_test && !has_val)
    fail("data", "{} has a train folder but neither test nor val; add one, or put the class folders directly below {}",
         dir, dir);
  if (!two_levels && (has_test || has_val))
    fail("data", "{} has a {} folder but no train folder; add it, or rename what is a class", dir,
         has_test ? "test" : "val");
  const auto classes = class_folders(two_levels ? root / "train" : root);
  if (classes.size() < 2)
    fail("data", "{} has {} class folders; at least two are needed (train/CLASS/*.png and test/CLASS/*.png)",
         (two_levels ? root / "train" : root).string(), classes.size());
  if (classes.size() > most_classes)
    fail("data", "{} has {} class folders; {} are the most", dir, classes.size(), most_classes);
  PictureReader reader{.img_size = options.img_size};
  Samples train, val, test;
  if (two_levels) {
    train = read_classes(reader, root / "train", classes);
    if (has_val) val = read_classes(reader, root / "val", classes);
    if (has_test) test = read_classes(reader, root / "test", classes);
  } else {
    std::tie(train, test) = cut(read_classes(reader, root, classes), classes.size(), options.seed);
  }
  TrainTest data = assemble("imagefolder:" + dir, std::move(train), std::move(test), classes, reader.digest.hex(),
                            false, std::move(val));
  if (!two_levels)
    data.note =
        fmt::format("{} has no train folder: its images were split 80/20 into {} for training and {} for testing", dir,
                    data.train.size(), data.test.size());
  if (has_val && !has_test)
    data.note = fmt::format("{} has no test folder: val is the validation split, and nothing is tested", dir);
  if (two_levels) add_sentence(data.note, unread(root));
  add_sentence(data.note, reader.skipped.sentence(reader.read));
  return data;
}

}  // namespace tessera::data
