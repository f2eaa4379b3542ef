#pragma once
#include "core/tape.h"

namespace tessera {
inline namespace TESSERA_NS {

// Elementwise arithmetic with numpy's broadcasting: shapes are aligned at the end, an extent of 1 or a missing one
// repeats. Gradients are summed over what was repeated. Throws Error on shapes that do not broadcast.

Tensor add(const Tensor& a, const Tensor& b);
Tensor sub(const Tensor& a, const Tensor& b);
Tensor mul(const Tensor& a, const Tensor& b);
Tensor div(const Tensor& a, const Tensor& b);

/// s x
Tensor scale(const Tensor& x, double s);
/// x + s
Tensor add_scalar(const Tensor& x, double s);
/// -x
Tensor neg(const Tensor& x);

}  // namespace TESSERA_NS
}  // namespace tessera
