#pragma once
#include "core/tape.h"

namespace tessera {
inline namespace TESSERA_NS {

/// y = x W^T + b over the last dimension.  x (..., in), W (out, in) or any shape of out rows, b (out) or empty -> (..., out).
/// A weight of more dimensions (a patch convolution) is read as (out, the rest). Throws Error on mismatching widths.
Tensor linear(const Tensor& x, const Tensor& W, const Tensor& b = {});

}  // namespace TESSERA_NS
}  // namespace tessera
