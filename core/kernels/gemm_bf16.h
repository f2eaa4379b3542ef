#pragma once
#include <stdint.h>

#include "tessera/core/kernels/gemm_task.h"
#include "tessera/core/real.h"

namespace tessera {
inline namespace TESSERA_NS {

/// Products of operands rounded to bfloat16, added in fp32. Panels hold N' * K' reals, or less, N' and K' being N and K
/// rounded up to 32; only their own kernel can read them.
struct GemmBf16Kernels {
  /// As gemm_pack.
  void (*bf16_pack)(const real* b, int64_t ldb, int64_t K, int64_t N, real* panels);
  /// As gemm_pack_transposed.
  void (*bf16_pack_transposed)(const real* w, int64_t ldw, int64_t K, int64_t N, real* panels);
  /// As gemm, with the task's `b` null and its `scratch` (64 * K' reals) for a strip of A.
  void (*bf16_gemm)(const GemmTask* task);
  /// As fma_burn: the fastest multiply-adds of bfloat16 numbers into fp32 that this instruction set has.
  void (*bf16_burn)(int64_t rounds, double* count, real* sink);
};

}  // namespace TESSERA_NS
}  // namespace tessera
