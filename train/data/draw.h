#pragma once
// Random numbers in sequence from one stream: each call takes the next counter.
#include <cmath>
#include <cstdint>
#include <numbers>

#include "tessera/core/rng.h"

namespace tessera::data {

class Draw {
 public:
  explicit Draw(rng::Stream stream) : stream_(stream) {}
  /// Uniform in [0, 1).
  double uniform() { return stream_.uniform(next_++); }
  double uniform(double low, double high) { return low + (high - low) * uniform(); }
  /// Uniform integer in [0, n).
  uint32_t below(uint32_t n) { return stream_.below(next_++, n); }
  bool coin(double p) { return uniform() < p; }
  /// Standard normal (Box-Muller).
  double normal() {
    const double u = 1 - uniform(), v = uniform();
    return std::sqrt(-2 * std::log(u)) * std::cos(2 * std::numbers::pi * v);
  }
  /// Gamma(shape, 1) by Marsaglia and Tsang (2000); below 1 boosted by U^(1 / shape).
  double gamma(double shape) {
    if (shape < 1) return gamma(shape + 1) * std::pow(1 - uniform(), 1 / shape);
    const double d = shape - 1.0 / 3, c = 1 / std::sqrt(9 * d);
    for (;;) {
      const double x = normal(), v = std::pow(1 + c * x, 3);
      const double u = 1 - uniform();
      if (v > 0 && std::log(u) < 0.5 * x * x + d - d * v + d * std::log(v)) return d * v;
    }
  }
  /// Beta(a, b), as the share of two gammas.
  double beta(double a, double b) {
    const double x = gamma(a), y = gamma(b);
    return x + y > 0 ? x / (x + y) : 0.5;
  }

 private:
  rng::Stream stream_;
  uint64_t next_ = 0;
};

}  // namespace tessera::data
