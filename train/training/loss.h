#pragma once
// The loss of one shard of a batch, and of one sample.
#include <span>

#include "tessera/train/data/batch.h"

namespace tessera {
inline namespace TESSERA_NS {

/// Cross-entropy of logits (n, classes) against the shard's labels, or its soft targets if it has any, with label smoothing,
/// summed over the shard and divided by the size of the whole batch: the shards' losses add up to the batch's mean.
Tensor soft_cross_entropy(const Tensor& logits, const Batch& shard, double smoothing = 0);

/// What the softmax of one sample's logits, all of them finite, divides by: the sum of e^(z - max z), in double.
double softmax_sum(std::span<const real> logits);
/// Its cross-entropy, -log softmax(z)[label].
double surprise(std::span<const real> logits, int32_t label);

}  // namespace TESSERA_NS
}  // namespace tessera
