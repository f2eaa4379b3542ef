#pragma once
// Windows as a Pattern: partition, cyclic shift and reverse are one index list, the shifted mask is a region label per token.
// Nothing is rolled or copied. Free of `real`.
#include "tessera/nn/position.h"

namespace tessera {

/// The window of one block on an h x w map: size M, shifted by M / 2 when `shifted`. An axis that a window covers is not split
/// and not shifted (the window shrinks to it), as timm decides per axis; a square map agrees with the official code.
Window window_of(const Grid& map, int M, bool shifted);

/// Groups of window.h x window.w tokens of an h x w map (no class tokens), window rows first, raster inside. A map that the window does
/// not divide is padded right and below, then shifted, then labelled on the padded size; padding is absent as query and as key.
/// Shifted maps carry the region labels of Swin (0..8: three parts per axis of the shifted map), so that only true neighbours see
/// each other. mask_value 0 skips masked pairs, -100 adds that value as the official code does. From a Memo.
const Pattern& windows(const Grid& map, const Window& window, float mask_value = 0);

}  // namespace tessera
