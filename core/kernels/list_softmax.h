#pragma once
#include <stdint.h>

// clang-format off
#define TESSERA_SOFTMAX_KERNELS(ROW)                                                                                          \
  /* per row of width C: y = e^x / sum e^x;  dx = beta dx + y (dy - sum dy y) */                                              \
  ROW(softmax, const real* x, real* y, int64_t rows, int64_t C)                                                               \
  ROW(softmax_backward, const real* y, const real* dy, real* dx, real beta, int64_t rows, int64_t C)                          \
  /* y = x - ln sum e^x;  dx = beta dx + dy - e^y sum dy */                                                                   \
  ROW(log_softmax, const real* x, real* y, int64_t rows, int64_t C)                                                           \
  ROW(log_softmax_backward, const real* y, const real* dy, real* dx, real beta, int64_t rows, int64_t C)                      \
  /* lse[row] = ln sum e^x */                                                                                                 \
  ROW(logsumexp, const real* x, real* lse, int64_t rows, int64_t C)                                                           \
  /* y = beta y + a e^(x - lse) + c */                                                                                        \
  ROW(add_exp, const real* x, real lse, real a, real c, real* y, real beta, int64_t n)                                        \
  /* y = x / max(|x|, eps), inverse[row] = 1 / max(|x|, eps);  dx = beta dx + (dy - y sum dy y) inverse, without the sum below eps */ \
  ROW(normalize, const real* x, real* y, real* inverse, real eps, int64_t rows, int64_t C)                                    \
  ROW(normalize_backward, const real* y, const real* inverse, real eps, const real* dy, real* dx, real beta, int64_t rows, int64_t C)
// clang-format on
