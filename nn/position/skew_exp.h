#pragma once
#include "tessera/core/tape.h"

namespace tessera {
inline namespace TESSERA_NS {

/// e^A of every matrix of A (..., b, b) -> (..., b, b): a rotation where A is skew-symmetric, for which it is meant (any square matrix
/// works). In fp32 whatever the precision of the network is, and differentiable.
Tensor skew_exp(const Tensor& A);

/// X - X^T of every matrix of X (..., b, b): skew-symmetric.
Tensor skew(const Tensor& X);

}  // namespace TESSERA_NS
}  // namespace tessera
