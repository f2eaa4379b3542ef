#pragma once
#include "tessera/core/ops/conv.h"

namespace tessera {
inline namespace TESSERA_NS {

/// Deformable convolution (Dai et al. 2017, arXiv 1703.06211; with a mask: Zhu et al. 2019, arXiv 1811.11168), as torchvision's: conv2d
/// whose taps look beside their places, at points between the cells where the map is bilinear, with zeros outside.
/// x (B,H,W,I), w (O, I/groups, kh, kw), b (O) or empty -> (B, Ho, Wo, O), sizes as of conv2d. With T = kh kw taps in raster order and
/// G offset groups, which cut the input channels into equal blocks:
///   offset (B, Ho, Wo, 2 G T): channel 2 (g T + t) is dy, the next one dx, in cells
///   mask   (B, Ho, Wo, G T), channel g T + t: what the sample is multiplied by; empty: 1
/// A sample at -1 or lower, at the extent or higher, is 0. On a line of cells a slope is that of the side below and right. A NaN among the
/// offsets may point at any cell: all of the image's gradients then are NaN. Throws Error on shapes that do not fit.
Tensor deform_conv2d(const Tensor& x, const Tensor& offset, const Tensor& mask, const Tensor& w, const Tensor& b,
                     const ConvOptions& options, int offset_groups = 1);

}  // namespace TESSERA_NS
}  // namespace tessera
