// What a user of the library holds while training: optimisers, lanes, schedules and loaders refuse what makes no sense, and
// whoever writes weights is seen by the next product.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <thread>

#include "tessera/core/io/tensor_file.h"
#include "tessera/core/ops.h"
#include "tessera/core/precision.h"
#include "tessera/nn/weights.h"
#include "tessera/train/data/loader.h"
#include "tessera/train/training/lanes.h"
#include "tessera/train/training/optim.h"
#include "tessera/train/training/schedule.h"
#include "tests/unit/scratch.h"

using namespace tessera;

namespace {

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();

struct Net {
  Params params{7};
  Tensor W, b;
  Net() {
    const Scope s(params);
    W = s.param("fc.weight", {3, 4}, normal(1)), b = s.param("fc.bias", {3}, normal(1));
  }
  Tensor operator()(const Tensor& x) const { return linear(x, W, b); }
  double sum_of_output() const { return static_cast<double>(sum((*this)(full({2, 4}, 1)))[0]); }
  /// The same without any panels.
  double expected() const {
    double s = 0;
    for (const float w : W.read()) s += static_cast<double>(w);
    for (const float v : b.read()) s += static_cast<double>(v);
    return 2 * s;
  }
  Grads ones() const {
    Grads g;
    for (const Tensor* w : {&W, &b}) std::fill_n(g.into(*w).to, w->size(), 1.0F);
    return g;
  }
};

void check_output(const Net& net, double tolerance = 1e-5) {
  for (int i = 0; i < 2; ++i) CHECK(std::abs(net.sum_of_output() - net.expected()) < tolerance);
}

data::Set blank(size_t n) {
  data::Set set;
  set.name = "blank", set.h = set.w = 4, set.channels = 1, set.classes = 3;
  set.pixels = std::make_shared<const std::vector<uint8_t>>(n * 16);
  Index labels;
  for (size_t i = 0; i < n; ++i) labels.push_back(static_cast<int>(i) % 3), set.rows.push_back(static_cast<int>(i));
  set.labels = std::make_shared<const Index>(labels);
  return set;
}

}  // namespace

TEST_CASE("handles: a weight that is written is what the next product reads, in either precision") {
  for (const Precision p : {Precision::f32, Precision::bf16}) {
    const Computing computing(p);
    Params params(1);
    const Tensor w = Scope(params).param("w", {70, 90}, constant(1)), x = full({64, 90}, 0.5F);
    const auto value = [&] { return static_cast<double>(linear(x, w, {})[0]); };
    for (int i = 0; i < 3; ++i) CHECK(value() == 45);
    for (real& v : w.values()) v = 2;
    CHECK(value() == 90);
    params.commit();
    CHECK(value() == 90);
    w[0] = 12;
    CHECK(value() == 95);
  }
}

TEST_CASE(
    "handles: the optimiser, a file and the average write weights without lending them, and the next product reads "
    "them") {
  const Scratch scratch;
  Net net;
  AdamW optimiser(net.params, {.ema_decay = 0.5});
  check_output(net);
  for (int step = 0; step < 3; ++step) {
    optimiser.step(net.ones(), 0.1);
    check_output(net);
  }
  const double live = net.sum_of_output();
  {
    const Optimiser::Averaged averaged(optimiser);
    check_output(net);
    CHECK(std::abs(net.sum_of_output() - live) > 0.1);
  }
  check_output(net);
  CHECK(net.sum_of_output() == live);
  io::save(net.params, scratch / "net");
  optimiser.step(net.ones(), 0.1);
  check_output(net);
  net.params.freeze("fc");
  io::load(net.params, scratch / "net");
  check_output(net);
  CHECK(net.sum_of_output() == live);
  CHECK(!net.W.leaf()->lent);  // or every product would pack it anew
  net.params.freeze("fc", false);
  net.W[0] += 1;
  optimiser.step(net.ones(), 0.1);
  check_output(net);
}

TEST_CASE("handles: optimisers refuse options and rates outside of their domains, with all weights untouched") {
  Net net;
  const auto refused = [&](const Optimiser::Rule& rule, const char* what) {
    CAPTURE(what);
    CHECK_THROWS_WITH_AS(Optimiser(net.params, rule), doctest::Contains(what), Error);
  };
  for (const double v : {not_a_number, inf, -inf, -0.1, 1.0, 1.5}) {
    refused(AdamWOptions{.beta1 = v}, "beta1");
    refused(AdamWOptions{.beta2 = v}, "beta2");
    refused(AdamWOptions{.ema_decay = v}, "ema_decay");
    refused(SgdOptions{.momentum = v}, "momentum");
    refused(SgdOptions{.ema_decay = v}, "ema_decay");
  }
  for (const double v : {not_a_number, inf, -inf, -0.1, 1e300}) {
    refused(AdamWOptions{.weight_decay = v}, "weight_decay");
    refused(AdamWOptions{.clip_grad = v}, "clip_grad");
    refused(SgdOptions{.weight_decay = v}, "weight_decay");
    refused(SgdOptions{.clip_grad = v}, "clip_grad");
    refused(AdamWOptions{.eps = v}, "eps");
  }
  refused(AdamWOptions{.eps = 0}, "eps");
  refused(AdamWOptions{.eps = 1e-60}, "eps");  // 0 as a float
  AdamW optimiser(net.params);
  const Tensor before = net.W.copy();
  for (const double lr : {not_a_number, inf, -inf, -1e-3, 1e300})
    CHECK_THROWS_WITH_AS(optimiser.step(net.ones(), lr), doctest::Contains("the learning rate"), Error);
  CHECK(optimiser.steps() == 0);
  CHECK(std::memcmp(before.data(), net.W.data(), sizeof(real) * 12) == 0);
}

TEST_CASE("handles: an optimiser refuses gradients of another Params and a model that grew") {
  Net net, other;
  AdamW optimiser(net.params, {.ema_decay = 0.5});
  const double before = net.sum_of_output();
  CHECK_THROWS_WITH_AS(optimiser.step(other.ones(), 0.1), doctest::Contains("of other Params"), Error);
  CHECK(net.sum_of_output() == before);
  Grads both = other.ones();
  both.plus(net.ones());
  optimiser.step(both, 0.1);  // its own are among them
  check_output(net);
  CHECK(net.sum_of_output() != before);
  Scope(net.params).buffer("late", {1}, constant(0));
  CHECK_THROWS_WITH_AS(optimiser.step(net.ones(), 0.1), doctest::Contains("late was declared after"), Error);
}

TEST_CASE("handles: two networks in one step of lanes, each with its own optimiser") {
  Net one, two;
  Scope(two.params).param("unused", {8}, constant(0));
  Tensor x({40, 1, 1, 4});
  for (int64_t i = 0; i < x.size(); ++i) x[i] = static_cast<real>(rng::Stream(3).normal(static_cast<uint64_t>(i)));
  const Index labels(40, 0);
  const Batch batch{x, labels, Tensor(), 0, 40};
  const auto loss = [&](const Tensor& images) {
    const Tensor in = images.reshape({-1, 4});
    return sum(mul(one(in), gelu(two(in))));
  };
  Grads expected;
  {
    Tape tape;
    tape.backward(loss(x), expected);
  }
  Lanes lanes;
  const auto step = lanes({}, batch, [&](const Run&, const Batch& shard) { return loss(shard.in.x); });
  for (const Net* net : {&one, &two})
    for (const Tensor* w : {&net->W, &net->b})
      for (int64_t i = 0; i < w->size(); ++i)
        CHECK(step.grads.of(*w)[i] == doctest::Approx(static_cast<double>(expected.of(*w)[i])).epsilon(1e-4));
  CHECK(std::memcmp(one.W.data(), two.W.data(), sizeof(real) * 12) == 0);  // same seed, same names
  AdamW first(one.params), second(two.params);
  first.step(step.grads, 0.1), second.step(step.grads, 0.1);
  check_output(one), check_output(two);
  CHECK(std::memcmp(one.W.data(), two.W.data(), sizeof(real) * 12) != 0);
}

TEST_CASE("handles: lanes and schedules refuse what makes no sense; a shard may be larger than any batch") {
  for (const double m : {not_a_number, inf, -0.1, 1.1}) CHECK_THROWS_AS(Lanes({.bn_momentum = m}), Error);
  Net net;
  const Index labels(40, 0);
  const Batch batch{full({40, 1, 1, 4}, 1), labels, Tensor(), 0, 40};
  Lanes lanes({.shard_size = std::numeric_limits<int>::max()});
  int images = 0;
  const auto step = lanes({}, batch, [&](const Run&, const Batch& shard) {
    images += shard.size();
    return sum(net(shard.in.x.reshape({-1, 4})));
  });
  CHECK(images == 40);
  CHECK(step.grads.of(net.b)[0] == 40);
  for (const double v : {not_a_number, inf, -1.0}) {
    CHECK_THROWS_AS(Cosine{.lr = v}(1), Error);
    CHECK_THROWS_AS(Cosine{.epochs = v}(1), Error);
    CHECK_THROWS_AS(Cosine{.warmup = v}(1), Error);
    CHECK_THROWS_AS(Cosine{.warmup_lr = v}(1), Error);
    CHECK_THROWS_AS(Cosine{.min_lr = v}(1), Error);
    CHECK_THROWS_AS(Cosine{}(v), Error);
    CHECK_THROWS_AS(learning_rate({}, v, 30, 10), Error);
  }
  SchedConfig by_steps;
  by_steps.sched = "step", by_steps.decay_epochs = 0, by_steps.warmup_epochs = 0;
  CHECK_THROWS_WITH_AS(learning_rate(by_steps, 1e-3, 30, 0), doctest::Contains("decay_epochs"), Error);
}

TEST_CASE("handles: batches outlive their loader, and copies of a batch the batches after it") {
  const data::Set set = blank(30);
  int n = 0;
  for (const Batch& b : data::Loader(set, {.batch_size = 7, .shuffle = false, .workers = 2}).epoch(0)) n += b.size();
  CHECK(n == 30);
  std::vector<Batch> kept;
  {
    data::Loader loader(set, {.batch_size = 7, .shuffle = false});
    auto epoch = loader.epoch(0);
    for (const Batch& b : epoch) kept.push_back(b);
    auto moved = std::move(epoch);
    CHECK_THROWS_WITH_AS(epoch.begin(), doctest::Contains("moved from"), Error);  // NOLINT(bugprone-use-after-move)
  }
  size_t at = 0;
  for (const Batch& b : kept) {
    const Batch part = b.rows(1, b.size());
    CHECK(part.labels[0] == static_cast<int>(at + 1) % 3);
    for (const int32_t label : b.labels) CHECK(label == static_cast<int>(at++) % 3);
  }
  CHECK(at == 30);
  std::unique_ptr<data::Loader> loader = std::make_unique<data::Loader>(set, data::LoaderOptions{.batch_size = 7});
  auto epoch = loader->epoch(0);
  loader.reset();
  n = 0;
  for (const Batch& b : epoch) n += b.size();
  CHECK(n == 30);
}

TEST_CASE("handles: split sizes that overflow are refused") {
  const data::Set set = blank(30);
  CHECK_THROWS_AS(data::split(set, std::numeric_limits<size_t>::max(), 2, 1), Error);
  CHECK_THROWS_AS(data::split(set, 2, std::numeric_limits<size_t>::max(), 1), Error);
  CHECK_THROWS_AS(data::split(set, 31, 0, 1), Error);
  CHECK(data::split(set, 30, 0, 1).first.size() == 30);
}
