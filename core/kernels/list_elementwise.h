#pragma once
#include <stdint.h>

// clang-format off
#define TESSERA_ELEMENTWISE_KERNELS(ROW)                                                                \
  /* y += x */                                                                                          \
  ROW(accumulate, const real* x, real* y, int64_t n)                                                    \
  /* y = a + b */                                                                                       \
  ROW(add, const real* a, const real* b, real* y, int64_t n)                                            \
  /* y = a - b, a b, a / b */                                                                           \
  ROW(sub, const real* a, const real* b, real* y, int64_t n)                                            \
  ROW(mul, const real* a, const real* b, real* y, int64_t n)                                            \
  ROW(div, const real* a, const real* b, real* y, int64_t n)                                            \
  ROW(div_by, const real* a, real b, real* y, int64_t n)                                                \
  ROW(div_of, real a, const real* b, real* y, int64_t n)                                                \
  /* y = beta y + a b */                                                                                \
  ROW(add_product, const real* a, const real* b, real* y, real beta, int64_t n)                         \
  /* y (rows, cols) = x^T, where x (cols, rows) has rows of ld */                                        \
  ROW(transpose, const real* x, int64_t ld, real* y, int64_t rows, int64_t cols)                        \
  /* y[0] = the sum of x */                                                                             \
  ROW(sum_all, const real* x, real* y, int64_t n)                                                       \
  /* y = beta y + column sums of x (rows x width) */                                                    \
  ROW(sum_rows, const real* x, real* y, real beta, int64_t rows, int64_t width)
// clang-format on
