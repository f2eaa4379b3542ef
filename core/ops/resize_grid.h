#pragma once
#include "tessera/core/interpolation.h"
#include "tessera/core/tape.h"

namespace tessera {
inline namespace TESSERA_NS {

/// A table over a grid, made for h0 x w0 cells, as it is for h x w: the grid rows are interpolated, `before` rows in
/// front of them and `after` rows after them (class tokens) are kept. x (..., rows, C) with before + h0 w0 + after
/// rows in all -> (before + h w + after, C). Throws Error if the rows do not fit.
Tensor resize_grid(const Tensor& x, int h0, int w0, int h, int w, Interpolation rule, int before = 0, int after = 0);

}  // namespace TESSERA_NS
}  // namespace tessera
