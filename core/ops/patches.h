#pragma once
#include "tessera/core/tape.h"

namespace tessera {
inline namespace TESSERA_NS {

/// The patches of an image, flattened in the order of a PyTorch convolution weight (channel, row, column), so that a
/// convolution whose kernel is its stride is linear(patches(x, p), W).  x (B, H, W, C) -> (B, H/p W/p, C p p), patches
/// in raster order. Throws Error if p does not divide H and W.
Tensor patches(const Tensor& x, int p);

}  // namespace TESSERA_NS
}  // namespace tessera
