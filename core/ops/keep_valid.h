#pragma once
#include "tessera/core/ints.h"
#include "tessera/core/tape.h"

namespace tessera {
inline namespace TESSERA_NS {

/// x (B, T, ...) with zeros in the rows t >= lengths[b] of sample b, whatever stands there, and no gradient to them. Without lengths: x
/// itself. Throws Error on another number of lengths than samples, or on one outside of [0, T].
Tensor keep_valid(const Tensor& x, const Ints& lengths);

}  // namespace TESSERA_NS
}  // namespace tessera
