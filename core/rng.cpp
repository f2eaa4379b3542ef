#include "tessera/core/rng.h"

#include <cmath>
#include <numbers>

namespace tessera::rng {

double Stream::normal(uint64_t counter) const {
  const double u = 1.0 - uniform(2 * counter), v = uniform(2 * counter + 1);
  return std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * std::numbers::pi * v);
}

}  // namespace tessera::rng
