#pragma once
#include <stdint.h>

#include "tessera/core/real.h"

namespace tessera {

/// The geometry of one convolution: B images of H x W x C, kernel kh x kw, output Ho x Wo.
struct ConvShape {
  int64_t B, H, W, C, Ho, Wo, kh, kw, stride_y, stride_x, pad_y, pad_x, dilation_y, dilation_x;
};

inline namespace TESSERA_NS {

/// Depthwise convolutions on channels-last maps; weights are (kh kw, C).
struct ConvKernels {
  /// y[b,oy,ox,c] = bias[c] + sum_t x[b, oy s - p + ky d, ..., c] w[t, c]; bias may be null.
  void (*depthwise)(const ConvShape& s, const real* x, const real* w, const real* bias, real* y);
  /// dx = beta dx + ...
  void (*depthwise_dx)(const ConvShape& s, const real* dy, const real* w, real* dx, real beta);
  /// dw (kh kw, C), overwritten.
  void (*depthwise_dw)(const ConvShape& s, const real* x, const real* dy, real* dw);
};

}  // namespace TESSERA_NS
}  // namespace tessera
