#pragma once
#include "tessera/core/precision.h"
#include "tessera/core/tape.h"

namespace tessera {
inline namespace TESSERA_NS {

/// Batched matrix product: a (..., M, K), b (..., K, N) -> (..., M, N). The leading dimensions broadcast as numpy's do. With transpose_a, a is
/// (..., K, M); with transpose_b, b is (..., N, K). `in`: what the products, backward's too, compute in, if not in the process's precision.
/// Throws Error on operands that do not fit.
Tensor matmul(const Tensor& a, const Tensor& b, bool transpose_a = false, bool transpose_b = false,
              Precision in = precision());

}  // namespace TESSERA_NS
}  // namespace tessera
