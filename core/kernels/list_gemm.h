#pragma once
#include <stdint.h>

#include "tessera/core/kernels/gemm_task.h"

// clang-format off
#define TESSERA_GEMM_KERNELS(ROW)                                                                                            \
  /* B (K,N) with row stride ldb into panels of 2 * lanes columns: ceil(N / (2 lanes)) * 2 lanes * K reals, padded with 0 */  \
  ROW(gemm_pack, const real* b, int64_t ldb, int64_t K, int64_t N, real* panels)                                             \
  /* the same of B = W^T, where W (N,K) has row stride ldw */                                                                \
  ROW(gemm_pack_transposed, const real* w, int64_t ldw, int64_t K, int64_t N, real* panels)                                  \
  /* the product itself, on this thread */                                                                                   \
  ROW(gemm, const GemmTask* task)                                                                                            \
  /* runs `rounds` rounds of independent multiply-adds from registers; *count receives how many operations (2 an FMA) */      \
  ROW(fma_burn, int64_t rounds, double* count, real* sink)
// clang-format on
