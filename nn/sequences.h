#pragma once
// What goes over the frames of a padded batch.
#include <span>

#include "tessera/core/ints.h"
#include "tessera/nn/position.h"

namespace tessera {
inline namespace TESSERA_NS {

/// (B, T, C) -> (B, C): the mean of each sample's valid frames, whatever the padding holds; of all of them without lengths. A sample of no
/// frames has zeros.
Tensor mean_of_valid(const Tensor& x, const Ints& lengths);

// ---- longer than trained -----------------------------------------------------------------------------------------------------------
// Beyond the trained length an encoding may measure positions by the length of the call (scaling.h, tables that are resampled), and that of a
// padded batch is its longest sample's. There each sample is computed alone, in its own length, as if there were no padding: what it
// answers then does not depend on its company. Up to the trained length nothing of the sort is done, and nothing needs it.

/// Are these sequences longer than those a model is built for, and some of them padded?
bool longer_than_trained(const Grid& trained, const Grid& now, std::span<const int32_t> lengths);
/// PositionEncoding::attend of each sample in its own length; padding gets 0. Throws Error if the pattern is not one over all tokens in order.
Tensor attend_one_by_one(const PositionEncoding& position, const Site& site, const Layout& now, const Query& query,
                         const Tokens& x, const Run& run);
/// PositionEncoding::tokens of a padded batch x (B, T, dim); beyond the trained length of each sample alone, whose padding stays as it is.
Tensor with_positions(const PositionEncoding& position, const Spot& spot, const Grid& now, const Tensor& x,
                      std::span<const int32_t> lengths, const Run& run);

}  // namespace TESSERA_NS
}  // namespace tessera
