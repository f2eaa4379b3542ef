#pragma once
// Windows as a Pattern: partition, cyclic shift and reverse are one index list, the shifted mask is a region label per token.
// Nothing is rolled or copied. Free of `real`.
#include "tessera/nn/position.h"

namespace tessera {

/// The window of one block on a map: h x w cells, shifted by half of each (rounded down) when `shifted`. An axis that a window covers is
/// not split and not shifted (the window shrinks to it), as timm decides per axis; a square map agrees with the official code.
Window window_of(const Grid& map, int h, int w, bool shifted);
/// The same of a square window of M x M.
inline Window window_of(const Grid& map, int M, bool shifted) { return window_of(map, M, M, shifted); }

/// Groups of window.h x window.w tokens of an h x w map (no class tokens), window rows first, raster inside. A map that the window does
/// not divide is padded right and below, then shifted, then labelled on the padded size; padding is absent as query and as key.
/// Shifted maps carry the region labels of Swin (0..8: three parts per axis of the shifted map), so that only true neighbours see
/// each other. mask_value 0 skips masked pairs, -100 adds that value as the official code does. From a Memo.
Pattern windows(const Grid& map, const Window& window, float mask_value = 0);

}  // namespace tessera
