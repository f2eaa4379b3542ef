#pragma once
// The loss of one shard of a batch.
#include "tessera/train/data/batch.h"

namespace tessera {
inline namespace TESSERA_NS {

/// Cross-entropy of logits (n, classes) against the shard's labels, or its soft targets if it has any, with label smoothing,
/// summed over the shard and divided by the size of the whole batch: the shards' losses add up to the batch's mean.
Tensor soft_cross_entropy(const Tensor& logits, const Batch& shard, double smoothing = 0);

}  // namespace TESSERA_NS
}  // namespace tessera
