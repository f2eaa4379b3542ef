#pragma once
// What one step sees: samples with their labels, whole or cut into shards that share its memory.
#include <cstdint>

#include "tessera/nn/input.h"

namespace tessera {
inline namespace TESSERA_NS {

struct Batch {
  Input in;           ///< what the model sees of B samples
  Ints labels;        ///< B class numbers, or none
  Tensor targets;     ///< (B, classes) soft labels (mixup, cutmix), or empty: the labels are the target
  int64_t first = 0;  ///< index of its first sample in the global batch
  int of = 0;         ///< size of the global batch; the loss divides by it

  /// Samples [a, b) as free views: a shard of the same global batch.
  Batch rows(int a, int b) const {
    return {in.rows(a, b), labels.rows(a, b), targets ? targets.rows(a, b) : Tensor(), first + a, of};
  }
  int size() const { return in.size(); }
};

}  // namespace TESSERA_NS
}  // namespace tessera
