#pragma once
#include <span>

#include "tessera/core/tape.h"

namespace tessera {
inline namespace TESSERA_NS {

/// The tensors after each other along `dim`; all other extents must agree. Throws Error if they do not, or if there is
/// none.
Tensor concat(std::span<const Tensor> parts, int dim);
Tensor concat(std::initializer_list<Tensor> parts, int dim);

/// The tensors, of one shape, along a new dimension in front of `dim`.
Tensor stack(std::span<const Tensor> parts, int dim);
Tensor stack(std::initializer_list<Tensor> parts, int dim);

/// The same tokens in front of every sample: token (1, P, C) and x (B, N, C) -> (B, P + N, C).
Tensor prepend(const Tensor& token, const Tensor& x);

}  // namespace TESSERA_NS
}  // namespace tessera
