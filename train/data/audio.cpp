// fsdd, fsdd:DIR and audiofolder:DIR: recordings as log-mel frames, normalised by those of the training split.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "tessera/core/error.h"
#include "tessera/core/io/text.h"
#include "tessera/train/data/class_folders.h"
#include "tessera/train/data/digest.h"
#include "tessera/train/data/frames.h"
#include "tessera/train/data/log_mel.h"
#include "tessera/train/data/readers.h"
#include "tessera/train/data/sound.h"

namespace tessera::data {

const FileKind& recording_files() {
  static const FileKind kind{
      "audiofolder", "WAV, FLAC or Ogg file", "WAV, FLAC and Ogg", "recordings", {"wav", "flac", "ogg", "oga"}};
  return kind;
}

namespace {

namespace fs = std::filesystem;

/// Sequences, and the files they come from.
struct Heard : Sequences {
  std::vector<std::string> files;
};

/// Reads files as frames, all at one rate.
class Recordings {
 public:
  explicit Recordings(const LogMelOptions& options) : options_(options) {}

  Heard read(const std::vector<LabelledFile>& files) {
    Heard s;
    s.features = options_.n_mels;
    for (const LabelledFile& file : files) {
      const std::vector<float> frames = frames_of(file);
      if (s.values.size() + frames.size() > most_numbers)
        fail("data", "more than {} numbers of features up to {}: take fewer recordings, or a longer data.hop_ms",
             most_numbers, file.path);
      s.values.insert(s.values.end(), frames.begin(), frames.end());
      s.lengths.push_back(static_cast<int32_t>(frames.size() / static_cast<size_t>(options_.n_mels)));
      s.labels.push_back(file.label), s.files.push_back(file.path);
      longest_ = std::max(longest_, s.lengths.back());
    }
    return s;
  }
  int longest() const { return longest_; }
  int rate() const { return options_.sample_rate; }
  std::string digest() { return digest_.hex(); }

 private:
  static constexpr size_t most_numbers = size_t{1} << 31;  // 8 GB

  std::vector<float> frames_of(const LabelledFile& file) {
    if (!reads_sound()) read_sound(file.path);  // says so
    const auto bytes = read_file(file.path, uint64_t{1} << 30);
    const Sound sound = decode_sound(bytes, file.path);
    if (options_.sample_rate == 0) options_.sample_rate = sound.rate, first_ = file.path;
    if (sound.rate != options_.sample_rate)
      fail("data",
           "{} has {} samples a second, but {} {}: all must have one rate; bring them to it first (sox IN -r RATE OUT)",
           file.path, sound.rate, first_.empty() ? "data.sample_rate is" : first_ + " has", options_.sample_rate);
    digest_.add(fmt::format("{} {}\n", file.label, bytes.size())).add(bytes);
    if (!mel_) mel_ = std::make_unique<LogMel>(options_);
    return frames(*mel_, sound, file.path);
  }

  LogMelOptions options_;
  std::unique_ptr<LogMel> mel_;
  std::string first_;  // the file that set the rate
  Digest digest_{Digest::sha256};
  int longest_ = 1;
};

struct Parts {
  Heard train, val, test;
};

/// The splits of a set: one form, one digest, normalised by the first.
Splits splits_of(const std::string& name, Parts parts, const std::vector<std::string>& classes, Recordings& read) {
  if (parts.train.lengths.empty()) fail("data", "{} has no recordings to train on", name);
  if (parts.test.lengths.empty() && parts.val.lengths.empty())
    fail("data", "{} has no recordings to test on: more of each class are needed, or a folder test", name);
  const Normalisation by = normalisation_of(parts.train);
  const std::string digest = read.digest();
  const auto make = [&](Heard& s, const char* what) -> std::shared_ptr<const Source> {
    if (s.lengths.empty()) return nullptr;
    auto frames = std::make_shared<Frames>(std::make_shared<const Sequences>(std::move(s)), read.longest());
    frames->files = std::move(s.files), frames->name = name + what, frames->digest = digest, frames->by = by;
    frames->classes = static_cast<int>(classes.size()), frames->class_names = classes;
    return frames;
  };
  Splits splits;
  splits.train = make(parts.train, " train"), splits.val = make(parts.val, " val");
  splits.test = make(parts.test, " test");
  splits.sample_rate = read.rate();
  return splits;
}

Heard some_of(const Heard& all, const Index& which) {
  std::vector<size_t> begins;
  size_t at = 0;
  for (const int32_t n : all.lengths)
    begins.push_back(at), at += static_cast<size_t>(n) * static_cast<size_t>(all.features);
  Heard some;
  some.features = all.features;
  for (const int32_t i : which) {
    const auto k = static_cast<size_t>(i);
    const size_t n = static_cast<size_t>(all.lengths[k]) * static_cast<size_t>(all.features);
    const float* from = all.values.data() + begins[k];
    some.values.insert(some.values.end(), from, from + n);
    some.lengths.push_back(all.lengths[k]), some.labels.push_back(all.labels[k]);
    some.files.push_back(all.files[k]);
  }
  return some;
}

/// A recording of the Free Spoken Digit Dataset by its name: <digit>_<speaker>_<n>.wav.
struct Digit {
  int digit = 0, number = 0;
};
bool parse(const std::string& name, Digit& to) {
  const size_t last = name.rfind('_');
  if (name.size() < 8 || name[0] < '0' || name[0] > '9' || name[1] != '_' || last < 3 || !name.ends_with(".wav"))
    return false;
  const char *begin = name.data() + last + 1, *end = name.data() + name.size() - 4;
  const auto [stop, error] = std::from_chars(begin, end, to.number);
  to.digit = name[0] - '0';
  return error == std::errc() && stop == end && to.number >= 0;
}

}  // namespace

std::vector<float> frames(const LogMel& mel, const Sound& sound, const std::string& path) {
  const LogMelOptions& o = mel.options();
  constexpr double most = 1 << 28;  // numbers: 1 GB
  const double hop = std::max(1.0, o.hop_ms * o.sample_rate / 1000 - 1);
  if (static_cast<double>(sound.samples.size()) / hop * o.n_mels > most)
    fail("data", "{} is too long: {} samples make more than {} numbers; cut it into pieces", path, sound.samples.size(),
         most);
  return mel(sound.samples);
}

Splits read_audiofolder(const std::string& dir, const OpenOptions& options) {
  const ClassFolders found = find_classes(recording_files(), dir);
  Recordings read(options.sound);
  Parts parts;
  parts.train = read.read(found.train), parts.val = read.read(found.val), parts.test = read.read(found.test);
  if (!found.split) {
    const auto [four, one] = four_fifths(parts.train.labels, found.classes.size(), options.seed);
    parts.test = some_of(parts.train, one), parts.train = some_of(parts.train, four);
  }
  const size_t train = parts.train.lengths.size(), test = parts.test.lengths.size();
  Splits splits = splits_of("audiofolder:" + dir, std::move(parts), found.classes, read);
  splits.note = note_of(recording_files(), dir, found, train, test);
  return splits;
}

bool is_fsdd(const std::string& dir) {
  const Folder folder(dir);
  const char* first = "0_jackson_0.wav";  // in every version of the set
  return folder.has(first) || folder.has(std::string("recordings/") + first);
}

Splits read_fsdd(const std::string& name, const std::string& dir, const OpenOptions& options) {
  std::error_code error;
  const fs::path folder =
      fs::is_directory(fs::path(dir) / "recordings", error) ? fs::path(dir) / "recordings" : fs::path(dir);
  std::vector<std::string> names;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error))
    names.push_back(it->path().filename().string());
  if (error) fail("data", "cannot list {}: {}", folder.string(), error.message());
  std::sort(names.begin(), names.end());
  std::vector<LabelledFile> train, test;
  size_t skipped = 0;
  for (const std::string& file : names) {
    Digit digit;
    if (!parse(file, digit)) {
      skipped += file.ends_with(".wav");
      continue;
    }
    constexpr int of_the_test = 5;  // the publisher's split: recordings 0 to 4 of each digit and speaker
    (digit.number < of_the_test ? test : train).push_back({(folder / file).string(), digit.digit});
  }
  if (train.empty() || test.empty())
    fail("data", "{} has {} training and {} test recordings (DIGIT_SPEAKER_N.wav, those with N below 5 are the test)",
         folder.string(), train.size(), test.size());
  std::vector<std::string> digits;
  for (char c = '0'; c <= '9'; ++c) digits.emplace_back(1, c);
  Recordings read(options.sound);
  Parts parts;
  parts.train = read.read(train), parts.test = read.read(test);
  Splits splits = splits_of(name, std::move(parts), digits, read);
  constexpr size_t official_train = 2700, official_test = 300;
  if (train.size() != official_train || test.size() != official_test)
    splits.note = fmt::format("{} has {} and {} recordings, the official set {} and {}", name, train.size(),
                              test.size(), official_train, official_test);
  if (skipped > 0)
    splits.note += fmt::format("{}{} of the WAV files are no DIGIT_SPEAKER_N.wav and were not read",
                               splits.note.empty() ? "" : "; ", skipped);
  return splits;
}

}  // namespace tessera::data
