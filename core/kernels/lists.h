#pragma once
// All families of kernels. A ROW is (name, argument types...); every kernel returns void.
#include "core/kernels/list_conv.h"
#include "core/kernels/list_elementwise.h"
#include "core/kernels/list_norm.h"

#define TESSERA_KERNEL_LISTS(ROW) \
  TESSERA_CONV_KERNELS(ROW) \
  TESSERA_ELEMENTWISE_KERNELS(ROW) \
  TESSERA_NORM_KERNELS(ROW)
