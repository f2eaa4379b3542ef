#pragma once
#include <stdint.h>

// clang-format off
#define TESSERA_ELEMENTWISE_KERNELS(ROW)                                                                \
  /* y += x */                                                                                          \
  ROW(accumulate, const real* x, real* y, int64_t n)                                                    \
  /* y = a + b */                                                                                       \
  ROW(add, const real* a, const real* b, real* y, int64_t n)                                            \
  /* y = x Phi(x), the exact (erf) GELU; dx = beta dx + dy (Phi(x) + x phi(x)) */                       \
  ROW(gelu, const real* x, real* y, int64_t n)                                                          \
  ROW(gelu_backward, const real* x, const real* dy, real* dx, real beta, int64_t n)                     \
  /* y = beta y + column sums of x (rows x width) */                                                    \
  ROW(sum_rows, const real* x, real* y, real beta, int64_t rows, int64_t width)
// clang-format on
