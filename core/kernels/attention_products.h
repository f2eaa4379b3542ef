#pragma once
#include <stdint.h>

#include "tessera/core/real.h"

namespace tessera {
inline namespace TESSERA_NS {

/// Pieces of attention on small row-major matrices in scratch memory: rows start on whole vectors and are padded to
/// them with zeros ("ld" is such a row stride). To and from a large matrix, at[i] is its row, or -1: none; at null: row
/// i. Its rows `ahead` elements further on are fetched into L2.
struct AttentionProductKernels {
  /// C (M x N) = A (M x K) B (K x N), or += when `add`. N is rounded up to whole vectors: so far B is read and C
  /// written.
  void (*product)(int64_t M, int64_t N, int64_t K, const real* A, int64_t lda, const real* B, int64_t ldb, real* C,
                  int64_t ldc, bool add);
  /// The same with A given as (K x M).
  void (*product_tn)(int64_t M, int64_t N, int64_t K, const real* A, int64_t lda, const real* B, int64_t ldb, real* C,
                     int64_t ldc, bool add);
  /// y (n x d) = rows of x; where at[i] = -1, zeros.
  void (*gather_rows)(const real* x, int64_t stride, const int32_t* at, int64_t n, int64_t d, real* y, int64_t ld,
                      int64_t ahead);
  /// Row at[i] of y = beta times itself + scale each[i] x[i]; at[i] = -1: nothing; each may be null.
  void (*scatter_rows)(const real* x, int64_t ld, const int32_t* at, int64_t n, int64_t d, real scale, const real* each,
                       real* y, int64_t stride, real beta, int64_t ahead);
  /// y (d x n) = scale rows of x, transposed; padded with zeros to whole vectors of n.
  void (*transpose_rows)(const real* x, int64_t stride, const int32_t* at, int64_t n, int64_t d, real scale, real* y,
                         int64_t ld, int64_t ahead);
  /// Turns the pairs of channels of x (n x d) by the angles cos, sin (n x d / 2): neighbours, or with `halves` channels
  /// d / 2 apart.
  void (*rotate)(real* x, int64_t ld, int64_t n, int64_t d, const real* cosine, const real* sine, bool halves);
  /// dx turned back in place; dcos, dsin += scale (...) from the unrotated x, unless null.
  void (*rotate_backward)(const real* x, real* dx, int64_t ld, int64_t n, int64_t d, const real* cosine,
                          const real* sine, bool halves, real scale, real* dcos, real* dsin);
};

}  // namespace TESSERA_NS
}  // namespace tessera
