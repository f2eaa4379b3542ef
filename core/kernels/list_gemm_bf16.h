#pragma once
#include <stdint.h>

#include "tessera/core/kernels/gemm_task.h"

// Products of operands rounded to bfloat16, added in fp32. They take the same task as gemm, with `b` null and `scratch` (64 * K' reals, K'
// being K rounded up to 32) for a strip of A. Panels hold N' * K' reals, or less; only their own kernel can read them.
// clang-format off
#define TESSERA_GEMM_BF16_KERNELS(ROW)                                                                             \
  ROW(bf16_pack, const real* b, int64_t ldb, int64_t K, int64_t N, real* panels)                                   \
  ROW(bf16_pack_transposed, const real* w, int64_t ldw, int64_t K, int64_t N, real* panels)                        \
  ROW(bf16_gemm, const GemmTask* task)                                                                             \
  /* as fma_burn: the fastest multiply-adds of bfloat16 numbers into fp32 that this instruction set has */         \
  ROW(bf16_burn, int64_t rounds, double* count, real* sink)
// clang-format on
