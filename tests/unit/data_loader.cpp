// The loader: contents are a function of (seed, epoch, batch), whatever the threads, the buffers or where a run
// resumes.
#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <set>
#include <thread>

#include "tessera/core/error.h"
#include "tessera/train/data/loader.h"
#include "tessera/train/data/subset.h"
#include "tessera/train/data/where.h"

using namespace tessera;
using namespace tessera::data;

namespace {

// n random pictures of `classes` classes, in which every augmentation is allowed.
data::Set noise(size_t n, int h, int w, int channels, int classes) {
  data::Set set;
  set.name = "noise";
  set.h = h, set.w = w, set.channels = channels, set.classes = classes;
  std::vector<uint8_t> pixels(n * static_cast<size_t>(h * w * channels));
  const rng::Stream stream(99);
  for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<uint8_t>(stream.bits(i));
  Index labels(n);
  for (size_t i = 0; i < n; ++i) {
    labels[i] = static_cast<int>(i) % classes;
    set.rows.push_back(static_cast<int>(i));
    set.class_names.resize(static_cast<size_t>(classes));
  }
  set.pixels = std::make_shared<const std::vector<uint8_t>>(pixels);
  set.labels = std::make_shared<const Index>(labels);
  set.stats.mean = {0.5f, 0.4f, 0.3f, 0};
  set.stats.std = {0.25f, 0.2f, 0.3f, 1};
  return set;
}

struct Copy {
  std::vector<float> x, targets;
  std::vector<int> labels;
  int of;
  bool operator==(const Copy&) const = default;
};
Copy copy(const Batch& b) {
  Copy c;
  c.x.assign(b.in.x.values().begin(), b.in.x.values().end());
  if (b.targets) c.targets.assign(b.targets.values().begin(), b.targets.values().end());
  c.labels.assign(b.labels.begin(), b.labels.end());
  c.of = b.of;
  return c;
}
std::vector<Copy> epoch(Loader& loader, int e, size_t first = 0) {
  std::vector<Copy> all;
  for (const Batch& b : loader.epoch(e, first)) all.push_back(copy(b));
  return all;
}

const Augment everything{.crop = 4, .flip = true, .randaug_n = 2, .erase = 0.5, .mixup = 0.8, .cutmix = 1.0};

}  // namespace

TEST_CASE("loader: every sample once an epoch, the last short batch kept") {
  const data::Set set = noise(107, 8, 8, 3, 5);
  Loader loader(set, {.batch_size = 25, .seed = 3});
  CHECK(loader.batches() == 5);
  std::vector<int> sizes;
  std::multiset<int> labels;
  double sum = 0;
  for (const Batch& b : loader.epoch(0)) {
    sizes.push_back(b.size());
    CHECK(b.of == b.size());
    CHECK(b.first == 0);
    CHECK_FALSE(b.targets);
    labels.insert(b.labels.begin(), b.labels.end());
    for (float v : b.in.x.values()) sum += static_cast<double>(v);
  }
  CHECK(sizes == std::vector<int>{25, 25, 25, 25, 7});
  const auto counts = set.histogram();
  for (int k = 0; k < 5; ++k) CHECK(static_cast<int64_t>(labels.count(k)) == counts[static_cast<size_t>(k)]);
  double direct = 0;
  std::vector<size_t> which(set.size());
  for (size_t i = 0; i < which.size(); ++i) which[i] = i;
  const Tensor loaded = set.tensor(which);
  for (float v : loaded.values()) direct += static_cast<double>(v);
  CHECK(sum == doctest::Approx(direct).epsilon(1e-9));
}

TEST_CASE("loader: normalised values are (v / 255 - mean) / std, in the set's order without shuffling") {
  const data::Set set = noise(10, 4, 5, 3, 2);
  Loader loader(set, {.batch_size = 10, .shuffle = false});
  for (const Batch& b : loader.epoch(0)) {
    REQUIRE(b.in.x.shape() == Shape{10, 4, 5, 3});
    for (int64_t i = 0; i < b.in.x.size(); ++i) {
      const auto c = static_cast<size_t>(i % 3);
      const double v = (*set.pixels)[static_cast<size_t>(i)] / 255.0;
      const double expected = (v - static_cast<double>(set.stats.mean[c])) / static_cast<double>(set.stats.std[c]);
      REQUIRE(std::abs(static_cast<double>(b.in.x[i]) - expected) < 1e-6);
    }
  }
}

TEST_CASE("loader: equal bits for any number of workers; seeds and epochs differ") {
  const data::Set set = noise(203, 16, 16, 3, 4);
  Loader one(set, {.batch_size = 32, .seed = 5, .augment = everything});
  Loader three(set, {.batch_size = 32, .seed = 5, .augment = everything, .workers = 3});
  Loader other(set, {.batch_size = 32, .seed = 6, .augment = everything});
  const auto a = epoch(one, 0), b = epoch(one, 1);
  CHECK(a == epoch(three, 0));
  CHECK(b == epoch(three, 1));
  CHECK(a == epoch(one, 0));
  CHECK(a != b);
  CHECK(a != epoch(other, 0));
}

TEST_CASE("loader: an epoch resumed at batch k equals the rest of the whole epoch") {
  const data::Set set = noise(203, 8, 8, 3, 4);
  Loader loader(set, {.batch_size = 32, .seed = 5, .augment = everything});
  const auto whole = epoch(loader, 3);
  REQUIRE(whole.size() == 7);
  for (size_t k = 0; k <= 7; ++k) {
    Loader fresh(set, {.batch_size = 32, .seed = 5, .augment = everything});
    CHECK(epoch(fresh, 3, k) == std::vector<Copy>(whole.begin() + static_cast<std::ptrdiff_t>(k), whole.end()));
  }
  CHECK_THROWS_AS(loader.epoch(3, 8), Error);
}

TEST_CASE("loader: leaving an epoch early, dropping it unused, and one at a time") {
  const data::Set set = noise(100, 8, 8, 3, 4);
  Loader loader(set, {.batch_size = 10, .seed = 1});
  const auto whole = epoch(loader, 0);
  for (int attempt = 0; attempt < 20; ++attempt) {
    int n = 0;
    for (const Batch& b : loader.epoch(0)) {
      CHECK(copy(b) == whole[static_cast<size_t>(n)]);
      if (++n > attempt % 4) break;
    }
  }
  { const Epoch unused = loader.epoch(0); }
  CHECK(epoch(loader, 0) == whole);
  const Epoch running = loader.epoch(0);
  CHECK_THROWS_WITH_AS(loader.epoch(1), doctest::Contains("still running"), Error);
}

TEST_CASE("loader: a copy of a batch's tensor survives; buffers are reused otherwise") {
  const data::Set set = noise(96, 8, 8, 3, 4);
  Loader loader(set, {.batch_size = 8, .seed = 1});
  const auto whole = epoch(loader, 0);
  std::vector<Tensor> kept;
  for (const Batch& b : loader.epoch(0)) kept.push_back(b.in.x);
  for (size_t i = 0; i < kept.size(); ++i)
    CHECK(std::equal(kept[i].values().begin(), kept[i].values().end(), whole[i].x.begin()));
  kept.clear();
  std::set<const float*> buffers;
  for (int e = 0; e < 3; ++e)
    for (const Batch& b : loader.epoch(e)) buffers.insert(b.in.x.data());
  CHECK(buffers.size() <= 2);
}

TEST_CASE("loader: shards are views that know their place") {
  const data::Set set = noise(20, 8, 8, 3, 4);
  Loader loader(set, {.batch_size = 20, .seed = 1, .augment = {.mixup = 1}});
  for (const Batch& b : loader.epoch(0)) {
    const Batch shard = b.rows(8, 16);
    CHECK(shard.size() == 8);
    CHECK(shard.first == 8);
    CHECK(shard.of == 20);
    CHECK(shard.in.x.data() == b.in.x.data() + 8 * 8 * 8 * 3);
    CHECK(shard.targets.data() == b.targets.data() + 8 * 4);
    CHECK(shard.labels.data() == b.labels.data() + 8);
    CHECK(shard.rows(2, 4).first == 10);
  }
}

TEST_CASE("loader: mixing stops at its epoch") {
  const data::Set set = noise(20, 8, 8, 3, 4);
  Loader loader(set, {.batch_size = 20, .seed = 1, .augment = {.cutmix = 1, .mix_off_epoch = 2}});
  for (int e = 0; e < 4; ++e)
    for (const Batch& b : loader.epoch(e)) CHECK(static_cast<bool>(b.targets) == (e < 2));
}

TEST_CASE("progressive: sizes are read, found by epoch, and refused in one line where they make no sense") {
  const auto sizes = progressive("16@0, 24@1.5 ,32@3");
  REQUIRE(sizes.size() == 3);
  for (const auto& [epoch, size] : {std::pair(0.0, 16), {1.4, 16}, {1.5, 24}, {2.99, 24}, {3.0, 32}, {100.0, 32}})
    CHECK(size_at(sizes, epoch) == size);
  CHECK(progressive("").empty());
  CHECK(size_at({}, 3) == 0);
  CHECK(mean_area(sizes, 32, 0, 4) == doctest::Approx((1.5 * 0.25 + 1.5 * 0.5625 + 1) / 4));
  CHECK(mean_area({}, 32, 0, 4) == 1);
  for (const char* wrong :
       {"16", "16@1", "@0", "16@", "0@0", "16@0,24@0", "16@0,24@2,32@1", "16@0,", "16@nan", "5000@0", "16x16@0"})
    CHECK_THROWS_WITH_AS(progressive(wrong), doctest::Contains("data.progressive"), Error);
}

TEST_CASE("progressive: images are resized as torch's antialiased bilinear does") {
  // F.interpolate(x, size=(4, 4), mode="bilinear", antialias=True) of PyTorch 2.14 in float64
  Tensor x({1, 6, 6, 1}), memory;
  for (int64_t i = 0; i < 36; ++i) x[i] = static_cast<real>(i * 37 % 11);
  const double expected[] = {2.2499999999999996,
                             6.638888888888887,
                             3.861111111111111,
                             5.671875,
                             5.055555555555555,
                             5.370370370370369,
                             5.444444444444445,
                             3.7222222222222214,
                             6.569444444444445,
                             5.0,
                             5.074074074074074,
                             3.4027777777777777,
                             6.625,
                             4.597222222222221,
                             3.6527777777777777,
                             5.75};
  const Tensor y = resize_images(x, 4, memory);
  REQUIRE(y.shape() == Shape{1, 4, 4, 1});
  for (int64_t i = 0; i < 16; ++i) CHECK(std::abs(static_cast<double>(y[i]) - expected[i]) < 1e-5);
  CHECK(resize_images(x, 6, memory).storage() == x.storage());
}

TEST_CASE("progressive: a loader's sizes follow epoch and batch, also of one that begins in the midst of them") {
  const auto source = std::make_shared<const data::Set>(noise(40, 16, 16, 3, 4));
  LoaderOptions options{
      .batch_size = 10, .seed = 5, .augment = everything, .progressive = progressive("8@0, 12@0.5, 16@2")};
  Loader loader(source, options);
  std::vector<int> seen;
  for (int e = 0; e < 3; ++e)
    for (const Batch& b : loader.epoch(e)) seen.push_back(b.in.x.dim(1));
  CHECK(seen == std::vector<int>{8, 8, 12, 12, 12, 12, 12, 12, 16, 16, 16, 16});
  const auto whole = epoch(loader, 0);
  options.workers = 3;
  Loader other(source, options);
  CHECK(epoch(other, 0, 1) == std::vector<Copy>(whole.begin() + 1, whole.end()));
  options.progressive = progressive("17@0");
  CHECK_THROWS_WITH_AS(Loader(source, options), doctest::Contains("larger than the images"), Error);
  options.progressive = progressive("8@0");
  CHECK_THROWS_WITH_AS(Loader(std::make_shared<const data::Set>(noise(40, 16, 12, 3, 4)), options),
                       doctest::Contains("square"), Error);
}

TEST_CASE("loader: alternating flips show every image one way in even epochs and the other way in odd ones") {
  const data::Set set = noise(200, 6, 8, 3, 4);
  const auto images = [](const std::vector<Copy>& batches) {
    std::vector<std::vector<float>> all;
    const size_t size = 6 * 8 * 3;
    for (const Copy& b : batches)
      for (size_t i = 0; i < b.labels.size(); ++i)
        all.emplace_back(b.x.begin() + static_cast<std::ptrdiff_t>(i * size),
                         b.x.begin() + static_cast<std::ptrdiff_t>((i + 1) * size));
    return all;
  };
  const auto mirror = [](const std::vector<float>& image) {
    std::vector<float> m;
    for (size_t y = 0; y < 6; ++y)
      for (size_t x = 0; x < 8; ++x)
        for (size_t c = 0; c < 3; ++c) m.push_back(image[(y * 8 + 7 - x) * 3 + c]);
    return m;
  };
  const Augment alternate{.flip = true, .flip_mode = "alternate"};
  Loader plain(set, {.batch_size = 32, .shuffle = false});
  Loader flips(set, {.batch_size = 32, .seed = 5, .augment = alternate, .shuffle = false, .workers = 3});
  Loader other(set, {.batch_size = 32, .seed = 6, .augment = alternate, .shuffle = false});
  const auto as_they_are = images(epoch(plain, 0));
  const auto sides = [&](Loader& loader, int e) {
    std::vector<bool> mirrored;
    const auto seen = images(epoch(loader, e));
    for (size_t i = 0; i < seen.size(); ++i) {
      mirrored.push_back(seen[i] == mirror(as_they_are[i]));
      REQUIRE((mirrored[i] || seen[i] == as_they_are[i]));
    }
    return mirrored;
  };
  const auto first = sides(flips, 0), second = sides(flips, 1);
  for (size_t i = 0; i < set.size(); ++i) CHECK(first[i] != second[i]);
  CHECK(sides(flips, 2) == first);
  CHECK(sides(flips, 7) == second);
  CHECK(std::abs(std::ranges::count(first, true) - 100) < 36);  // a half: 5 sigma
  CHECK(sides(other, 0) != first);
  // with a shuffled order and from the middle of an epoch on, too
  Loader whole(set, {.batch_size = 32, .seed = 5, .augment = alternate}),
      rest(set, {.batch_size = 32, .seed = 5, .augment = alternate});
  const auto all = epoch(whole, 1);
  CHECK(epoch(rest, 1, 4) == std::vector<Copy>(all.begin() + 4, all.end()));
  // a part of other data passes the epoch on
  struct Passing final : data::Source {  // not a Set, whose parts are Sets
    const data::Set& of;
    explicit Passing(const data::Set& s) : of(s) { classes = s.classes; }
    size_t size() const override { return of.size(); }
    InputShape form() const override { return of.form(); }
    int label(size_t i) const override { return of.label(i); }
    std::unique_ptr<data::Reader> reader(const Augment& a) const override { return of.reader(a); }
  };
  const auto part = data::split(std::make_shared<const Passing>(set), 60, 40, 1).first;
  std::vector<float> once, again;
  const auto reader = part->reader(alternate);
  std::vector<float> image(set.bytes());
  for (const int e : {0, 1}) {
    reader->begin(5, e);
    reader->fill(1, rng::Stream(1), {.x = image.data()});
    (e == 0 ? once : again) = image;
  }
  CHECK(mirror(once) == again);
}

TEST_CASE("loader: an error is of its batch: those before it are whole, whichever worker was faster") {
  struct Broken final : data::Source {
    size_t size() const override { return 24; }
    InputShape form() const override { return {.h = 1, .w = 1, .channels = 1}; }
    int label(size_t) const override { return 0; }
    std::unique_ptr<data::Reader> reader(const Augment&) const override {
      struct Fill final : data::Reader {
        void fill(size_t i, rng::Stream, const data::Slot& slot) override {
          if (i < 4) std::this_thread::sleep_for(std::chrono::milliseconds(20));  // all others are ready by then
          if (i == 8 || i == 12) fail("reader", "sample {} is damaged", i);
          slot.x[0] = static_cast<real>(i);
        }
      };
      return std::make_unique<Fill>();
    }
  };
  for (const int workers : {1, 4}) {
    CAPTURE(workers);
    Loader loader(std::make_shared<const Broken>(), {.batch_size = 4, .shuffle = false, .workers = workers});
    for (int e = 0; e < 2; ++e) {
      std::vector<float> seen;
      const auto all = [&] {
        for (const Batch& b : loader.epoch(e)) seen.push_back(static_cast<float>(b.in.x[0]));
      };
      CHECK_THROWS_WITH_AS(all(), doctest::Contains("sample 8 is damaged"), Error);
      CHECK(seen == std::vector<float>{0, 4});
    }
    std::vector<float> after;
    for (const Batch& b : loader.epoch(2, 4)) after.push_back(static_cast<float>(b.in.x[0]));
    CHECK(after == std::vector<float>{16, 20});
  }
}

TEST_CASE("loader: what makes no sense is refused") {
  const data::Set set = noise(20, 8, 8, 3, 4);
  data::Set empty = set;
  empty.rows.clear();
  CHECK_THROWS_AS(Loader(empty, {}), Error);
  CHECK_THROWS_AS(Loader(set, {.batch_size = 0}), Error);
  CHECK_THROWS_AS(Loader(set, {.workers = 0}), Error);
  CHECK_THROWS_AS(Loader(set, {.augment = {.crop = -1}}), Error);
  CHECK_THROWS_AS(Loader(set, {.augment = {.crop = 9}}), Error);
  CHECK_THROWS_WITH_AS(Loader(set, {.augment = {.crop = 8, .padding_mode = "reflect"}}), doctest::Contains("reflect"),
                       Error);
  CHECK_THROWS_WITH_AS(Loader(set, {.augment = {.crop = 1, .padding_mode = "edge"}}), doctest::Contains("edge"), Error);
  CHECK_THROWS_WITH_AS(Loader(set, {.augment = {.flip = true, .flip_mode = "both"}}), doctest::Contains("both"), Error);
  CHECK_THROWS_AS(Loader(set, {.augment = {.erase = 1.5}}), Error);
  CHECK_THROWS_AS(Loader(set, {.augment = {.mixup = std::nan("")}}), Error);
  const TrainTest where = open("where:relation", "", {.train_size = 40, .test_size = 10});
  CHECK_THROWS_WITH_AS(Loader(where.train, {.augment = {.flip = true}}),
                       doctest::Contains("flip would destroy the labels"), Error);
  CHECK_THROWS_WITH_AS(Loader(where.train, {.augment = {.crop = 2, .flip = true, .randaug_n = 1, .mixup = 1}}),
                       doctest::Contains("crop and flip and randaug would destroy"), Error);  // all of them, once
  CHECK_THROWS_WITH_AS(Loader(where.train, {.augment = {.crop = 2, .flip = true, .randaug_n = 1, .mixup = 1}}),
                       doctest::Contains("; write augment.crop=0 augment.flip=false augment.randaug_n=0"), Error);
  CHECK_THROWS_WITH_AS(Loader(set, {.augment = {.freq_masks = 1, .time_masks = 1}}),
                       doctest::Contains("; write augment.freq_masks=0 augment.time_masks=0"), Error);
  CHECK_THROWS_AS(Loader(where.train, {.augment = {.crop = 2}}), Error);
  CHECK_THROWS_AS(Loader(where.train, {.augment = {.cutmix = 1}}), Error);
  CHECK_NOTHROW(Loader(where.train, {.augment = {.mixup = 1}}));
}

TEST_CASE("loader: a batch larger than the set is the whole set") {
  const data::Set set = noise(20, 8, 8, 1, 4);
  Loader loader(set, {.batch_size = 1 << 30});
  CHECK(loader.batches() == 1);
  for (const Batch& b : loader.epoch(0)) CHECK(b.size() == 20);
}

TEST_CASE("sets: split is disjoint, repeatable and complete; fraction is balanced") {
  const data::Set set = noise(1000, 2, 2, 1, 10);
  const auto [train, val] = split(set, 900, 100, 1);
  const auto [again, rest] = split(set, 900, 100, 1);
  std::set<int> all(train.rows.begin(), train.rows.end());
  all.insert(val.rows.begin(), val.rows.end());
  CHECK(all.size() == 1000);
  CHECK(train.rows == again.rows);
  CHECK(train.rows != split(set, 900, 100, 2).first.rows);
  CHECK_THROWS_AS(split(set, 900, 101, 1), Error);
  const data::Set tenth = fraction(set, 0.1, 1);
  for (int64_t n : tenth.histogram()) CHECK(n == 10);
  for (int64_t n : fraction(set, 1e-9, 1).histogram()) CHECK(n == 1);
  CHECK(fraction(set, 1, 1).size() == 1000);
  CHECK_THROWS_AS(fraction(set, 0, 1), Error);
  CHECK_THROWS_AS(fraction(set, 1.01, 1), Error);
  CHECK_THROWS_AS(fraction(set, std::nan(""), 1), Error);
}
