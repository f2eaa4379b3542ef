#pragma once
// All families of kernels. table.cpp includes this, too, so no standard header but <stdint.h> may come with it.
#include "tessera/core/kernels/attention_bf16.h"
#include "tessera/core/kernels/attention_pairs.h"
#include "tessera/core/kernels/attention_products.h"
#include "tessera/core/kernels/attention_softmax.h"
#include "tessera/core/kernels/conv.h"
#include "tessera/core/kernels/conv_lines.h"
#include "tessera/core/kernels/elementwise.h"
#include "tessera/core/kernels/gelu.h"
#include "tessera/core/kernels/gemm.h"
#include "tessera/core/kernels/gemm_bf16.h"
#include "tessera/core/kernels/norm.h"
#include "tessera/core/kernels/optim.h"
#include "tessera/core/kernels/pool.h"
#include "tessera/core/kernels/random.h"
#include "tessera/core/kernels/softmax.h"
#include "tessera/core/kernels/unary.h"
#include "tessera/core/kernels/winograd.h"

namespace tessera {
inline namespace TESSERA_NS {

/// One instruction set's kernels, each under its own name: kernels().add(...).
struct Kernels : AttentionBf16Kernels,
                 AttentionPairKernels,
                 AttentionProductKernels,
                 AttentionSoftmaxKernels,
                 ConvKernels,
                 ConvLineKernels,
                 ConvLineBf16Kernels,
                 ElementwiseKernels,
                 GeluKernels,
                 GemmKernels,
                 GemmBf16Kernels,
                 NormKernels,
                 OptimKernels,
                 PoolKernels,
                 RandomKernels,
                 SoftmaxKernels,
                 UnaryKernels,
                 WinogradKernels {
  int lanes;  ///< reals per register
};

}  // namespace TESSERA_NS
}  // namespace tessera
