// Masks of dropout from counters: SplitMix64, as core/rng.h, on as many counters at once as a register holds. Each draw of 64 bits decides
// on two neighbouring elements, the low half on the even one.
//
// Measured on one core of an AMD Zen 4 (`tessera bench ops` under TESSERA_ISA), us on vectors of 16, 32 and 64 bytes:
//   dropout of 520 x 192, forward 34 16 7, with backward 90 48 31
#include "tessera/core/kernels/random.h"

#include "tessera/core/kernels/simd.h"

TESSERA_KERNELS_BEGIN

using draws = uint64_t __attribute__((vector_size(TESSERA_VECTOR_BYTES)));
using halves = uint32_t __attribute__((vector_size(TESSERA_VECTOR_BYTES)));

static constexpr uint64_t golden = 0x9e3779b97f4a7c15ULL;

template <class T>
static inline T mixed(T x) {
  x += golden;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}
static inline uint32_t bits32(uint64_t seed, int64_t i) {
  const uint64_t d = mixed(seed + golden * static_cast<uint64_t>(i / 2));
  return static_cast<uint32_t>(i % 2 ? d >> 32 : d);
}

void dropout(const real* x, real* y, real beta, uint64_t seed, uint32_t threshold, real scale, int64_t n) {
  int64_t i = 0;
  if constexpr (sizeof(real) == 4) {
    enum : int { pairs = TESSERA_VECTOR_BYTES / 8 };
    draws counter;
    for (int k = 0; k < pairs; ++k) counter[k] = seed + golden * static_cast<uint64_t>(k);
    for (; i + lanes <= n; i += lanes, counter += golden * uint64_t{pairs}) {
      const draws d = mixed(counter);
      halves h;
      __builtin_memcpy(&h, &d, sizeof h);  // little-endian: the low half comes first
      const auto keep = h >= threshold;
      ivec mask;
      __builtin_memcpy(&mask, &keep, sizeof mask);
      vec v =
          load(x + i) * select(mask, splat(scale), vec{});  // a product, as PyTorch's: what is dropped of NaN is NaN
      if (beta != 0) v += beta * load(y + i);
      store(y + i, v);
    }
  }
  for (; i < n; ++i) {
    const real v = x[i] * (bits32(seed, i) >= threshold ? scale : 0);
    y[i] = beta == 0 ? v : beta * y[i] + v;
  }
}

void add_scaled(const real* a, const real* b, real s, real* y, int64_t n) {
  map(n, y, a, b, [=](vec p, vec q) { return p + s * q; });
}

extern constinit const RandomKernels random_kernels{
    .dropout = dropout,
    .add_scaled = add_scaled,
};

TESSERA_KERNELS_END
