#pragma once
#include "tessera/core/ops/linear.h"

namespace tessera {
inline namespace TESSERA_NS {

/// linear() for what encodings compute from coordinates, distances, angles and sinusoids: fp32 whatever the precision of the network is,
/// forward and backward. A learned frequency rounded to 8 bits turns column 63 by a tenth of a radian too far; the tables are small, so
/// this costs nothing. No encoding uses linear() itself for them.
inline Tensor exact_linear(const Tensor& x, const Tensor& W, const Tensor& b = {}) {
  return linear(x, W, b, Precision::f32);
}

}  // namespace TESSERA_NS
}  // namespace tessera
