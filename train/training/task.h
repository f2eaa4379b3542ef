#pragma once
// What a model is trained for: how a shard becomes a loss, and answers become numbers. The trainer, evaluation and bench know nothing else
// of it; train/training/classification.h is the first.
#include <array>
#include <span>

#include "tessera/models/model.h"
#include "tessera/train/data/batch.h"

namespace tessera {

constexpr int no_class = -1;

/// A number that a task counts. The first of them chooses the best epoch and stands in metrics.jsonl and summary.json as acc1.
struct Metric {
  const char* name;
  bool higher = true;  ///< is more better?
};

/// So many of so many: right answers of images, wrong words of words.
struct Share {
  int64_t count = 0, of = 0;
  double value() const { return of > 0 ? static_cast<double>(count) / static_cast<double>(of) : 0; }
};

/// What was counted over some samples. Shards have one each, added in their order: the same bits for any number of threads.
struct Tally {
  double loss = 0;  ///< summed over the samples; NaN if any answer is not finite. judge() only
  int64_t samples = 0;
  int64_t undecided = 0;      ///< samples whose answer is not finite
  std::array<Share, 4> of{};  ///< by Task::metrics()
  void add(const Tally& o) {
    loss += o.loss, samples += o.samples, undecided += o.undecided;
    for (size_t m = 0; m < of.size(); ++m) of[m].count += o.of[m].count, of[m].of += o.of[m].of;
  }
};

/// What was said of one sample.
struct Outcome {
  int32_t prediction = no_class;  ///< a class; no_class where the task names none or the answer is not finite
  float probability = 0;          ///< of that class
};

inline namespace TESSERA_NS {

struct Task {
  virtual ~Task() = default;
  /// At most as many as Tally::of has places, and at least one.
  virtual std::span<const Metric> metrics() const = 0;
  /// What the model is given of a batch: its input; with teacher forcing the answers, too.
  virtual Input input(const Batch& batch) const { return batch.in; }
  /// Runs the model on a shard of a training batch. The loss is a single number, the sum over the shard's samples divided by Batch::of, and
  /// what is counted into `tally` comes from the very answers it was computed from. Called by several threads, in shards.
  virtual Tensor loss(const Model& model, const Run& run, const Batch& shard, Tally& tally) const = 0;
  /// Counts what the model answered to input(batch) in evaluation, and says it sample by sample.
  virtual void judge(const Output& output, const Batch& batch, Tally& tally, std::span<Outcome> outcomes) const = 0;
};

}  // namespace TESSERA_NS
}  // namespace tessera
