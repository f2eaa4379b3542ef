#pragma once
// One class for each sample: cross-entropy, and how often the label is the first or among the first five.
#include <vector>

#include "tessera/train/training/task.h"

namespace tessera {
inline namespace TESSERA_NS {

/// The class that the logits of one sample name: the largest, of equal ones the first; no_class if there are none or one of them
/// is not finite, since a comparison with NaN says nothing. The one place where logits become an answer.
int named_class(std::span<const real> logits);
/// Softmax of the logits of one sample, in double. Throws Error where named_class() says no_class.
std::vector<double> probabilities(std::span<const real> logits);

/// The metrics are acc1 (share of samples whose label has the largest logit) and acc5 (is among the five largest; 1 with five classes or
/// fewer). Ties are lost, so that a constant network is right on class 0 only.
class Classification final : public Task {
 public:
  /// Logits of another number of `classes` are refused in judge(); 0: any number. `smoothing` is that of the training loss.
  explicit Classification(int classes = 0, double smoothing = 0) : classes_(classes), smoothing_(smoothing) {}
  std::span<const Metric> metrics() const override;
  Tensor loss(const Model& model, const Run& run, const Batch& shard, Tally& tally) const override;
  void judge(const Output& output, const Batch& batch, Tally& tally, std::span<Outcome> outcomes) const override;

 private:
  int classes_;
  double smoothing_;
};

}  // namespace TESSERA_NS
}  // namespace tessera
