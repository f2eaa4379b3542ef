// From samples to frames, and from frames to batches: log-mel features, masks, batches of like lengths.
#include <doctest/doctest.h>

#include <cmath>
#include <numeric>
#include <set>

#include "tessera/core/io/tensor_file.h"
#include "tessera/train/data/augment.h"
#include "tessera/train/data/loader.h"
#include "tessera/train/data/log_mel.h"
#include "tessera/train/data/memory.h"
#include "tests/error_of.h"

namespace tessera::data::test {
namespace {

using tessera::test::error_of;

/// Sequences of ones, of `n` different lengths in no order.
std::shared_ptr<const Source> ones(int n, int features = 6) {
  Sequences s;
  s.features = features;
  for (int i = 0; i < n; ++i) s.lengths.push_back(1 + (i * 37) % n), s.labels.push_back(i % 2);
  s.values.assign(static_cast<size_t>(std::accumulate(s.lengths.begin(), s.lengths.end(), 0) * features), 1.0f);
  return from_memory(std::move(s), {"even", "odd"});
}

}  // namespace

TEST_CASE("log-mel: the frames of torchaudio") {
  const io::TensorFile golden(std::string(TESSERA_SOURCE_DIR) + "/tests/golden/data/log_mel.golden.safetensors");
  for (const int rate : {8000, 16000}) {
    const Tensor x = golden.read(std::to_string(rate) + ".samples"), y = golden.read(std::to_string(rate) + ".frames");
    const LogMel mel({.sample_rate = rate, .n_mels = y.dim(1)});
    const std::vector<float> samples(x.data(), x.data() + x.size()), frames = mel(samples);
    REQUIRE(frames.size() == static_cast<size_t>(y.size()));
    double worst = 0;
    for (int64_t k = 0; k < y.size(); ++k)
      worst = std::max(
          worst, std::fabs(static_cast<double>(frames[static_cast<size_t>(k)]) - static_cast<double>(y.data()[k])));
    CAPTURE(worst);
    CHECK(worst < 2e-4);  // of logarithms; the transform computes in floats
  }
}

TEST_CASE("log-mel: silence is the floor, a short sound is one frame, loud is louder by its square") {
  const LogMel mel({.sample_rate = 8000});
  for (const float y : mel(std::vector<float>(400, 0.0f))) CHECK(y == doctest::Approx(std::log(1e-10)));
  CHECK(mel(std::vector<float>(1, 0.5f)).size() == 40);
  CHECK(mel(std::vector<float>(79, 0.5f)).size() == 40);
  CHECK(mel(std::vector<float>(80, 0.5f)).size() == 80);
  std::vector<float> x(800);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(0.01 * std::sin(static_cast<double>(i * i % 997)));
  const auto soft = mel(x);
  for (float& v : x) v *= 4;
  const auto loud = mel(x);
  for (size_t k = 0; k < soft.size(); ++k) CHECK(loud[k] - soft[k] == doctest::Approx(std::log(16.0)).epsilon(1e-4));
}

TEST_CASE("log-mel: what makes no sense is refused") {
  for (const LogMelOptions& o :
       {LogMelOptions{}, LogMelOptions{.sample_rate = 8000, .n_mels = 0},
        LogMelOptions{.sample_rate = 8000, .n_mels = 200}, LogMelOptions{.sample_rate = 8000, .window_ms = 0.5},
        LogMelOptions{.sample_rate = 8000, .hop_ms = 0.01}, LogMelOptions{.sample_rate = 8000, .window_ms = NAN},
        LogMelOptions{.sample_rate = 768'000, .window_ms = 1000}})
    CHECK_FALSE(error_of([&] { LogMel mel(o); }).empty());
}

TEST_CASE(
    "SpecAugment: masks are as wide as drawn, of whole features and whole frames, and differ by sample and epoch") {
  const int T = 30, F = 12;
  std::set<int> widths, lengths;
  for (uint64_t s = 0; s < 400; ++s) {
    std::vector<real> x(static_cast<size_t>(T * F), 1);
    mask({.freq_masks = 1, .freq_width = 4, .time_masks = 1, .time_width = 7}, T, F, x.data(),
         rng::Stream(rng::mix(s)));
    int features = 0, frames = 0;
    for (int f = 0; f < F; ++f) {
      bool all = true;
      for (int t = 0; t < T; ++t) all = all && x[static_cast<size_t>(t * F + f)] == 0;
      features += all;
    }
    for (int t = 0; t < T; ++t) {
      bool all = true;
      for (int f = 0; f < F; ++f) all = all && x[static_cast<size_t>(t * F + f)] == 0;
      frames += all;
    }
    widths.insert(features), lengths.insert(frames);
    const auto zeros = std::count(x.begin(), x.end(), real{0});
    CHECK(zeros == features * T + frames * F - features * frames);
  }
  CHECK(widths == std::set<int>{0, 1, 2, 3, 4});
  CHECK(lengths == std::set<int>{0, 1, 2, 3, 4, 5, 6, 7});
  std::vector<real> one(12, 1);
  mask({.time_masks = 3, .time_width = 100}, 1, 12, one.data(), rng::Stream(1));  // no wider than there is
}

TEST_CASE("SpecAugment: of frames alone, and frames have no other augmentation") {
  const auto source = ones(10);
  CHECK_NOTHROW(source->reader({.freq_masks = 2, .freq_width = 6, .time_masks = 2}));
  CHECK(error_of([&] { source->reader({.freq_masks = 1, .freq_width = 7}); }).find("freq_width = 7") !=
        std::string::npos);
  CHECK(error_of([&] { source->reader({.crop = 4}); }).find("works on images") != std::string::npos);
  const TrainTest pictures = from_memory({1, 1, 1, {1, 2}, {0, 0}}, {"x"});
  CHECK(error_of([&] { pictures.train.reader({.time_masks = 1}); }).find("time_masks masks frames of sound") !=
        std::string::npos);
  // and the padding stays padding
  Loader loader(source, {.batch_size = 10, .augment = {.freq_masks = 2, .freq_width = 6}});
  for (const Batch& b : loader.epoch(3))
    for (int j = 0; j < 10; ++j)
      for (int t = b.in.lengths[static_cast<size_t>(j)]; t < b.in.x.dim(1); ++t)
        for (int f = 0; f < 6; ++f) CHECK(b.in.x.data()[(int64_t{j} * b.in.x.dim(1) + t) * 6 + f] == 0);
}

TEST_CASE("buckets: each sample once, short batch last, less padding, a function of seed and epoch") {
  const auto source = ones(103);
  const LoaderOptions plain{.batch_size = 8, .seed = 5}, sorted{.batch_size = 8, .seed = 5, .bucket = 6};
  std::set<Index> orders;
  for (int e = 0; e < 3; ++e) {
    Index order = epoch_order(*source, sorted, e);
    CHECK(order == epoch_order(*source, sorted, e));
    orders.insert(order);
    std::sort(order.begin(), order.end());
    for (int32_t i = 0; i < 103; ++i) CHECK(order[static_cast<size_t>(i)] == i);
  }
  CHECK(orders.size() == 3);
  CHECK(padding(*source, plain) > 0.4);
  CHECK(padding(*source, sorted) < 0.25);
  LoaderOptions all = sorted;
  all.bucket = 1'000'000;
  CHECK(padding(*source, all) < padding(*source, sorted));
  CHECK(epoch_order(*source, plain, 0) != epoch_order(*source, sorted, 0));
  CHECK_THROWS_AS(Loader(source, {.bucket = -1}), Error);
}

TEST_CASE("buckets: what does not fill a batch is drawn from all lengths, not the longest every time") {
  const auto source = ones(103);
  std::set<int> left;  // lengths of the last 103 % 8 samples
  for (int e = 0; e < 10; ++e) {
    const Index order = epoch_order(*source, {.batch_size = 8, .seed = 5, .bucket = 1000}, e);
    for (size_t i = 96; i < order.size(); ++i) left.insert(source->length(static_cast<size_t>(order[i])));
  }
  std::vector<int> lengths;
  for (size_t i = 0; i < source->size(); ++i) lengths.push_back(source->length(i));
  std::sort(lengths.begin(), lengths.end());
  CHECK(*left.begin() < lengths[51]);
  CHECK(*left.rbegin() > lengths[51]);
}

TEST_CASE("buckets: the same batches for any number of workers, and from any batch on") {
  const auto source = ones(50);
  const auto batches = [&](int workers, size_t from) {
    Loader loader(source, {.batch_size = 4,
                           .seed = 1,
                           .augment = {.freq_masks = 1, .freq_width = 3, .time_masks = 1},
                           .workers = workers,
                           .bucket = 3});
    std::vector<std::vector<real>> all;
    for (const Batch& b : loader.epoch(2, from)) all.emplace_back(b.in.x.data(), b.in.x.data() + b.in.x.size());
    return all;
  };
  const auto one = batches(1, 0), four = batches(4, 0), late = batches(2, 9);
  CHECK(one == four);
  REQUIRE(late.size() == 4);
  for (size_t i = 0; i < 4; ++i) CHECK(late[i] == one[9 + i]);
}

}  // namespace tessera::data::test
