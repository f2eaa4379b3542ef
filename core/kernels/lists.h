#pragma once
// All families of kernels. A ROW is (name, argument types...); every kernel returns void.
#include "tessera/core/kernels/list_attention.h"
#include "tessera/core/kernels/list_conv.h"
#include "tessera/core/kernels/list_elementwise.h"
#include "tessera/core/kernels/list_gelu.h"
#include "tessera/core/kernels/list_gemm.h"
#include "tessera/core/kernels/list_gemm_bf16.h"
#include "tessera/core/kernels/list_norm.h"
#include "tessera/core/kernels/list_optim.h"
#include "tessera/core/kernels/list_random.h"
#include "tessera/core/kernels/list_softmax.h"
#include "tessera/core/kernels/list_unary.h"

#define TESSERA_KERNEL_LISTS(ROW)  \
  TESSERA_ATTENTION_KERNELS(ROW)   \
  TESSERA_CONV_KERNELS(ROW)        \
  TESSERA_ELEMENTWISE_KERNELS(ROW) \
  TESSERA_GELU_KERNELS(ROW)        \
  TESSERA_GEMM_KERNELS(ROW)        \
  TESSERA_GEMM_BF16_KERNELS(ROW)   \
  TESSERA_NORM_KERNELS(ROW)        \
  TESSERA_OPTIM_KERNELS(ROW)       \
  TESSERA_RANDOM_KERNELS(ROW)      \
  TESSERA_SOFTMAX_KERNELS(ROW)     \
  TESSERA_UNARY_KERNELS(ROW)
