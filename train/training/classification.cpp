#include "tessera/train/training/classification.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "tessera/train/training/loss.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

/// One sample: where its label stands among the logits z, and how likely it is.
Outcome judge_one(std::span<const real> z, int label, Tally& tally) {
  const int said = named_class(z);
  ++tally.samples, ++tally.of[0].of, ++tally.of[1].of;
  if (said == no_class) {
    tally.loss = std::numeric_limits<double>::quiet_NaN(), ++tally.undecided;
    return {};
  }
  const auto y = static_cast<size_t>(label);
  int above = 0;
  for (size_t k = 0; k < z.size(); ++k) above += z[k] > z[y] || (z[k] == z[y] && k < y);
  tally.loss += surprise(z, label);
  tally.of[0].count += above == 0, tally.of[1].count += above < 5;
  return {said, static_cast<float>(1 / softmax_sum(z))};
}

}  // namespace

int named_class(std::span<const real> z) {
  if (z.empty() || !std::all_of(z.begin(), z.end(), [](real v) { return std::isfinite(v); })) return no_class;
  return static_cast<int>(std::max_element(z.begin(), z.end()) - z.begin());
}

std::vector<double> probabilities(std::span<const real> z) {
  const int best = named_class(z);
  if (best == no_class) fail("probabilities", "the logits are not finite, so they name no class");
  std::vector<double> p;
  double sum = 0;
  for (const real v : z) {
    p.push_back(std::exp(static_cast<double>(v) - static_cast<double>(z[static_cast<size_t>(best)])));
    sum += p.back();
  }
  for (double& v : p) v /= sum;
  return p;
}

std::span<const Metric> Classification::metrics() const {
  static constexpr Metric all[] = {{"acc1"}, {"acc5"}};
  return all;
}

Tensor Classification::loss(const Model& model, const Run& run, const Batch& shard, Tally& tally) const {
  const Tensor logits = model.forward(run, shard.in).logits;
  const auto classes = static_cast<size_t>(logits.dim(-1));
  if (shard.labels.size() * classes > static_cast<size_t>(logits.size()))
    fail("classification", "the model's output is {} for {} labels", logits.shape().str(), shard.labels.size());
  for (size_t i = 0; i < shard.labels.size(); ++i) {
    const int said = named_class(logits.read().subspan(i * classes, classes));
    tally.of[0].count += said == shard.labels[i], tally.undecided += said == no_class;
  }
  tally.samples += shard.size(), tally.of[0].of += shard.size();
  return soft_cross_entropy(logits, shard, smoothing_);
}

void Classification::judge(const Output& output, const Batch& batch, Tally& tally, std::span<Outcome> outcomes) const {
  const Tensor& logits = output.logits;
  if (logits.rank() != 2 || logits.dim(0) != batch.size() || (classes_ > 0 && logits.dim(1) != classes_))
    fail("evaluate", "the model's output is {} for {} samples of {} classes", logits.shape().str(), batch.size(),
         classes_);
  if (batch.labels.size() != outcomes.size() || outcomes.size() != static_cast<size_t>(batch.size()))
    fail("evaluate", "{} labels and {} outcomes for {} samples", batch.labels.size(), outcomes.size(), batch.size());
  const auto classes = static_cast<size_t>(logits.dim(1));
  for (size_t i = 0; i < outcomes.size(); ++i) {
    const int label = batch.labels[i];
    if (label < 0 || static_cast<size_t>(label) >= classes)
      fail("evaluate", "sample {} has label {}, but the model names {} classes", batch.first + static_cast<int64_t>(i),
           label, classes);
    outcomes[i] = judge_one(logits.read().subspan(i * classes, classes), label, tally);
  }
}

}  // namespace TESSERA_NS
}  // namespace tessera
