#pragma once
#include "tessera/core/tape.h"

namespace tessera {
inline namespace TESSERA_NS {

/// e^x / sum e^x over the last dimension. x (..., C) -> (..., C).
Tensor softmax(const Tensor& x);
/// ln of the softmax over the last dimension, without taking the logarithm of a small number.
Tensor log_softmax(const Tensor& x);
/// x / max(|x|, eps), |x| the Euclidean length over the last dimension, as torch's normalize: cosine attention (Liu et al. 2022).
Tensor normalize(const Tensor& x, double eps = 1e-12);

}  // namespace TESSERA_NS
}  // namespace tessera
