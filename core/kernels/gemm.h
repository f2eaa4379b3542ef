#pragma once
#include <stdint.h>

#include "tessera/core/kernels/gemm_task.h"
#include "tessera/core/real.h"

namespace tessera {
inline namespace TESSERA_NS {

/// Matrix products, one thread's share of them.
struct GemmKernels {
  /// B (K,N) with row stride ldb into panels of 2 * lanes columns: ceil(N / (2 lanes)) * 2 lanes * K reals, padded
  /// with 0.
  void (*gemm_pack)(const real* b, int64_t ldb, int64_t K, int64_t N, real* panels);
  /// The same of B = W^T, where W (N,K) has row stride ldw.
  void (*gemm_pack_transposed)(const real* w, int64_t ldw, int64_t K, int64_t N, real* panels);
  /// The product itself.
  void (*gemm)(const GemmTask* task);
  /// Runs `rounds` rounds of independent multiply-adds from registers; *count receives how many operations (2 an FMA).
  void (*fma_burn)(int64_t rounds, double* count, real* sink);
};

}  // namespace TESSERA_NS
}  // namespace tessera
