#include "tessera/train/data/set.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tessera/core/error.h"
#include "tessera/core/io/text.h"
#include "tessera/core/rng.h"
#include "tessera/train/data/augment.h"
#include "tessera/train/data/readers.h"
#include "tessera/train/data/subset.h"

namespace tessera::data {
namespace {

// Exact sums of integers: the same stats on every machine and for any order of samples.
Stats stats_of(const Samples& s) {
  Stats stats;
  const auto c = static_cast<size_t>(s.channels);
  std::vector<std::array<uint64_t, 256>> count(c);
  for (auto& a : count) a.fill(0);
  for (size_t i = 0; i < s.pixels.size(); i += c)
    for (size_t j = 0; j < c; ++j) ++count[j][s.pixels[i + j]];
  for (size_t j = 0; j < c; ++j) {
    uint64_t n = 0, sum = 0, squares = 0;
    for (uint64_t v = 0; v < 256; ++v) n += count[j][v], sum += v * count[j][v], squares += v * v * count[j][v];
    const double mean = static_cast<double>(sum) / static_cast<double>(n);
    const double variance = static_cast<double>(squares) / static_cast<double>(n) - mean * mean;
    stats.mean[j] = static_cast<float>(mean / 255);
    // a constant channel would divide by 0: leave it unscaled
    stats.std[j] = variance > 1e-6 ? static_cast<float>(std::sqrt(variance) / 255) : 1.0f;
  }
  return stats;
}

/// The pixels that the rest of the program indexes without asking.
void check_pixels(const std::string& name, const char* what, const Samples& s) {
  if (s.h < 1 || s.w < 1 || s.channels < 1 || s.channels > 4)
    fail("data", "{}: {} images of {}x{}x{} (height, width, channels) cannot be", name, what, s.h, s.w, s.channels);
  const size_t bytes = static_cast<size_t>(s.h) * static_cast<size_t>(s.w) * static_cast<size_t>(s.channels);
  if (s.labels.size() > static_cast<size_t>(INT32_MAX) || s.pixels.size() / bytes != s.labels.size() ||
      s.pixels.size() % bytes != 0)
    fail("data", "{}: {} {} labels need as many images of {} bytes, but there are {} bytes of pixels", name,
         s.labels.size(), what, bytes, s.pixels.size());
}

Set make_set(const std::string& name, Samples s, const TrainTest& common) {
  Set set = common.train;
  set.name = name;
  set.h = s.h, set.w = s.w, set.channels = s.channels;
  set.rows.resize(s.labels.size());
  std::iota(set.rows.begin(), set.rows.end(), 0);
  set.pixels = std::make_shared<const std::vector<uint8_t>>(std::move(s.pixels));
  set.labels = std::make_shared<const Index>(std::move(s.labels));
  return set;
}

}  // namespace

std::string_view name(Augmentation a) {
  constexpr std::string_view names[] = {"crop", "flip", "randaug", "erase", "mixup", "cutmix"};
  return names[static_cast<size_t>(a)];
}

namespace {

struct ImageReader final : Reader {
  ImageReader(const Augment& a, const Set& set) : augment(a), pipeline(a, set) {}
  void begin(uint64_t seed, int epoch) override { pipeline.begin(seed, epoch); }
  void fill(size_t i, rng::Stream stream, const Slot& slot) override { pipeline.apply(i, stream, slot.x); }
  void mix(Batch& batch, rng::Stream stream) override {
    data::mix(augment, batch.in.x, batch.labels, batch.targets, stream);
  }
  const Augment augment;
  Pipeline pipeline;
};

}  // namespace

std::unique_ptr<Reader> Set::reader(const Augment& augment) const {
  check(augment, *this);
  return std::make_unique<ImageReader>(augment, *this);
}

Normalisation Set::normalisation() const {
  const auto each = [&](const std::array<float, 4>& of) {
    return std::vector<float>(of.begin(), of.begin() + channels);
  };
  return {each(stats.mean), each(stats.std)};
}

std::shared_ptr<const Source> Set::normalised_by(const Normalisation& by) const {
  const auto n = static_cast<size_t>(channels);
  if (by.mean.size() != n || by.std.size() != n)
    fail("data", "{} has {} channels, but {} means and {} deviations to normalise them by", name, channels,
         by.mean.size(), by.std.size());
  auto set = std::make_shared<Set>(*this);
  std::copy(by.mean.begin(), by.mean.end(), set->stats.mean.begin());
  std::copy(by.std.begin(), by.std.end(), set->stats.std.begin());
  return set;
}

std::vector<int64_t> Set::histogram() const { return data::histogram(*this); }

Tensor Set::tensor(std::span<const size_t> which) const {
  Tensor x({static_cast<int>(which.size()), h, w, channels});
  const Pipeline pipeline({}, *this);
  real* out = x.data();
  for (size_t i : which) {
    if (i >= size()) fail("data", "{} has {} images, number {} was asked for", name, size(), i);
    pipeline.normalise(image(i), out);
    out += bytes();
  }
  return x;
}

void check_labels(const std::string& name, const std::string& what, const Index& labels, size_t samples,
                  std::span<const std::string> class_names) {
  const size_t classes = class_names.size();
  if (classes < 1 || classes > most_classes)
    fail("data", "{} has {} classes; 1 to {} can be", name, classes, most_classes);
  for (const std::string& c : class_names) io::check_text("data", fmt::format("{}: the class", name), c);
  if (labels.size() != samples) fail("data", "{} has {} labels for {} {}s", name, labels.size(), samples, what);
  for (size_t i = 0; i < labels.size(); ++i)
    if (labels[i] < 0 || static_cast<size_t>(labels[i]) >= classes)
      fail("data", "{}: {} {} has label {}, but labels are 0 to {}", name, what, i, labels[i], classes - 1);
}

TrainTest assemble(const std::string& name, Samples train, Samples test, std::vector<std::string> class_names,
                   const std::string& digest, bool official, Samples val) {
  if (train.labels.empty() || (test.labels.empty() && val.labels.empty()))
    fail("data", "{} has {} training and {} test images; both need at least one", name, train.labels.size(),
         test.labels.size());
  return put_together(name, std::move(train), std::move(test), std::move(class_names), digest, official,
                      std::move(val));
}

TrainTest put_together(const std::string& name, Samples train, Samples test, std::vector<std::string> class_names,
                       const std::string& digest, bool official, Samples val) {
  if (train.labels.empty()) fail("data", "{} has no training images", name);
  for (const auto& [what, part] : {std::pair{"training", &train}, {"validation", &val}, {"test", &test}}) {
    check_labels(name, std::string(what) + " image", part->labels, part->labels.size(), class_names);
    if (part->labels.empty() && part->pixels.empty()) {
      part->h = train.h, part->w = train.w, part->channels = train.channels;
      continue;
    }
    check_pixels(name, what, *part);
    if (train.h != part->h || train.w != part->w || train.channels != part->channels)
      fail("data", "{}: training images are {}x{}x{} but {} images {}x{}x{} (height, width, channels)", name, train.h,
           train.w, train.channels, what, part->h, part->w, part->channels);
  }
  TrainTest data;
  data.classes = data.train.classes = static_cast<int>(class_names.size());
  data.train.class_names = std::move(class_names);
  data.train.stats = stats_of(train);
  data.train.digest = digest;
  data.train.official = official;
  data.test = make_set(name + " test", std::move(test), data);
  data.val = make_set(name + " val", std::move(val), data);
  data.train = make_set(name + " train", std::move(train), data);
  return data;
}

void refuse(TrainTest& data, std::initializer_list<Augmentation> which, const std::string& why) {
  for (Set* set : {&data.train, &data.val, &data.test}) {
    for (Augmentation a : which) set->breaks |= 1u << static_cast<unsigned>(a);
    set->why_refused = why;
  }
}

Set subset(const Set& set, const Index& which) {
  Set s = set;
  s.rows.resize(which.size());
  for (size_t i = 0; i < which.size(); ++i) s.rows[i] = set.rows[static_cast<size_t>(which[i])];
  return s;
}

std::pair<Set, Set> split(const Set& set, size_t first, size_t second, uint64_t seed) {
  const auto [a, b] = split_rows(set, first, second, seed);
  auto parts = std::make_pair(subset(set, a), subset(set, b));
  parts.second.name += held_out;
  return parts;
}

Set fraction(const Set& set, double share, uint64_t seed) { return subset(set, fraction_rows(set, share, seed)); }

}  // namespace tessera::data
