#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "tessera/core/kernels/kernels.h"
#include "tessera/core/parallel.h"
#include "tessera/train/training/optim.h"
#include "tessera/train/training/schedule.h"
#include "tests/unit/scratch.h"

using namespace tessera;

namespace {

/// A weight of 4 with decay and a bias of 2 without.
struct Pair {
  Params params;
  Tensor w, b;
  Pair() {
    const Scope s(params);
    w = s.param("w", {4}, constant(0), Decay::yes);
    b = s.param("b", {2}, constant(0), Decay::no);
    const float w0[] = {1, -2, 0.5, 3}, b0[] = {0.25, -0.75};
    std::copy_n(w0, 4, w.data()), std::copy_n(b0, 2, b.data());
  }
  /// The gradients of step t of tests/golden/optim_torch.py.
  Grads grads(int t) const {
    Grads g;
    const double slope[] = {0.1, -0.2, 0.3, 1.5}, push[] = {0.5, -0.05};
    for (int i = 0; i < 4; ++i)
      g.into(w).to[i] = static_cast<real>(slope[i] * (t + 1) + 0.1 * static_cast<double>(w[i]));
    for (int i = 0; i < 2; ++i) g.into(b).to[i] = static_cast<real>(push[i] - 0.2 * static_cast<double>(b[i]) * t);
    return g;
  }
};

template <class O, class Options>
void against_torch(const Options& options, const std::vector<double>& w, const std::vector<double>& b) {
  Pair p;
  O optimiser(p.params, options);
  for (int t = 0; t < 3; ++t) optimiser.step(p.grads(t), 0.05);
  // three steps of some ten roundings each, on numbers up to 3
  for (int i = 0; i < 4; ++i) CHECK(std::abs(static_cast<double>(p.w[i]) - w[static_cast<size_t>(i)]) <= 1e-6);
  for (int i = 0; i < 2; ++i) CHECK(std::abs(static_cast<double>(p.b[i]) - b[static_cast<size_t>(i)]) <= 1e-6);
}

}  // namespace

TEST_CASE("AdamW takes PyTorch's steps") {
  against_torch<AdamW>(AdamWOptions{.weight_decay = 0.1},
                       {0.836775838622994, -1.8219152357715238, 0.3462680552927805, 2.8088862075055805},
                       {0.10044508883802755, -0.7505687091214115});
  against_torch<AdamW>(AdamWOptions{.beta1 = 0.8, .beta2 = 0.95, .eps = 1e-4, .weight_decay = 0.1, .clip_grad = 0.5},
                       {0.8378138270368977, -1.8226317167141608, 0.34324463685402007, 2.805833105291958},
                       {0.11091396151085614, -0.7364884732180573});
}

TEST_CASE("SGD takes PyTorch's steps") {
  against_torch<Sgd>(SgdOptions{.momentum = 0.9, .weight_decay = 0.1}, {0.8971185, -1.794237, 0.330408, 2.1242295},
                     {0.11761999999999999, -0.765182});
  against_torch<Sgd>(SgdOptions{.momentum = 0.9, .nesterov = true, .weight_decay = 0.1, .clip_grad = 1.0},
                     {0.9235614740608078, -1.8471229481216156, 0.40635169006158683, 2.504624996732101},
                     {0.1801013381383069, -0.7542830777690099});
  against_torch<Sgd>(SgdOptions{.momentum = 0, .weight_decay = 0.1},
                     {0.9404984999999999, -1.8809969999999998, 0.395748, 2.4638895}, {0.181295, -0.7650245});
}

TEST_CASE("a step returns the norm before clipping and refuses one that is not finite") {
  Pair p;
  AdamW optimiser(p.params, {.clip_grad = 0.1});
  CHECK(std::abs(optimiser.step(p.grads(0), 0.05) - 1.953202498462461) < 1e-6);
  const Tensor before = p.w.copy();
  Grads bad = p.grads(1);
  bad.into(p.w).to[2] = std::numeric_limits<real>::quiet_NaN();
  CHECK_THROWS_WITH_AS(optimiser.step(bad, 0.05), doctest::Contains("step 2 is not finite"), GradientNotFinite);
  CHECK(std::memcmp(before.data(), p.w.data(), sizeof(real) * 4) == 0);
  CHECK(optimiser.steps() == 1);
}

TEST_CASE("frozen parameters, and those without a gradient, stay as they are") {
  Pair p;
  AdamW optimiser(p.params, {.weight_decay = 0.1});
  Grads g;
  for (int i = 0; i < 2; ++i) g.into(p.b).to[i] = 1;
  optimiser.step(g, 0.05);
  CHECK(p.w[3] == 3);
  CHECK(p.b[0] < real(0.25));
}

TEST_CASE("the average goes on following a parameter that has no gradient in a step") {
  Pair p;
  AdamW optimiser(p.params, {.ema_decay = 0.75});
  double average = static_cast<double>(p.b[0]);
  Grads of_both = p.grads(0), of_one;
  for (int i = 0; i < 4; ++i) of_one.into(p.w).to[i] = 1;
  for (const Grads* g : {&of_both, &of_one, &of_one}) {
    optimiser.step(*g, 0.05);
    average = 0.75 * average + 0.25 * static_cast<double>(p.b[0]);
  }
  const Optimiser::Averaged averaged(optimiser);
  CHECK(std::abs(static_cast<double>(p.b[0]) - average) < 1e-6);
}

TEST_CASE("the average follows the weights, is swapped in and out, and averages buffers too") {
  Pair p;
  const Tensor running = Scope(p.params).buffer("running", {1}, constant(0));
  AdamW optimiser(p.params, {.ema_decay = 0.75});
  double average = static_cast<double>(p.w[0]);
  for (int t = 0; t < 3; ++t) {
    running[0] = 8;
    optimiser.step(p.grads(t), 0.05);
    average = 0.75 * average + 0.25 * static_cast<double>(p.w[0]);
  }
  const real live = p.w[0];
  const Tensor handle = p.w;  // as a layer holds it
  {
    const Optimiser::Averaged averaged(optimiser);
    CHECK(std::abs(static_cast<double>(handle[0]) - average) < 1e-6);
    CHECK(std::abs(static_cast<double>(running[0]) - 8 * (1 - 0.75 * 0.75 * 0.75)) < 1e-6);
  }
  CHECK(handle[0] == live);
  CHECK(running[0] == 8);
}

TEST_CASE("state and step count are all an optimiser needs to go on with equal bits") {
  const Scratch scratch;
  const AdamWOptions options{.weight_decay = 0.1, .clip_grad = 1, .ema_decay = 0.9};
  Pair whole;
  AdamW never_stopped(whole.params, options);
  for (int t = 0; t < 2; ++t) never_stopped.step(whole.grads(t), 0.05);
  io::write_tensors(scratch / "state", never_stopped.state());
  Pair again;
  std::memcpy(again.w.data(), whole.w.data(), sizeof(real) * 4),
      std::memcpy(again.b.data(), whole.b.data(), sizeof(real) * 2);
  AdamW resumed(again.params, options);
  resumed.restore(io::TensorFile(scratch / "state"), never_stopped.steps());
  for (int t = 2; t < 5; ++t) never_stopped.step(whole.grads(t), 0.05), resumed.step(again.grads(t), 0.05);
  CHECK(std::memcmp(again.w.data(), whole.w.data(), sizeof(real) * 4) == 0);
  CHECK(resumed.steps() == never_stopped.steps());
  const auto a = never_stopped.state(), b = resumed.state();
  REQUIRE(a.size() == b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    const size_t bytes = sizeof(real) * a[i].second.values().size();
    CHECK(std::memcmp(a[i].second.data(), b[i].second.data(), bytes) == 0);
  }
  Pair other;
  AdamW without_average(other.params, {});
  io::write_tensors(scratch / "other", without_average.state());
  CHECK_THROWS_WITH_AS(resumed.restore(io::TensorFile(scratch / "other"), 1), doctest::Contains("ema.w"), Error);
}

TEST_CASE("optim: kernels sum gradients and squares as defined, on every instruction set and odd lengths") {
  for (const Isa which : {Isa::scalar, Isa::avx2, Isa::avx512}) {
    const Kernels* k = kernels(which);
    if (!k) continue;
    for (const int64_t n : {1, 7, 31, 1024, 1031}) {
      const auto size = static_cast<size_t>(n);
      std::vector<std::vector<real>> x(64, std::vector<real>(size));
      for (size_t l = 0; l < 64; ++l)
        for (size_t i = 0; i < size; ++i) x[l][i] = static_cast<real>(rng::Stream(l).normal(i));
      const real* from[64];
      for (size_t l = 0; l < 64; ++l) from[l] = x[l].data();
      std::vector<real> y(size);
      for (const size_t lanes : {1, 2, 3, 4, 5, 8, 16, 24, 31, 32, 33, 48, 63, 64}) {
        CAPTURE(lanes);
        k->sum_lanes(from, static_cast<int>(lanes), y.data(), n);
        for (size_t i = 0; i < size; ++i) {
          std::vector<real> tree(lanes);  // neighbours are added until one number is left; who has none waits
          for (size_t l = 0; l < lanes; ++l) tree[l] = x[l][i];
          while (tree.size() > 1) {
            std::vector<real> above((tree.size() + 1) / 2);
            for (size_t a = 0; a < above.size(); ++a)
              above[a] = 2 * a + 1 < tree.size() ? tree[2 * a] + tree[2 * a + 1] : tree[2 * a];
            tree = std::move(above);
          }
          REQUIRE(y[i] == tree[0]);
        }
      }
      double square = 0, expected = 0;
      k->square_sum(x[63].data(), &square, n);
      for (const real v : x[63]) expected += static_cast<double>(v) * static_cast<double>(v);
      CHECK(std::abs(square - expected) <= 1e-6 * expected);  // runs of 16 float additions a register lane
    }
  }
}

TEST_CASE("optim: kernels step as plain loops in double do, on every instruction set and odd lengths") {
  for (const Isa which : {Isa::scalar, Isa::avx2, Isa::avx512}) {
    const Kernels* k = kernels(which);
    if (!k) continue;
    INFO(name(which));
    for (const int64_t n : {1, 7, 16, 31, 64, 1031}) {
      const auto drawn = [n](uint64_t seed, bool positive) {
        std::vector<real> x(static_cast<size_t>(n + 1), 7);  // one more, that stays as it is
        for (size_t i = 0; i + 1 < x.size(); ++i) {
          const double v = rng::Stream(seed).normal(i);
          x[i] = static_cast<real>(positive ? v * v : v);
        }
        return x;
      };
      const std::vector<real> g = drawn(1, false), w = drawn(2, false), m = drawn(3, false), v = drawn(4, true),
                              ema = drawn(5, false);
      const auto close = [&](const std::vector<real>& got, size_t i, double want) {
        return std::abs(static_cast<double>(got[i]) - want) <= 1e-6 * (1 + std::abs(want));
      };
      const auto in = [](const std::vector<real>& x, size_t i) { return static_cast<double>(x[i]); };
      int wrong = 0;
      for (const bool averages : {false, true}) {
        const AdamWStep a{0.5F, 0.99F, 0.1F, 0.95F, 0.05F, 0.02F, 1.5F, 1e-3F, 0.25F};
        std::vector<real> w1 = w, m1 = m, v1 = v, e1 = ema;
        k->adamw(&a, g.data(), w1.data(), m1.data(), v1.data(), averages ? e1.data() : nullptr, n);
        for (size_t i = 0; i < g.size(); ++i) {
          const bool beyond = i + 1 == g.size();
          const double d = in(g, i) * 0.5, mean = in(m, i) + (d - in(m, i)) * 0.1,
                       square = in(v, i) * 0.95 + d * d * 0.05;
          const double to = in(w, i) * 0.99 - 0.02 * mean / (std::sqrt(square) * 1.5 + 1e-3);
          wrong +=
              !close(w1, i, beyond ? 7 : to) + !close(m1, i, beyond ? 7 : mean) + !close(v1, i, beyond ? 7 : square);
          wrong += !close(e1, i, beyond || !averages ? in(ema, i) : in(ema, i) + (to - in(ema, i)) * 0.25);
        }
        for (const bool momentum : {false, true}) {
          const SgdStep s{0.5F, 0.02F, 0.1F, 0.9F, 1, 0.9F, 0.25F};
          std::vector<real> w2 = w, m2 = m, e2 = ema;
          k->sgd(&s, g.data(), w2.data(), momentum ? m2.data() : nullptr, averages ? e2.data() : nullptr, n);
          for (size_t i = 0; i < g.size(); ++i) {
            const bool beyond = i + 1 == g.size();
            const double d = in(g, i) * 0.5 + 0.1 * in(w, i), kept = momentum ? 0.9 * in(m, i) + d : in(m, i);
            const double to = in(w, i) - 0.02 * (momentum ? d + 0.9 * kept : d);
            wrong += !close(w2, i, beyond ? 7 : to) + !close(m2, i, beyond ? 7 : kept);
            wrong += !close(e2, i, beyond || !averages ? in(ema, i) : in(ema, i) + (to - in(ema, i)) * 0.25);
          }
        }
      }
      std::vector<real> y = ema;
      k->average(w.data(), y.data(), 0.25F, n);
      for (size_t i = 0; i < y.size(); ++i)
        wrong += !close(y, i, in(ema, i) + (i + 1 == y.size() ? 0 : in(w, i) - in(ema, i)) * 0.25);
      CHECK_MESSAGE(wrong == 0, wrong, " wrong numbers of ", n);
    }
  }
}

TEST_CASE("the learning rate warms up, follows its curve and ends where it should") {
  const Cosine rate{.lr = 1e-3, .epochs = 30, .warmup = 3, .warmup_lr = 1e-5, .min_lr = 1e-6};
  CHECK(rate(0) == doctest::Approx(1e-5));
  CHECK(rate(1.5) == doctest::Approx((1e-3 + 1e-5) / 2));
  CHECK(rate(3) == doctest::Approx(1e-3));
  CHECK(rate(16.5) == doctest::Approx((1e-3 + 1e-6) / 2));
  CHECK(rate(30) == doctest::Approx(1e-6));
  CHECK(rate(31) == doctest::Approx(1e-6));
  SchedConfig s;
  s.warmup_epochs = 3, s.warmup_lr = 1e-5, s.min_lr = 1e-6;
  for (const double e : {0.0, 2.0, 7.3, 29.9}) CHECK(learning_rate(s, 1e-3, 30, e) == rate(e));
  s.cooldown_epochs = 5;
  CHECK(learning_rate(s, 1e-3, 30, 25) == doctest::Approx(1e-6));
  CHECK(learning_rate(s, 1e-3, 30, 14) == doctest::Approx((1e-3 + 1e-6) / 2));
  s.sched = "constant";
  CHECK(learning_rate(s, 1e-3, 30, 20) == 1e-3);
  s.sched = "step", s.decay_epochs = 10, s.decay_rate = 0.1, s.min_lr = 0;
  CHECK(learning_rate(s, 1e-3, 30, 9.99) == doctest::Approx(1e-3));
  CHECK(learning_rate(s, 1e-3, 30, 20) == doctest::Approx(1e-5));
  s = {};
  s.sched = "linear", s.warmup_epochs = 3, s.min_lr = 1e-4, s.cooldown_epochs = 7;
  CHECK(learning_rate(s, 1e-3, 30, 1.5) == doctest::Approx(5e-4));
  CHECK(learning_rate(s, 1e-3, 30, 3) == doctest::Approx(1e-3));
  CHECK(learning_rate(s, 1e-3, 30, 13) == doctest::Approx((1e-3 + 1e-4) / 2));
  CHECK(learning_rate(s, 1e-3, 30, 26) == doctest::Approx(1e-4));
  s = {};
  s.sched = "triangular", s.peak = 0.25, s.warmup_lr = 2e-4, s.min_lr = 1e-4;
  CHECK(learning_rate(s, 1e-3, 20, 0) == doctest::Approx(2e-4));
  CHECK(learning_rate(s, 1e-3, 20, 2.5) == doctest::Approx(6e-4));
  CHECK(learning_rate(s, 1e-3, 20, 5) == doctest::Approx(1e-3));
  CHECK(learning_rate(s, 1e-3, 20, 12.5) == doctest::Approx(5.5e-4));
  CHECK(learning_rate(s, 1e-3, 20, 20) == doctest::Approx(1e-4));
  s.peak = 0;
  CHECK(learning_rate(s, 1e-3, 20, 0) == doctest::Approx(1e-3));
  s.peak = 1;
  CHECK(learning_rate(s, 1e-3, 20, 20) == doctest::Approx(1e-3));
}
