#pragma once
#include "tessera/core/tape.h"

namespace tessera {
inline namespace TESSERA_NS {

/// R = exp(U - U^T), U the strict upper triangle of each matrix of x: rotations. x (..., b, b) -> the same; what stands on the diagonal and
/// below is not read. fp32 whatever the precision of the network. A matrix with an entry that is not finite becomes NaN.
/// Throws Error unless the last two extents are equal.
Tensor skew_exp(const Tensor& x);

}  // namespace TESSERA_NS
}  // namespace tessera
