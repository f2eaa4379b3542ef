// Compiled once per target: this target's kernels, as one table.
#include "tessera/core/kernels/families.h"
#include "tessera/core/kernels/simd.h"

TESSERA_KERNELS_BEGIN

extern const AttentionBf16Kernels attention_bf16_kernels;
extern const AttentionPairKernels attention_pair_kernels;
extern const AttentionProductKernels attention_product_kernels;
extern const AttentionSoftmaxKernels attention_softmax_kernels;
extern const ConvKernels conv_kernels;
extern const ConvLineKernels conv_line_kernels;
extern const ConvLineBf16Kernels conv_line_bf16_kernels;
extern const ElementwiseKernels elementwise_kernels;
extern const GeluKernels gelu_kernels;
extern const GemmKernels gemm_kernels;
extern const GemmBf16Kernels gemm_bf16_kernels;
extern const NormKernels norm_kernels;
extern const OptimKernels optim_kernels;
extern const PoolKernels pool_kernels;
extern const RandomKernels random_kernels;
extern const SoftmaxKernels softmax_kernels;
extern const UnaryKernels unary_kernels;
extern const WinogradKernels winograd_kernels;

/// A function, called where the CPU has the instructions: a variable would be filled at the program's start, on any CPU,
/// by code compiled for this one. The families' values are constants.
Kernels table() {
  return {attention_bf16_kernels,
          attention_pair_kernels,
          attention_product_kernels,
          attention_softmax_kernels,
          conv_kernels,
          conv_line_kernels,
          conv_line_bf16_kernels,
          elementwise_kernels,
          gelu_kernels,
          gemm_kernels,
          gemm_bf16_kernels,
          norm_kernels,
          optim_kernels,
          pool_kernels,
          random_kernels,
          softmax_kernels,
          unary_kernels,
          winograd_kernels,
          lanes};
}

TESSERA_KERNELS_END
