#pragma once
#include <stdint.h>

#include "tessera/core/real.h"

namespace tessera {
inline namespace TESSERA_NS {

/// LayerNorm, per row of width C; BatchNorm, per column of rows x C. Sums over rows are made in double: what a mean leaves over is small
/// beside its terms. They are added to what is there.
struct NormKernels {
  /// y = (x - mean) rstd w + b; w, b may be null.
  void (*layernorm)(const real* x, const real* w, const real* b, real eps, real* y, real* mean, real* rstd,
                    int64_t rows, int64_t C);
  /// dx = beta dx + ...; dw, db accumulate (they must be initialised); any of dx, dw, db may be null.
  void (*layernorm_backward)(const real* x, const real* w, const real* mean, const real* rstd, const real* dy, real* dx,
                             real beta, real* dw, real* db, int64_t rows, int64_t C);
  /// The dw and db of that alone, with its bits, for `columns` columns of rows that are `ld` apart.
  void (*layernorm_tables)(const real* x, const real* mean, const real* rstd, const real* dy, int64_t ld, real* dw,
                           real* db, int64_t rows, int64_t columns);
  /// sum[c] += x[i,c]
  void (*batchnorm_sum)(const real* x, int64_t rows, int64_t C, double* sum);
  /// sum[c] += (x[i,c] - mean[c])^2
  void (*batchnorm_squares)(const real* x, const real* mean, int64_t rows, int64_t C, double* sum);
  /// y = (x - mean) rstd w + b
  void (*batchnorm)(const real* x, const real* mean, const real* rstd, const real* w, const real* b, real* y,
                    int64_t rows, int64_t C);
  /// With h = (x - mean) rstd: sum += dy, dot += dy h, over += h.
  void (*batchnorm_sums)(const real* x, const real* mean, const real* rstd, const real* dy, int64_t rows, int64_t C,
                         double* sum, double* dot, double* over);
  /// dx = beta dx + w rstd (dy - sum - (h - over) dot), all of them means over the rows; in evaluation, where sum is null,
  /// dx = beta dx + w rstd dy, and nothing else is part of it, not even as 0 times the NaN of another sample.
  void (*batchnorm_backward)(const real* x, const real* mean, const real* rstd, const real* w, const real* dy,
                             const real* sum, const real* dot, const real* over, real* dx, real beta, int64_t rows,
                             int64_t C);
};

}  // namespace TESSERA_NS
}  // namespace tessera
