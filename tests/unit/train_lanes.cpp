#include <doctest/doctest.h>

#include <cmath>
#include <cstring>

#include "tessera/core/ops/activation.h"
#include "tessera/core/ops/arithmetic.h"
#include "tessera/core/ops/batchnorm.h"
#include "tessera/core/ops/linear.h"
#include "tessera/nn/params.h"
#include "tessera/train/training/lanes.h"
#include "tessera/train/training/loss.h"
#include "tessera/train/training/training.h"

using namespace tessera;

namespace {

/// linear, BatchNorm if asked for, GELU, linear; loss: squared distance to a point that the label chooses.
struct Net {
  Params params{7};
  Tensor W1, b1, W2, b2, bn_w, bn_b, mean, var;
  bool normalised;
  explicit Net(bool bn = false) : normalised(bn) {
    const Scope s(params);
    W1 = s.param("fc1.weight", {23, 12}, normal(0.3)), b1 = s.param("fc1.bias", {23}, normal(0.1));
    W2 = s.param("fc2.weight", {5, 23}, normal(0.3)), b2 = s.param("fc2.bias", {5}, normal(0.1));
    if (!bn) return;
    bn_w = s.param("bn.weight", {23}, constant(1)), bn_b = s.param("bn.bias", {23}, constant(0));
    mean = s.buffer("bn.running_mean", {23}, constant(0)), var = s.buffer("bn.running_var", {23}, constant(1));
  }
  Tensor loss(const Run& run, const Batch& shard) const {
    Tensor h = linear(shard.in.x.reshape({shard.size(), 12}), W1, b1);
    if (normalised) h = batchnorm(h, bn_w, bn_b, mean, var, 1e-5, run);
    const Tensor y = linear(gelu(h), W2, b2);
    Tensor target = zeros(y.shape());
    for (int i = 0; i < shard.size(); ++i) target[i * 5 + shard.labels[static_cast<size_t>(i)]] = 1;
    const Tensor ones = full({1, static_cast<int>(y.size())}, static_cast<real>(1.0 / shard.of));
    return linear(square(sub(y, target)).reshape({1, -1}), ones, Tensor());
  }
};

struct Data {
  Tensor x;
  Index labels;
  explicit Data(int n) : x({n, 2, 2, 3}), labels(static_cast<size_t>(n)) {
    for (int64_t i = 0; i < x.size(); ++i) x[i] = static_cast<real>(rng::Stream(3).normal(static_cast<uint64_t>(i)));
    for (size_t i = 0; i < labels.size(); ++i) labels[i] = static_cast<int32_t>(i % 5);
  }
  Batch batch() const { return {x, labels, Tensor(), 0, x.dim(0)}; }
};

bool equal_bits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && std::memcmp(a.data(), b.data(), static_cast<size_t>(a.size()) * sizeof(real)) == 0;
}

struct Threads {  // restores the number of threads
  int before = parallel::threads();
  ~Threads() { parallel::set_threads(before); }
};

}  // namespace

TEST_CASE("lanes give the gradient of the whole batch") {
  const Net net;
  const Data data(83);
  Grads expected;
  double value = 0;
  {
    Tape tape;
    const Tensor loss = net.loss({Mode::train, 1, 0}, data.batch());
    value = static_cast<double>(loss[0]);
    tape.backward(loss, expected);
  }
  for (const LanesOptions options : {LanesOptions{}, LanesOptions{1, 8}, LanesOptions{3, 5}, LanesOptions{64, 1}}) {
    Lanes lanes(options);
    const auto [got, grads] = lanes({Mode::train, 1, 0}, data.batch(),
                                    [&](const Run& run, const Batch& shard) { return net.loss(run, shard); });
    CHECK(got == doctest::Approx(value).epsilon(1e-6));
    for (const auto& e : net.params.entries()) {
      const Tensor &a = grads.of(e.value), &b = expected.of(e.value);
      REQUIRE(a.shape() == b.shape());
      for (int64_t i = 0; i < a.size(); ++i) CHECK(std::abs(a[i] - b[i]) <= 1e-6);  // entries up to 0.3, 83 summands
    }
  }
}

TEST_CASE("shard s of S runs in lane l with S l / L <= s < S (l + 1) / L, in order, and lanes are summed in a tree") {
  const Net net;
  const Data data(83);  // 11 shards, the last of 3 images, on 4 lanes: 2, 3, 3, 3
  const Batch batch = data.batch();
  const int first[] = {0, 2, 5, 8, 11};
  Grads lane[4];
  for (int l = 0; l < 4; ++l) {
    for (int s = first[l]; s < first[l + 1]; ++s) {
      Tape tape;
      const Batch shard = batch.rows(8 * s, std::min(83, 8 * s + 8));
      tape.backward(net.loss({Mode::train, 1, 0, shard.first}, shard), lane[l]);
    }
  }
  lane[0].plus(lane[1]), lane[2].plus(lane[3]), lane[0].plus(lane[2]);
  Lanes lanes({.lanes = 4});
  for (int repeat = 0; repeat < 2; ++repeat) {  // the second step reuses the buffers of the first
    const auto step =
        lanes({Mode::train, 1, 0}, batch, [&](const Run& run, const Batch& shard) { return net.loss(run, shard); });
    for (const auto& e : net.params.entries()) CHECK(equal_bits(step.grads.of(e.value), lane[0].of(e.value)));
  }
}

TEST_CASE("any number of threads gives the same bits") {
  const Threads restore;
  const Data data(83);
  Tensor W[3], var[3];
  double value[3];
  for (int threads = 1; threads <= 3; ++threads) {
    parallel::set_threads(threads);
    const Net net(true);
    Lanes lanes;
    const auto step = lanes({Mode::train, 1, 0}, data.batch(),
                            [&](const Run& run, const Batch& shard) { return net.loss(run, shard); });
    W[threads - 1] = step.grads.of(net.W1).copy(), value[threads - 1] = step.value, var[threads - 1] = net.var;
  }
  for (const int i : {1, 2}) {
    CHECK(equal_bits(W[0], W[i]));
    CHECK(equal_bits(var[0], var[i]));
    CHECK(value[0] == value[i]);
  }
}

TEST_CASE("a shard is told where it stands in the batch") {
  const Data data(20);
  const Net net;
  std::vector<int> seen(20);
  Lanes lanes({.lanes = 2, .shard_size = 6});
  lanes({Mode::train, 5, 9}, data.batch(), [&](const Run& run, const Batch& shard) {
    CHECK(run.seed == 5);
    CHECK(run.step == 9);
    CHECK(run.first == shard.first);
    CHECK(shard.of == 20);
    for (int i = 0; i < shard.size(); ++i) ++seen[static_cast<size_t>(shard.first + i)];
    return net.loss(run, shard);
  });
  for (const int n : seen) CHECK(n == 1);
}

TEST_CASE("parts add up to the step of the whole, running statistics included") {
  const Data data(80);
  const auto loss_of = [](const Net& net) {
    return [&net](const Run& run, const Batch& shard) { return net.loss(run, shard); };
  };
  const Net whole(true), parts(true);
  Lanes a({.lanes = 1}), b({.lanes = 1});  // one lane: the shards of both run in the same order
  const auto expected = a({Mode::train, 1, 0}, data.batch(), loss_of(whole));
  const auto part = [&](int from, int to) { b.add({Mode::train, 1, 0}, data.batch().rows(from, to), loss_of(parts)); };
  part(0, 80), b.discard();  // an abandoned step leaves no trace
  part(0, 32), part(32, 80);
  const auto got = b.finish();
  CHECK(got.value == expected.value);
  for (size_t i = 0; i < whole.params.entries().size(); ++i) {
    const auto &x = whole.params.entries()[i], &y = parts.params.entries()[i];
    CHECK(equal_bits(x.buffer ? x.value : expected.grads.of(x.value), y.buffer ? y.value : got.grads.of(y.value)));
  }
  CHECK(whole.mean[0] != 0);
}

TEST_CASE("what goes wrong in a shard comes out, and the next step is clean") {
  const Data data(83);
  const Net net;
  Lanes lanes;
  const auto good = [&](const Run& run, const Batch& shard) { return net.loss(run, shard); };
  const Tensor expected = lanes({Mode::train, 1, 0}, data.batch(), good).grads.of(net.W1).copy();
  CHECK_THROWS_WITH_AS(lanes({Mode::train, 1, 0}, data.batch(),
                             [&](const Run& run, const Batch& shard) {
                               if (shard.first == 40) fail("test", "shard 5");
                               return net.loss(run, shard);
                             }),
                       doctest::Contains("shard 5"), Error);
  CHECK(equal_bits(lanes({Mode::train, 1, 0}, data.batch(), good).grads.of(net.W1), expected));
  CHECK_THROWS_AS(lanes({Mode::train, 1, 0}, data.batch(),
                        [&](const Run&, const Batch& shard) {
                          return linear(shard.in.x, zeros({3, 3}), Tensor());
                        }),
                  Error);
  CHECK_THROWS_AS(lanes.finish(), Error);
  CHECK_THROWS_AS(Lanes({.lanes = 65}), Error);
  CHECK_THROWS_AS(Lanes({.shard_size = 0}), Error);
}

TEST_CASE("the losses of shards add up to the mean over the batch, for labels and for soft targets") {
  const Tensor z = tensor({3, 2}, std::vector<double>{1, 0, 0, 0, -1, 2});
  const Index labels{0, 1, 1};
  Batch batch{zeros({3, 1, 1, 1}), labels, Tensor(), 0, 3};
  const double nll[] = {std::log1p(std::exp(-1.0)), std::log(2.0), std::log1p(std::exp(-3.0))};
  const auto sum = [&](double smoothing) {
    return static_cast<double>(soft_cross_entropy(z.rows(0, 2), batch.rows(0, 2), smoothing)[0]) +
           static_cast<double>(soft_cross_entropy(z.rows(2, 3), batch.rows(2, 3), smoothing)[0]);
  };
  CHECK(sum(0) == doctest::Approx((nll[0] + nll[1] + nll[2]) / 3).epsilon(1e-6));
  // smoothing 0.2 over two classes moves a tenth of the target to the other class, whose logit is lower by 1, 0 and 3
  CHECK(sum(0.2) == doctest::Approx((nll[0] + nll[1] + nll[2] + 0.1 * (1 + 0 + 3)) / 3).epsilon(1e-6));
  batch.targets = tensor({3, 2}, std::vector<double>{0.9, 0.1, 0.1, 0.9, 0.1, 0.9});
  CHECK(sum(0) == doctest::Approx((nll[0] + nll[1] + nll[2] + 0.1 * (1 + 0 + 3)) / 3).epsilon(1e-6));
  CHECK_THROWS_AS(soft_cross_entropy(z, batch.rows(0, 2), 0), Error);
  batch.of = 0;
  CHECK_THROWS_WITH_AS(soft_cross_entropy(z, batch, 0), doctest::Contains("Batch::of"), Error);
}

TEST_CASE("shards: large images run in smaller ones, unless BatchNorm is over them") {
  const auto images = [](int h, int w) { return InputShape{.h = h, .w = w, .channels = 3}; };
  Params plain(1), normalised(1);
  Scope(normalised).buffer("norm.running_mean", {4}, constant(0));
  Scope(plain).buffer("pos_embed", {4}, constant(0));  // a frozen table
  const TrainConfig standard;
  CHECK(shard_for(standard, images(32, 32), plain) == 8);
  CHECK(shard_for(standard, images(64, 64), plain) == 8);
  CHECK(shard_for(standard, images(64, 65), plain) == 4);
  CHECK(shard_for(standard, images(128, 128), plain) == 4);
  CHECK(shard_for(standard, images(224, 224), plain) == 2);
  CHECK(shard_for(standard, images(224, 224), normalised) == 8);
  CHECK(shard_for(standard, InputShape{.kind = InputShape::Kind::tokens, .T = 100'000}, plain) == 8);
  TrainConfig said;
  said.shard_size = 16;
  CHECK(shard_for(said, images(224, 224), plain) == 16);
}

TEST_CASE(
    "the size of a shard is told by the pixels of an image, by BatchNorm and by what was said, and by nothing else") {
  const Net plain, normalised(true);
  const auto image = [](int side) { return InputShape{.h = side, .w = side, .channels = 3}; };
  const InputShape frames{.kind = InputShape::Kind::frames, .T = 4000, .features = 80};
  for (const int batch : {1, 8, 512}) {
    TrainConfig t;
    t.batch_size = batch;
    for (const auto& [side, shard] : {std::pair{32, 8}, {64, 8}, {65, 4}, {128, 4}, {129, 2}, {224, 2}}) {
      CHECK(shard_for(t, image(side), plain.params) == shard);
      CHECK(shard_for(t, image(side), normalised.params) == 8);
    }
    CHECK(shard_for(t, frames, plain.params) == 8);
    t.shard_size = 3;
    CHECK(shard_for(t, image(224), plain.params) == 3);
  }
}
