// The rules of the optimisers against their authors' steps, to 1e-6 in double, and what must hold of Newton and Schulz's iteration.
#include <algorithm>
#include <vector>

#include "tessera/core/optim.h"
#include "tessera/core/rng.h"
#include "tests/optimiser_golden.h"
#include "tests/twin/twin.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

/// A parameter of the golden file, and all that a rule may keep for it.
struct Kept {
  Tensor w, g, m, v;
  explicit Kept(const char* name) : w(optimisers_golden().read(std::string("start.") + name)), g(w.shape()) {
    m = zeros(w.shape()), v = zeros(w.shape());
  }
  Slice slice() const { return {g.data(), w.data(), m.data(), v.data(), nullptr, w.size()}; }
};

struct Bed {
  std::vector<Kept> all;
  Bed() {
    for (const char* name : golden_names) all.emplace_back(name);
  }
  void gradients(int t) {
    for (size_t p = 0; p < all.size(); ++p) golden_gradient(p, t, all[p].w.data(), all[p].g.data(), all[p].w.size());
  }
  double norm() const {
    double sum = 0;
    for (const Kept& k : all)
      for (const real g : k.g.values()) sum += static_cast<double>(g) * static_cast<double>(g);
    return std::sqrt(sum);
  }
  void check(const std::string& name, int t) const {
    for (size_t p = 0; p < all.size(); ++p)
      check_golden(name + "." + golden_names[p], t, all[p].w.data(), all[p].w.size());
  }
  /// The step of parameter p as the golden file has it: decay on all but the bias.
  static StepNow now(size_t p, int t, double lr) { return {.t = t + 1.0, .lr = lr, .decay = p != 3}; }
};

template <class Options>
void against(const std::string& name, const Options& options, double lr, double clip = 0) {
  Bed bed;
  for (int t = 0; t < golden_steps; ++t) {
    bed.gradients(t);
    for (size_t p = 0; p < bed.all.size(); ++p) {
      StepNow now = Bed::now(p, t, lr);
      if (clip > 0) now.clip = std::min(1.0, clip / (bed.norm() + 1e-6));
      take_step(options, now, bed.all[p].slice());
    }
    bed.check(name, t);
  }
}

void muon_against(const std::string& name, const MuonOptions& options, double lr) {
  Bed bed;
  OrthogonalRoom room(24, 4);
  for (int t = 0; t < golden_steps; ++t) {
    bed.gradients(t);
    for (size_t p = 0; p < 3; ++p) {
      const int rows = bed.all[p].w.dim(0);
      take_matrix_step(options, Bed::now(p, t, lr), rows, bed.all[p].w.size() / rows, bed.all[p].slice(), room);
    }
    take_step(options, Bed::now(3, t, lr), bed.all[3].slice());
    bed.check(name, t);
  }
}

void schedule_free_against(const std::string& name, const ScheduleFreeAdamWOptions& options, double lr, int warmup) {
  Bed bed;
  double largest = 0, sum = 0;
  for (Kept& k : bed.all) k.m = k.w.copy();
  for (int t = 0; t < golden_steps; ++t) {
    const double rate = t < warmup ? lr * (t + 1) / warmup : lr;
    largest = std::max(largest, rate), sum += largest * largest;
    bed.gradients(t);
    for (size_t p = 0; p < bed.all.size(); ++p) {
      StepNow now = Bed::now(p, t, rate);
      now.c = largest * largest / sum;
      const Kept& k = bed.all[p];
      take_step(options, now, k.slice());
      Tensor x(k.w.shape());
      schedule_free_average(options, k.w.data(), k.m.data(), x.data(), x.size());
      check_golden(name + ".x." + golden_names[p], t, x.data(), x.size());
    }
    bed.check(name, t);
  }
}

template <class Options>
void sam_against(const std::string& name, const Options& options, double lr, double rho) {
  Bed bed;
  for (int t = 0; t < golden_steps; ++t) {
    bed.gradients(t);
    const real scale = static_cast<real>(rho / (bed.norm() + 1e-12));
    std::vector<Tensor> before;
    for (const Kept& k : bed.all) {
      before.push_back(k.w.copy());
      scaled_sum(scale, k.g.data(), 1, k.w.data(), k.w.size());
    }
    bed.gradients(t);
    for (size_t p = 0; p < bed.all.size(); ++p) {
      std::copy_n(before[p].data(), before[p].size(), bed.all[p].w.data());
      take_step(options, Bed::now(p, t, lr), bed.all[p].slice());
    }
    bed.check(name, t);
  }
}

/// The iteration in plain loops, in double.
std::vector<double> plain_orthogonal(std::vector<double> x, int rows, int cols, int steps) {
  double square = 0;
  for (const double v : x) square += v * v;
  for (double& v : x) v /= std::sqrt(square);
  const auto R = static_cast<size_t>(rows), C = static_cast<size_t>(cols);
  for (int s = 0; s < steps; ++s) {
    std::vector<double> A(R * R), B(R * R), y(R * C);
    for (size_t i = 0; i < R; ++i)
      for (size_t j = 0; j < R; ++j)
        for (size_t k = 0; k < C; ++k) A[i * R + j] += x[i * C + k] * x[j * C + k];
    for (size_t i = 0; i < R; ++i)
      for (size_t j = 0; j < R; ++j) {
        for (size_t k = 0; k < R; ++k) B[i * R + j] += 2.0315 * A[i * R + k] * A[k * R + j];
        B[i * R + j] -= 4.7750 * A[i * R + j];
      }
    for (size_t i = 0; i < R; ++i)
      for (size_t j = 0; j < C; ++j) {
        y[i * C + j] = 3.4445 * x[i * C + j];
        for (size_t k = 0; k < R; ++k) y[i * C + j] += B[i * R + k] * x[k * C + j];
      }
    x = y;
  }
  return x;
}

}  // namespace

TWIN_CASE("optimisers: Lion takes its authors' steps") {
  against("lion", LionOptions{.weight_decay = 0.1}, 0.01);
  against("lion_clipped", LionOptions{.beta1 = 0.8, .beta2 = 0.95}, 0.003, 0.5);
}

TWIN_CASE("optimisers: Muon takes its authors' steps, and AdamW beside it") {
  muon_against("muon", {.adamw_rate = 3e-3 / 0.02, .weight_decay = 0.1}, 0.02);
  muon_against(
      "muon_plain",
      {.momentum = 0.6, .nesterov = false, .ns_steps = 3, .adjust_lr = AdjustLr::match_rms_adamw, .adamw_rate = 0.1},
      0.01);
  muon_against(
      "muon_normalised",
      {.momentum = 0.6, .ns_steps = 3, .normalize_weights = true, .adamw_rate = 3e-3 / 0.24, .weight_decay = 0.1},
      0.24);
}

TWIN_CASE("optimisers: a hidden matrix that is normalised has norm sqrt(rows) before its step, and zeros stay zeros") {
  OrthogonalRoom room(12, 3);
  Tensor w({3, 4}), g = zeros({3, 4}), m = zeros({3, 4});
  for (int i = 0; i < 12; ++i) w[i] = static_cast<real>(0.1 * i - 0.4);
  const MuonOptions options{.normalize_weights = true};
  const Slice slice{g.data(), w.data(), m.data(), nullptr, nullptr, 12};
  take_matrix_step(options, {.lr = 0}, 3, 4, slice, room);
  double square = 0;
  for (const real v : w.values()) square += static_cast<double>(v) * static_cast<double>(v);
  CHECK(square == doctest::Approx(3).epsilon(1e-5));
  CHECK(static_cast<double>(w[0] / w[11]) == doctest::Approx(-0.4 / 0.7).epsilon(1e-5));
  std::ranges::fill(w.values(), real{0});
  take_matrix_step(options, {.lr = 0.1}, 3, 4, slice, room);
  for (const real v : w.values()) CHECK(v == 0);
}

TWIN_CASE("optimisers: schedule-free AdamW takes its authors' steps, and has their average") {
  schedule_free_against("schedule_free", {.weight_decay = 0.1}, 0.05, 4);
  schedule_free_against("schedule_free_still", {.beta1 = 0.95, .beta2 = 0.99}, 0.02, 0);
}

TWIN_CASE("optimisers: SAM takes the steps of its paper around AdamW and SGD") {
  sam_against("sam_adamw", AdamWOptions{.weight_decay = 0.1}, 0.01, 0.05);
  sam_against("sam_sgd", SgdOptions{.momentum = 0.9, .nesterov = true, .weight_decay = 0.01}, 0.1, 0.5);
}

TWIN_CASE("optimisers: what Muon makes orthogonal is the iteration of plain loops, wide, tall or square") {
  for (const auto& [rows, cols] : {std::pair(1, 7), {5, 5}, {16, 33}, {33, 16}, {31, 64}, {2, 100}}) {
    const auto n = static_cast<size_t>(rows * cols);
    std::vector<double> x(n);
    OrthogonalRoom room(rows * cols, std::min(rows, cols));
    for (size_t i = 0; i < n; ++i)
      x[i] = rng::Stream(7).normal(i), room.x[static_cast<int64_t>(i)] = static_cast<real>(x[i]);
    const std::vector<double> plain = plain_orthogonal(x, rows, cols, 5);
    const real* const y = orthogonal(rows, cols, 5, room);
    CAPTURE(rows);
    CAPTURE(cols);
    for (size_t i = 0; i < n; ++i)
      REQUIRE(std::abs(static_cast<double>(y[i]) - plain[i]) <= (sizeof(real) == 8 ? 1e-12 : 2e-5));
  }
}

TWIN_CASE("optimisers: a gradient of zeros makes no NaN of a hidden matrix") {
  OrthogonalRoom room(12, 3);
  std::fill_n(room.x.data(), 12, real{0});
  const real* const y = orthogonal(3, 4, 5, room);
  for (int i = 0; i < 12; ++i) CHECK(y[i] == 0);
}

}  // namespace TESSERA_NS
}  // namespace tessera
