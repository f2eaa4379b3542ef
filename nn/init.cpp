#include <cmath>

#include "nn/params.h"

namespace tessera {

Init xavier_uniform(int fan_in, int fan_out) { return uniform(std::sqrt(6.0 / (fan_in + fan_out))); }
Init torch_default(int fan_in) { return uniform(1.0 / std::sqrt(static_cast<double>(fan_in))); }

}  // namespace tessera
