#pragma once
#include <stdint.h>

// clang-format off
#define TESSERA_RANDOM_KERNELS(ROW)                                                                                            \
  /* y = beta y + x (bits32 number i of the stream `seed` >= threshold ? scale : 0); rng::Stream::bits32 */                    \
  ROW(dropout, const real* x, real* y, real beta, uint64_t seed, uint32_t threshold, real scale, int64_t n)                    \
  /* y = a + s b */                                                                                                            \
  ROW(add_scaled, const real* a, const real* b, real s, real* y, int64_t n)
// clang-format on
