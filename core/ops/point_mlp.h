#pragma once
#include "tessera/core/tape.h"

namespace tessera {
inline namespace TESSERA_NS {

/// A small network on points: y = relu(x w0^T + b0) w2^T, without its hidden layer in memory. For tables that are computed from
/// coordinates: few outputs, fewer inputs.  x (R, D), w0 (F, D), b0 (F), w2 (O, F) -> (R, O).
/// Throws Error if they do not fit.
Tensor point_mlp(const Tensor& x, const Tensor& w0, const Tensor& b0, const Tensor& w2);

}  // namespace TESSERA_NS
}  // namespace tessera
