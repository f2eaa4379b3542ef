#pragma once
// What the convolutions check alike.
#include "tessera/core/kernels/conv.h"
#include "tessera/core/ops/conv.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace conv {

/// The shape of a convolution of x (B,H,W,C) with weight (O,I,kh,kw) and bias (O) or none. Throws Error "[op weight's name] ..." where they
/// or the options do not fit.
ConvShape checked_shape(const char* op, const Tensor& x, const Tensor& w, const Tensor& b, const ConvOptions& o);

}  // namespace conv
}  // namespace TESSERA_NS
}  // namespace tessera
