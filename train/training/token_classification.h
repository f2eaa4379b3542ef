#pragma once
// One class for each token of a picture: cross-entropy over all of them, and how many are right.
#include "tessera/train/training/task.h"

namespace tessera {
inline namespace TESSERA_NS {

/// For data whose answers hold a class, or -1 (not asked), for every token, and a model whose output is (B, N, classes): one without pooling.
/// The metric is the share of right tokens among those that were asked.
class TokenClassification final : public Task {
 public:
  explicit TokenClassification(double smoothing = 0) : smoothing_(smoothing) {}
  std::span<const Metric> metrics() const override;
  Tensor loss(const Model& model, const Run& run, const Batch& shard, Tally& tally) const override;
  /// Tally::loss is the mean over a sample's tokens, as its other numbers are sums over tokens. Outcomes name no class.
  void judge(const Output& output, const Batch& batch, Tally& tally, std::span<Outcome> outcomes) const override;

 private:
  double smoothing_;
};

}  // namespace TESSERA_NS
}  // namespace tessera
