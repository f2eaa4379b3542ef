#pragma once
// What one step sees: samples with their labels, whole or cut into shards that share its memory.
#include <cstdint>

#include "tessera/nn/input.h"

namespace tessera {
inline namespace TESSERA_NS {

struct Batch {
  Input in;                ///< what the model sees of B samples
  Ints labels;             ///< B class numbers, or none
  Tensor targets;          ///< (B, classes) soft labels (mixup, cutmix), or empty: the labels are the target
  int64_t first = 0;       ///< index of its first sample in the global batch
  int of = 0;              ///< size of the global batch; the loss divides by it
  Ints answers{};          ///< (B, S) of samples whose answer is a sequence, padded with 0
  Ints answer_lengths{};   ///< valid numbers of each answer
  int64_t answers_of = 0;  ///< valid numbers of all answers of the global batch

  /// Samples [a, b) as free views: a shard of the same global batch.
  Batch rows(int a, int b) const {
    return {in.rows(a, b),
            labels.rows(a, b),
            targets ? targets.rows(a, b) : Tensor(),
            first + a,
            of,
            answers.rows(a, b),
            answer_lengths.rows(a, b),
            answers_of};
  }
  int size() const { return in.size(); }
};

}  // namespace TESSERA_NS
}  // namespace tessera
