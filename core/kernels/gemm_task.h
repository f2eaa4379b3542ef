#pragma once
// What a matrix product kernel is told. Plain data: kernel files include it too.
#include <stdint.h>

#include "core/real.h"

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

}  // namespace TESSERA_NS
}  // namespace tessera
