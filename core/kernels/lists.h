#pragma once
// All families of kernels. A ROW is (name, argument types...); every kernel returns void.
#include "core/kernels/list_attention.h"
#include "core/kernels/list_conv.h"
#include "core/kernels/list_elementwise.h"
#include "core/kernels/list_gelu.h"
#include "core/kernels/list_gemm.h"
#include "core/kernels/list_gemm_bf16.h"
#include "core/kernels/list_norm.h"
#include "core/kernels/list_optim.h"
#include "core/kernels/list_random.h"
#include "core/kernels/list_softmax.h"
#include "core/kernels/list_unary.h"

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
