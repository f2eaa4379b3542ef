#pragma once
#include "tessera/core/tape.h"

namespace tessera {
inline namespace TESSERA_NS {

/// Layer normalisation (Ba, Kiros, Hinton 2016) over the last dimension: y = (x - mean) / sqrt(var + eps) * w + b, biased variance.
/// x (..., C), w and b (C) or empty -> (..., C). Throws Error on mismatching widths.
Tensor layernorm(const Tensor& x, const Tensor& w, const Tensor& b, double eps);

}  // namespace TESSERA_NS
}  // namespace tessera
