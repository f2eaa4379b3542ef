#pragma once
// What the files of attention's kernels share.
#include "tessera/core/kernels/simd.h"

TESSERA_KERNELS_BEGIN

/// One number per row out of `lanes` rows of partial ones: lane l of the result is op over the lanes of r[l]. Three operations a
/// row, where a reduction of its own takes eight and waits for each.
template <int W = lanes / 2, class Op>
static inline vec across(vec (&r)[lanes], Op op) {
  ivec low, high;
  for (int l = 0; l < lanes; ++l) {
    low[l] = l & W ? lanes + (l ^ W) : l;
    high[l] = l & W ? lanes + l : l ^ W;
  }
#pragma GCC unroll 8
  for (int i = 0; i < W; ++i) r[i] = op(shuffle(r[i], r[i + W], low), shuffle(r[i], r[i + W], high));
  if constexpr (W > 1) {
    return across<W / 2>(r, op);
  } else {
    return r[0];
  }
}

/// f<NV>() with loops unrolled for rows of up to six vectors.
template <int NV = 6, class F>
static inline void by_length(int64_t vectors, F f) {
  if constexpr (NV == 0) {
    f.template operator()<0>();
  } else if (vectors == NV) {
    f.template operator()<NV>();
  } else {
    by_length<NV - 1>(vectors, f);
  }
}

TESSERA_KERNELS_END
