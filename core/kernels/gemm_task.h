#pragma once
// What a matrix product kernel is told. Plain data: kernel files include it too.
#include <stdint.h>

#include "tessera/core/real.h"

namespace tessera {
inline namespace TESSERA_NS {

/// C (M,N) = beta C + A (M,K) B (K,N) [+ bias] [+ add], then GELU if wanted.
struct GemmTask {
  int64_t M, N, K;
  const real* a;  ///< element (i, k) at a[i * a_row + k * a_col]; one of the two strides is 1
  int64_t a_row, a_col;
  const real* panels;  ///< B as gemm_pack or gemm_pack_transposed wrote it, unless b is given
  const real*
      b;  ///< B as it lies, with row stride ldb, packed block by block into scratch (the size of all panels); or null
  int64_t ldb;
  real* scratch;
  real beta;  ///< 0: C is overwritten, whatever it held
  real* c;
  int64_t ldc;
  const real* bias;  ///< (N) or null
  const real* add;   ///< (M,N) with row stride ld_add, or null: a residual
  int64_t ld_add;
  bool gelu;    ///< C = gelu(C)
  real* slope;  ///< with gelu: (M,N) with row stride ld_slope receives gelu'(C); or null
  int64_t ld_slope;
  const void* soon;  ///< memory that the next product reads: brought into L2 while this one computes; or null
  int64_t soon_bytes;
};

/// Rows [i, e) of a task. Static: a kernel file may leave no symbol that the linker shares.
static inline GemmTask rows_of(GemmTask t, int64_t i, int64_t e) {
  t.M = e - i, t.a += i * t.a_row, t.c += i * t.ldc;
  if (t.add) t.add += i * t.ld_add;
  if (t.slope) t.slope += i * t.ld_slope;
  if (i > 0) t.soon = nullptr, t.soon_bytes = 0;  // once is enough
  return t;
}

}  // namespace TESSERA_NS
}  // namespace tessera
