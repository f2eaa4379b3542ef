#pragma once
// Sizes that end with a vector, or with a panel.
#include "tessera/core/kernels/kernels.h"

namespace tessera {
inline namespace TESSERA_NS {

/// The smallest multiple of `of` that is at least n.
inline int64_t up_to(int64_t n, int64_t of) { return (n + of - 1) / of * of; }
/// n reals in whole vectors of the chosen instruction set.
inline int64_t whole(int64_t n) { return up_to(n, kernels().lanes); }

}  // namespace TESSERA_NS
}  // namespace tessera
