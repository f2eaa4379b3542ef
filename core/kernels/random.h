#pragma once
#include <stdint.h>

#include "tessera/core/real.h"

namespace tessera {
inline namespace TESSERA_NS {

/// Masks of dropout, and a sum for noise.
struct RandomKernels {
  /// y = beta y + x (bits32 number i of the stream `seed` >= threshold ? scale : 0); rng::Stream::bits32.
  void (*dropout)(const real* x, real* y, real beta, uint64_t seed, uint32_t threshold, real scale, int64_t n);
  /// y = a + s b
  void (*add_scaled)(const real* a, const real* b, real s, real* y, int64_t n);
};

}  // namespace TESSERA_NS
}  // namespace tessera
