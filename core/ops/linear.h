#pragma once
#include "tessera/core/precision.h"
#include "tessera/core/tape.h"

namespace tessera {
inline namespace TESSERA_NS {

/// y = x W^T + b over the last dimension.  x (..., in), W (out, in) or any shape of out rows, b (out) or empty -> (..., out).
/// A weight of more dimensions (a patch convolution) is read as (out, the rest). Throws Error on mismatching widths.
/// `in`: what its products, backward's too, compute in, if not in the process's precision.
Tensor linear(const Tensor& x, const Tensor& W, const Tensor& b = {}, Precision in = precision());

/// gelu(linear(x, W, b)) with the exact (erf) GELU, in one pass over y and with one saved tensor.
Tensor linear_gelu(const Tensor& x, const Tensor& W, const Tensor& b = {});

/// residual + linear(x, W, b), added as y is written. residual (..., out) has y's shape. Throws Error if it has not.
Tensor linear_add(const Tensor& x, const Tensor& W, const Tensor& b, const Tensor& residual);

}  // namespace TESSERA_NS
}  // namespace tessera
