#pragma once
#include <stdint.h>

// clang-format off
#define TESSERA_NORM_KERNELS(ROW)                                                                                            \
  /* y = (x - mean) rstd w + b, per row of width C; w, b may be null */                                                      \
  ROW(layernorm, const real* x, const real* w, const real* b, real eps, real* y, real* mean, real* rstd, int64_t rows, int64_t C) \
  /* dx = beta dx + ...; dw, db accumulate (they must be initialised); any of dx, dw, db may be null */                     \
  ROW(layernorm_backward, const real* x, const real* w, const real* mean, const real* rstd, const real* dy, real* dx, real beta, \
      real* dw, real* db, int64_t rows, int64_t C)
// clang-format on
