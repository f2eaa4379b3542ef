#pragma once
#include "tessera/core/tape.h"

namespace tessera {
inline namespace TESSERA_NS {

// Elementwise functions of one tensor, any shape to the same shape. Their values and slopes stand in one table:
// core/kernels/unary.h.

/// max(x, 0)
Tensor relu(const Tensor& x);
/// min(max(x, 0), 6)
Tensor relu6(const Tensor& x);
/// x relu6(x + 3) / 6 (Howard et al. 2019)
Tensor hardswish(const Tensor& x);
/// 1 / (1 + e^-x)
Tensor sigmoid(const Tensor& x);
Tensor tanh(const Tensor& x);
/// x sigmoid(x) (Elfwing, Uchibe, Doya 2017)
Tensor silu(const Tensor& x);
/// x Phi(x), Phi the normal distribution function: the exact GELU (Hendrycks, Gimpel 2016)
Tensor gelu(const Tensor& x);
/// GELU by the tanh approximation, Flax's default
Tensor gelu_tanh(const Tensor& x);
/// x sigmoid(1.702 x), CLIP's and CvT's approximation of GELU
Tensor quick_gelu(const Tensor& x);
/// ln(1 + e^x)
Tensor softplus(const Tensor& x);
Tensor exp(const Tensor& x);
/// Natural logarithm; -inf at 0, NaN below.
Tensor log(const Tensor& x);
Tensor sqrt(const Tensor& x);
Tensor square(const Tensor& x);
Tensor sin(const Tensor& x);
Tensor cos(const Tensor& x);
/// x limited to [lo, hi]; the gradient is 0 outside. Throws Error if lo > hi.
Tensor clamp(const Tensor& x, double lo, double hi);

}  // namespace TESSERA_NS
}  // namespace tessera
