#pragma once
#include <span>

#include "tessera/core/ops/attention/attention.h"

namespace tessera {
inline namespace TESSERA_NS {

/// Every token's heads times block-diagonal matrices of its place: block i of head h of token n of every sample, b channels x, becomes
/// R[at[n], h, i] x. x: heads of width d, as a projection packs them or with a memory of their own. R (places, H or 1, d / b, b, b): one
/// place's matrices serve all samples, and all tokens that name it. at: a row of R for each token, or -1: it stays as it is; empty: token n
/// has place n. -> (B, tokens, H d). Throws Error if sizes do not fit or a place is none.
Tensor rotate_blocks(const Heads& x, const Tensor& R, std::span<const int32_t> at = {});

}  // namespace TESSERA_NS
}  // namespace tessera
