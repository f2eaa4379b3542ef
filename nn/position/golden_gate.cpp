//   omega_t = low (high / low)^(t / (F - 1)) of F turning pairs,   j = head F + t + 1,   f = omega u / |u|
//   lattice: u_a = erf^-1(2 frac(j g^-a) - 1) for a = 1: y, 2: x      angle: u = (cos phi, sin phi), phi = (j - 1) pi (1 - sqrt 5) / 2
//   g^3 = g + 1, by the ten steps of the source: it is off by 4e-8, and the limit would turn late pairs visibly.
#include "tessera/nn/position/golden_gate.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace tessera {
inline namespace TESSERA_NS {
namespace {

/// y with erf(y) = x, |x| < 1: a start good to 1e-3 (Winitzki 2008), then Newton.
double erf_inverse(double x) {
  const double a = 0.147, l = std::log1p(-x * x), b = 2 / (std::numbers::pi * a) + l / 2;
  double y = std::copysign(std::sqrt(std::sqrt(b * b - l / a) - b), x);
  for (int i = 0; i < 4; ++i) y -= (std::erf(y) - x) * std::exp(y * y) * std::sqrt(std::numbers::pi) / 2;
  return y;
}

/// The direction of pair j = 0, 1, ...: y, x, of length 1.
Frequency direction(int j, GoldenDirections directions) {
  if (directions == GoldenDirections::angle) {
    const double phi = j * std::numbers::pi * (1 - std::sqrt(5.0)) / 2;
    return {std::cos(phi), std::sin(phi)};
  }
  double g = 2;
  for (int i = 0; i < 10; ++i) g = std::cbrt(1 + g);
  const auto normal = [&](double step) { return erf_inverse(2 * std::fmod((j + 1) * step, 1.0) - 1); };
  const double y = normal(1 / g), x = normal(1 / g / g), length = std::hypot(y, x);
  return {y / length, x / length};
}

}  // namespace

std::vector<Frequency> golden_gate_frequencies(int heads, int pairs, double low, double high, int resting,
                                               GoldenDirections directions) {
  const int turning = pairs - resting;
  std::vector<Frequency> f;
  for (int h = 0; h < heads; ++h)
    for (int t = 0; t < pairs; ++t) {
      const double share = turning > 1 ? (t - resting) / (turning - 1.0) : 0;
      const double omega = t < resting ? 0 : low * std::pow(high / low, share);
      const Frequency u = direction(h * pairs + t, directions);
      f.push_back({omega * u.y, omega * u.x});
    }
  return f;
}

void scale_golden_gate(std::vector<Frequency>& f, int heads, int resting, const Scaling& c, const Extent& trained,
                       const Extent& now) {
  const size_t pairs = f.size() / static_cast<size_t>(heads), first = static_cast<size_t>(resting);
  for (size_t h = 0; h < static_cast<size_t>(heads); ++h) {
    Frequency* const own = f.data() + h * pairs + first;
    std::vector<double> magnitudes;
    for (size_t t = 0; t < pairs - first; ++t) magnitudes.push_back(std::hypot(own[t].y, own[t].x));
    const MixedFactors by = scaled_mixed(c, magnitudes, {trained.h, trained.w}, {now.h, now.w}, 1);
    for (size_t t = 0; t < pairs - first; ++t) own[t].y *= by.y[t], own[t].x *= by.x[t];
  }
}

double golden_gate_slowest(const Extent& trained) {
  return std::numbers::pi / 4 / std::sqrt(std::max(trained.cells(), 1));
}

}  // namespace TESSERA_NS
}  // namespace tessera
