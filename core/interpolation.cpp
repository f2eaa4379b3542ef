#include "tessera/core/interpolation.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "tessera/core/error.h"

namespace tessera {
namespace {

constexpr std::array<std::pair<std::string_view, Interpolation>, 4> names{
    {{"bilinear", Interpolation::bilinear},
     {"bicubic", Interpolation::bicubic},
     {"bicubic_antialias", Interpolation::bicubic_antialias},
     {"corner_aligned", Interpolation::corner_aligned}}};

/// Keys' cubic convolution kernel (1981); a is its slope at 1.
double cubic(double x, double a) {
  x = std::abs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

/// Adds weight to a tap; a tap outside of the samples counts for the nearest one.
void tap(double* row, int in, int i, double weight) { row[std::clamp(i, 0, in - 1)] += weight; }

void linear_row(double* row, int in, double x) {
  const double at = std::clamp(x, 0.0, in - 1.0), low = std::floor(at);
  tap(row, in, static_cast<int>(low), 1 - (at - low));
  tap(row, in, static_cast<int>(low) + 1, at - low);
}

void cubic_row(double* row, int in, double x) {
  const double low = std::floor(x);
  for (int t = -1; t <= 2; ++t) tap(row, in, static_cast<int>(low) + t, cubic(x - low - t, -0.75));
}

void antialias_row(double* row, int in, double centre, double step) {
  const double wide = std::max(step, 1.0);
  // to the nearest as Pillow has it, towards 0 after the addition
  const int first = std::max(static_cast<int>(centre - 2 * wide + 0.5), 0);  // NOLINT(bugprone-incorrect-roundings)
  const int end = std::min(static_cast<int>(centre + 2 * wide + 0.5), in);   // NOLINT(bugprone-incorrect-roundings)
  double sum = 0;
  for (int i = first; i < end; ++i) sum += row[i] = cubic((i + 0.5 - centre) / wide, -0.5);
  for (int i = first; i < end; ++i) row[i] /= sum;
}

}  // namespace

Interpolation interpolation(std::string_view word) {
  for (const auto& [n, rule] : names)
    if (n == word) return rule;
  if (word == "timm") return Interpolation::bicubic_antialias;
  fail("interpolation", "unknown rule \"{}\"; known: bilinear, bicubic, bicubic_antialias (= timm), corner_aligned",
       word);
}

std::string_view name(Interpolation rule) {
  for (const auto& [n, r] : names)
    if (r == rule) return n;
  return "";
}

std::vector<double> interpolation_matrix(int in, int out, Interpolation rule) {
  if (in < 1 || out < 1) fail("interpolation", "cannot resize {} samples to {}", in, out);
  std::vector<double> W(static_cast<size_t>(in) * static_cast<size_t>(out), 0.0);
  const double step = static_cast<double>(in) / out;
  for (int o = 0; o < out; ++o) {
    double* row = W.data() + static_cast<size_t>(o) * static_cast<size_t>(in);
    switch (rule) {
      case Interpolation::bilinear:
        linear_row(row, in, (o + 0.5) * step - 0.5);
        break;
      case Interpolation::bicubic:
        cubic_row(row, in, (o + 0.5) * step - 0.5);
        break;
      case Interpolation::bicubic_antialias:
        antialias_row(row, in, (o + 0.5) * step, step);
        break;
      case Interpolation::corner_aligned:
        linear_row(row, in, out > 1 ? o * (in - 1.0) / (out - 1.0) : 0);
        break;
    }
  }
  return W;
}

std::vector<double> interpolate(const std::vector<double>& x, int h0, int w0, int h, int w, int C, Interpolation rule) {
  const auto Wy = interpolation_matrix(h0, h, rule), Wx = interpolation_matrix(w0, w, rule);
  const auto at = [](int row, int col, int width) {
    return static_cast<size_t>(row) * static_cast<size_t>(width) + static_cast<size_t>(col);
  };
  std::vector<double> y(static_cast<size_t>(h) * static_cast<size_t>(w) * static_cast<size_t>(C), 0.0);
  for (int i = 0; i < h; ++i)
    for (int j = 0; j < w; ++j)
      for (int a = 0; a < h0; ++a)
        for (int b = 0; b < w0; ++b) {
          const double weight = Wy[at(i, a, h0)] * Wx[at(j, b, w0)];
          if (weight == 0) continue;
          for (int c = 0; c < C; ++c) y[at(i * w + j, c, C)] += weight * x[at(a * w0 + b, c, C)];
        }
  return y;
}

}  // namespace tessera
