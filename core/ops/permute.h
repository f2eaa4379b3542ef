#pragma once
#include <span>

#include "tessera/core/tape.h"

namespace tessera {
inline namespace TESSERA_NS {

/// A copy with its dimensions in another order: y's dimension i is x's dimension order[i], as in torch.permute.
/// permute(x, {0, 2, 1, 3}) takes (B,N,H,d) to (B,H,N,d). Throws Error if order is no permutation of x's dimensions.
Tensor permute(const Tensor& x, std::initializer_list<int> order);
Tensor permute(const Tensor& x, std::span<const int> order);

}  // namespace TESSERA_NS
}  // namespace tessera
