#pragma once
// What goes over the frames of a padded batch, and who sees whom in time.
#include "tessera/core/ints.h"
#include "tessera/core/ops/attention/attention.h"

namespace tessera {
inline namespace TESSERA_NS {

/// Each of n tokens sees itself and those before it. From a Memo.
Pattern causal_pattern(int n);

/// (B, T, C) -> (B, C): the mean of each sample's valid frames, whatever the padding holds; of all of them without lengths. A sample of no
/// frames has zeros.
Tensor mean_of_valid(const Tensor& x, const Ints& lengths);

}  // namespace TESSERA_NS
}  // namespace tessera
