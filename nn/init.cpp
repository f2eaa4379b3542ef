#include <cmath>

#include "tessera/nn/params.h"

namespace tessera {

Init xavier_uniform(int fan_in, int fan_out) { return uniform(std::sqrt(6.0 / (fan_in + fan_out))); }
Init torch_default(int fan_in) { return uniform(1.0 / std::sqrt(static_cast<double>(fan_in))); }

Init lecun_normal(int fan_in) {
  constexpr double shrunk = 0.87962566103423978;  // standard deviation of N(0, 1) truncated at +-2
  return {Init::truncated, std::sqrt(1.0 / fan_in) / shrunk};
}

}  // namespace tessera
