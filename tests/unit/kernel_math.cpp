// The elementary functions of the kernels, on every instruction set this machine has, against libm in double.
#include <doctest/doctest.h>
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "tessera/core/kernels/kernels.h"
#include "tessera/core/rng.h"

namespace tessera {
namespace {

std::vector<const Kernels*> every_set() {
  std::vector<const Kernels*> sets;
  for (Isa i : {Isa::scalar, Isa::avx2, Isa::avx512})
    if (kernels(i)) sets.push_back(kernels(i));
  return sets;
}

/// The spacing of floats at v.
double ulp(double v) {
  const float a = std::max(static_cast<float>(std::abs(v)), 1.2e-38F);
  return static_cast<double>(std::nextafter(a, INFINITY)) - static_cast<double>(a);
}

using Map = void (*)(const float*, float*, int64_t);

/// The largest error in units in the last place over [lo, hi], with values of every size if the range is positive and wide.
double worst_ulp(Map f, double (*exact)(double), double lo, double hi, bool logarithmic = false) {
  constexpr int n = 100'003;
  std::vector<float> x(n), y(n);
  for (int i = 0; i < n; ++i) {
    const double u = i / double{n - 1};
    x[static_cast<size_t>(i)] = static_cast<float>(logarithmic ? lo * std::pow(hi / lo, u) : lo + (hi - lo) * u);
  }
  f(x.data(), y.data(), n);
  double worst = 0;
  for (size_t i = 0; i < n; ++i) {
    const double want = exact(static_cast<double>(x[i]));
    const double error = std::abs(static_cast<double>(y[i]) - want) / ulp(want);
    if (!(error <= worst)) worst = error;
  }
  return worst;
}

TEST_CASE("kernels: elementary functions are within a few units in the last place, on every instruction set") {
  for (const Kernels* k : every_set()) {
    INFO("registers of " << k->lanes);
    CHECK(worst_ulp(
              k->exp, [](double v) { return std::exp(v); }, -87, 88.7) <= 1);
    CHECK(worst_ulp(
              k->exp, [](double v) { return std::exp(v); }, -1, 1) <= 1);
    CHECK(worst_ulp(
              k->log, [](double v) { return std::log(v); }, 1.2e-38, 3e38, true) <= 1);
    CHECK(worst_ulp(
              k->log, [](double v) { return std::log(v); }, 0.5, 2) <= 1);
    CHECK(worst_ulp(
              k->tanh, [](double v) { return std::tanh(v); }, -10, 10) <= 2);
    CHECK(worst_ulp(
              k->tanh, [](double v) { return std::tanh(v); }, 1e-30, 1, true) <= 2);
    CHECK(worst_ulp(
              k->sqrt, [](double v) { return std::sqrt(v); }, 1e-37, 1e38, true) <= 0.5001);
    CHECK(worst_ulp(
              k->sigmoid, [](double v) { return 1 / (1 + std::exp(-v)); }, -80, 80) <= 3);
    CHECK(worst_ulp(
              k->softplus, [](double v) { return std::log1p(std::exp(v)); }, -60, 60) <= 3);
  }
}

TEST_CASE("kernels: sine and cosine to 1e-7 of their range; the exact GELU to 1.2e-7 of max(|x|, 1)") {
  // near their zeros away from the origin, a relative bound would ask for more than float arguments can hold
  for (const Kernels* k : every_set()) {
    INFO("registers of " << k->lanes);
    constexpr int n = 200'001;
    std::vector<float> x(n), s(n), c(n), g(n);
    for (int i = 0; i < n; ++i) x[static_cast<size_t>(i)] = static_cast<float>((i - n / 2) * 0.08);
    k->sin(x.data(), s.data(), n), k->cos(x.data(), c.data(), n);
    double worst = 0, worst_gelu = 0;
    for (size_t i = 0; i < n; ++i) {
      const auto v = static_cast<double>(x[i]);
      worst = std::max({worst, std::abs(static_cast<double>(s[i]) - std::sin(v)),
                        std::abs(static_cast<double>(c[i]) - std::cos(v))});
    }
    for (int i = 0; i < n; ++i) x[static_cast<size_t>(i)] = static_cast<float>((i - n / 2) * 1e-4);
    k->gelu(x.data(), g.data(), n);
    for (size_t i = 0; i < n; ++i) {
      const auto v = static_cast<double>(x[i]);
      const double want = v / 2 * std::erfc(-v / std::sqrt(2.0));
      worst_gelu = std::max(worst_gelu, std::abs(static_cast<double>(g[i]) - want) / std::max(std::abs(v), 1.0));
    }
    CHECK(worst <= 1e-7);
    CHECK(worst_gelu <= 1.2e-7);
  }
}

TEST_CASE("kernels: nothing is written beyond n, whatever n is") {
  for (const Kernels* k : every_set()) {
    for (int64_t n = 0; n <= 70; ++n) {
      std::vector<float> x(80, 0.75F), y(80, -7);
      const auto untouched = [&](const char* name) {
        for (size_t i = static_cast<size_t>(n); i < y.size(); ++i) CHECK_MESSAGE(y[i] == -7, name << " at n = " << n);
        for (size_t i = 0; i < static_cast<size_t>(n); ++i)
          CHECK_MESSAGE(y[i] != -7, name << " leaves holes at n = " << n);
        std::fill(y.begin(), y.end(), -7.0F);
      };
      k->exp(x.data(), y.data(), n), untouched("exp");
      k->gelu_backward(x.data(), x.data(), y.data(), 0, n), untouched("gelu_backward");
      k->mul(x.data(), x.data(), y.data(), n), untouched("mul");
      k->affine(x.data(), y.data(), 0, 2, 1, n), untouched("affine");
      k->dropout(x.data(), y.data(), 0, 42, 1U << 30, 2, n), untouched("dropout");
      if (n) k->softmax(x.data(), y.data(), 1, n), untouched("softmax");
      if (n) k->sum_rows(x.data(), n, y.data(), 0, 1, n), untouched("sum_rows");
      k->transpose(x.data(), n, y.data(), n, 1), untouched("transpose");
    }
  }
}

TEST_CASE("kernels: every instruction set draws the same dropout masks as rng::Stream") {
  constexpr int n = 1001;
  const std::vector<float> x(n, 1);
  const rng::Stream stream(123456789);
  for (const Kernels* k : every_set()) {
    std::vector<float> y(n, 5);
    k->dropout(x.data(), y.data(), 1, stream.seed(), 0x40000000, 3, n);
    for (int i = 0; i < n; ++i)
      REQUIRE(y[static_cast<size_t>(i)] == (stream.bits32(static_cast<uint64_t>(i)) >= 0x40000000 ? 8 : 5));
  }
}

}  // namespace
}  // namespace tessera
