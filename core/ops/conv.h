#pragma once
#include "tessera/core/tape.h"

namespace tessera {

/// Geometry of a convolution as in torch.nn.Conv2d; padding per side, zeros.
struct ConvOptions {
  int stride_y = 1, stride_x = 1;
  int top = 0, bottom = 0, left = 0, right = 0;
  int dilation_y = 1, dilation_x = 1;
  int groups = 1;
};
/// The same stride on both axes and the same padding on all sides.
inline ConvOptions conv_options(int stride, int padding, int groups = 1, int dilation = 1) {
  return {stride, stride, padding, padding, padding, padding, dilation, dilation, groups};
}

inline namespace TESSERA_NS {

/// 2-D convolution (cross-correlation) on channels-last maps: x (B,H,W,I), w (O, I/groups, kh, kw) as PyTorch stores it, b (O) or
/// empty -> (B, Ho, Wo, O), Ho = floor((H + top + bottom - dilation (kh - 1) - 1) / stride) + 1. Depthwise means
/// groups = I = O. How it is computed depends on shape and precision (docs/design.md). Throws Error on shapes that do not fit.
Tensor conv2d(const Tensor& x, const Tensor& w, const Tensor& b, const ConvOptions& options);

/// 1-D convolution along time: x (B,T,I), w (O, I/groups, k), b (O) or empty -> (B, To, O). Asymmetric padding covers even kernels
/// and causal ones (left = k - 1, right = 0).
Tensor conv1d(const Tensor& x, const Tensor& w, const Tensor& b, int stride = 1, int left = 0, int right = 0,
              int groups = 1, int dilation = 1);

}  // namespace TESSERA_NS
}  // namespace tessera
