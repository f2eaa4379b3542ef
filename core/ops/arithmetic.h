#pragma once
#include "tessera/core/tape.h"

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

// The same as operators. Numbers are scalars: 2 * x, x - 1, 1 - x.
inline Tensor operator+(const Tensor& a, const Tensor& b) { return add(a, b); }
inline Tensor operator-(const Tensor& a, const Tensor& b) { return sub(a, b); }
inline Tensor operator*(const Tensor& a, const Tensor& b) { return mul(a, b); }
inline Tensor operator/(const Tensor& a, const Tensor& b) { return div(a, b); }
inline Tensor operator-(const Tensor& x) { return neg(x); }
inline Tensor operator+(const Tensor& x, double s) { return add_scalar(x, s); }
inline Tensor operator+(double s, const Tensor& x) { return add_scalar(x, s); }
inline Tensor operator-(const Tensor& x, double s) { return add_scalar(x, -s); }
inline Tensor operator-(double s, const Tensor& x) { return add_scalar(neg(x), s); }
inline Tensor operator*(const Tensor& x, double s) { return scale(x, s); }
inline Tensor operator*(double s, const Tensor& x) { return scale(x, s); }
inline Tensor operator/(const Tensor& x, double s) { return scale(x, 1 / s); }

}  // namespace TESSERA_NS
}  // namespace tessera
