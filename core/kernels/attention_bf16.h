#pragma once
#include <stdint.h>

#include "tessera/core/real.h"

namespace tessera {
inline namespace TESSERA_NS {

/// Attention's products in bf16: operands rounded to bfloat16 (ties to even), their products added in fp32. An operand is an array of
/// pairs, 32 bits each: the k-th number and the next. Of a matrix whose k runs along its rows they are neighbours ("along"), of one
/// whose k runs down its columns they come from two rows ("across"). A pair's missing half is 0. Rows start on whole vectors and are padded
/// to them with zeros ("ld" is such a row stride, in pairs); `at` and `ahead` are those of AttentionProductKernels. The double twin's do nothing of use.
struct AttentionBf16Kernels {
  /// C (M x N) = A (M x K) B (K x N), or += when `add`; K in pairs, A along, B across. N is rounded up to whole vectors: so far B is read
  /// and C written.
  void (*bf16_product)(int64_t M, int64_t N, int64_t K, const uint32_t* A, int64_t lda, const uint32_t* B, int64_t ldb,
                       real* C, int64_t ldc, bool add);
  /// The same with A given as (K x M), across.
  void (*bf16_product_tn)(int64_t M, int64_t N, int64_t K, const uint32_t* A, int64_t lda, const uint32_t* B,
                          int64_t ldb, real* C, int64_t ldc, bool add);
  /// y (n x d / 2) = pairs along the rows of x (n x d).
  void (*bf16_along)(const real* x, int64_t stride, const int32_t* at, int64_t n, int64_t d, uint32_t* y, int64_t ld,
                     int64_t ahead);
  /// y (n / 2 x d) = pairs across the rows of x (n x d).
  void (*bf16_across)(const real* x, int64_t stride, const int32_t* at, int64_t n, int64_t d, uint32_t* y, int64_t ld,
                      int64_t ahead);
  /// y (d / 2 x n) = pairs along the rows of scale x (n x d), transposed: what stands across in x^T.
  void (*bf16_transposed)(const real* x, int64_t stride, const int32_t* at, int64_t n, int64_t d, real scale,
                          uint32_t* y, int64_t ld, int64_t ahead);
};

}  // namespace TESSERA_NS
}  // namespace tessera
