#pragma once
#include <stdint.h>

#include "tessera/core/real.h"

namespace tessera {

/// The geometry of one convolution: B images of H x W x C, kernel kh x kw, output Ho x Wo.
struct ConvShape {
  int64_t B, H, W, C, Ho, Wo, kh, kw, stride_y, stride_x, pad_y, pad_x, dilation_y, dilation_x;
};

inline namespace TESSERA_NS {

/// Convolutions on channels-last maps. Depthwise ones have weights (kh kw, C); all others are products with a matrix of patches, one row an
/// output pixel: kh kw I numbers in the order (ky, kx, i), of `I` channels of the C. Lines [first, last) of the B Ho lines of outputs.
struct ConvKernels {
  /// Rows (last - first) Wo of patches; what lies beyond the map is 0. x at the first of the I channels.
  void (*gather_patches)(const ConvShape& s, const real* x, int64_t I, int64_t first, int64_t last, real* patches);
  /// The transpose: adds every patch to the place it came from.
  void (*scatter_patches)(const ConvShape& s, const real* patches, int64_t I, int64_t first, int64_t last, real* dx);
  /// y[b,oy,ox,c] = bias[c] + sum_t x[b, oy s - p + ky d, ..., c] w[t, c]; bias may be null.
  void (*depthwise)(const ConvShape& s, const real* x, const real* w, const real* bias, real* y);
  /// dx = beta dx + ...
  void (*depthwise_dx)(const ConvShape& s, const real* dy, const real* w, real* dx, real beta);
  /// dw (kh kw, C), overwritten.
  void (*depthwise_dw)(const ConvShape& s, const real* x, const real* dy, real* dw);
};

}  // namespace TESSERA_NS
}  // namespace tessera
