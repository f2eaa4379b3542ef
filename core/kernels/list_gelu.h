#pragma once
#include <stdint.h>

// clang-format off
#define TESSERA_GELU_KERNELS(ROW)                                                                       \
  /* y = gelu(x) and slope = gelu'(x), so that backward is one product; y may be x */                   \
  ROW(gelu_and_slope, const real* x, real* y, real* slope, int64_t n)                                   \
  /* x *= slope (rows x width) in place and sums = beta sums + column sums of the result; sums may be null */ \
  ROW(scale_and_sum_rows, const real* slope, real* x, real* sums, real beta, int64_t rows, int64_t width)
// clang-format on
