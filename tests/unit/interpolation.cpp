#include "tessera/core/interpolation.h"

#include <doctest/doctest.h>

#include <array>
#include <cmath>

#include "tessera/core/error.h"

namespace tessera {
namespace {

constexpr std::array rules{Interpolation::bilinear, Interpolation::bicubic, Interpolation::bicubic_antialias,
                           Interpolation::corner_aligned};

void check(Interpolation rule, const std::vector<double>& x, const std::vector<double>& y) {
  const int in = static_cast<int>(x.size()), out = static_cast<int>(y.size());
  const auto got = interpolate(x, 1, in, 1, out, 1, rule), column = interpolate(x, in, 1, out, 1, 1, rule);
  for (size_t i = 0; i < y.size(); ++i) {
    CHECK(got[i] == doctest::Approx(y[i]).epsilon(1e-6));
    CHECK(column[i] == got[i]);
  }
}

TEST_CASE("interpolation: three samples to five by hand") {
  check(Interpolation::bilinear, {0, 1, 4}, {0, 0.4, 1, 2.8, 4});
  check(Interpolation::bicubic, {0, 1, 4}, {-0.096, 0.172, 1, 2.908, 4.288});
  check(Interpolation::corner_aligned, {0, 1, 4}, {0, 0.5, 1, 2.5, 4});
  // The kernel of a = -0.5 with repeated borders: the same three samples between two copies of their ends on either
  // side.
  const auto y = interpolate({0, 0, 0, 0, 1, 4, 4, 4, 4}, 1, 9, 1, 15, 1, Interpolation::bicubic_antialias);
  const std::vector<double> inner(y.begin() + 5, y.begin() + 10), golden{-0.064, 0.232, 1, 2.92, 4.192};
  for (size_t i = 0; i < 5; ++i) CHECK(inner[i] == doctest::Approx(golden[i]).epsilon(1e-9));
}

// Written by PyTorch 2.14: F.interpolate(x, mode="bicubic", antialias=True, align_corners=False) in float64.
TEST_CASE("interpolation: bicubic with antialias drops outside taps, also when it enlarges") {
  check(Interpolation::bicubic_antialias, {0, 1, 4}, {-0.07547169811, 0.2164179104, 1, 2.992537313, 4.226415094});
  check(Interpolation::bicubic_antialias, {0, 1, 4, 2, 7, 3, 1}, {1.056451613, 4.023199023, 3.064516129});
  check(Interpolation::bicubic_antialias, {1, -2, 3, 5}, {1, -2, 3, 5});
  check(Interpolation::bicubic_antialias, {2, 0, 1, 5, 3}, {0.9855288359, 3.296233241});
}

TEST_CASE("interpolation: rows sum to one, equal sizes are the identity, symmetry") {
  for (Interpolation rule : rules) {
    CAPTURE(name(rule));
    CHECK(interpolation(name(rule)) == rule);
    for (int in = 1; in <= 9; ++in)
      for (int out = 1; out <= 9; ++out) {
        const auto W = interpolation_matrix(in, out, rule);
        for (int o = 0; o < out; ++o) {
          double sum = 0;
          for (int i = 0; i < in; ++i) {
            const double w = W[static_cast<size_t>(o * in + i)];
            sum += w;
            if (in == out) CHECK(w == doctest::Approx(o == i).epsilon(1e-14));
            // A single corner-aligned sample is the first one, which has no mirror image.
            if (rule == Interpolation::corner_aligned && out == 1) continue;
            CHECK(w == doctest::Approx(W[static_cast<size_t>((out - 1 - o) * in + in - 1 - i)]).epsilon(1e-12));
          }
          CHECK(sum == doctest::Approx(1).epsilon(1e-14));
        }
      }
  }
}

TEST_CASE("interpolation: words and sizes that make no sense are refused") {
  CHECK_THROWS_AS(interpolation("cubic"), Error);
  CHECK_THROWS_AS(interpolation_matrix(0, 3, Interpolation::bilinear), Error);
  CHECK_THROWS_AS(interpolation_matrix(3, 0, Interpolation::bilinear), Error);
  CHECK(interpolation("timm") == Interpolation::bicubic_antialias);
}

}  // namespace
}  // namespace tessera
