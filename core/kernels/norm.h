#pragma once
#include <stdint.h>

#include "tessera/core/real.h"

namespace tessera {
inline namespace TESSERA_NS {

/// LayerNorm, per row of width C.
struct NormKernels {
  /// y = (x - mean) rstd w + b; w, b may be null.
  void (*layernorm)(const real* x, const real* w, const real* b, real eps, real* y, real* mean, real* rstd,
                    int64_t rows, int64_t C);
  /// dx = beta dx + ...; dw, db accumulate (they must be initialised); any of dx, dw, db may be null.
  void (*layernorm_backward)(const real* x, const real* w, const real* mean, const real* rstd, const real* dy, real* dx,
                             real beta, real* dw, real* db, int64_t rows, int64_t C);
};

}  // namespace TESSERA_NS
}  // namespace tessera
