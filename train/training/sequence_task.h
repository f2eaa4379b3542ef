#pragma once
// Sequences that answer sequences, by a model with a decoder. Training forces the answer on the decoder: it is given begin and y, and is to
// say y and end.
#include "tessera/models/decode.h"
#include "tessera/train/data/source.h"
#include "tessera/train/training/task.h"

namespace tessera {
inline namespace TESSERA_NS {

/// The metrics are the share of answers that are right from the first token to the end, and the share of right tokens given those before
/// them. The first is, to the sample, that of greedy decoding: up to the first wrong token both have said the same.
/// The training loss is the mean over all tokens of the batch's answers, padding left out. The loss of evaluation is a mean over the samples
/// of the mean over their tokens.
class SequenceTask final : public Task {
 public:
  explicit SequenceTask(double smoothing = 0) : smoothing_(smoothing) {}
  std::span<const Metric> metrics() const override;
  /// The batch's input, and begin and y as the target.
  Input input(const Batch& batch) const override;
  Tensor loss(const Model& model, const Run& run, const Batch& shard, Tally& tally) const override;
  void judge(const Output& output, const Batch& batch, Tally& tally, std::span<Outcome> outcomes) const override;

 private:
  double smoothing_;
};

/// The task of a model that takes `model` on such data: where the data have answers and the model a decoder, SequenceTask, else
/// Classification. The one place that decides it.
std::shared_ptr<const Task> task_of(const InputShape& model, const data::Source& data, double smoothing);

}  // namespace TESSERA_NS
}  // namespace tessera
