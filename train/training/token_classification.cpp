#include "tessera/train/training/token_classification.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "tessera/core/ops/embedding.h"
#include "tessera/core/ops/loss.h"
#include "tessera/train/training/classification.h"
#include "tessera/train/training/loss.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

/// The tokens that were asked: rows of the logits (B N, K), and what belongs there.
struct Asked {
  Index rows, labels;
};

Asked asked(const Tensor& z, const Batch& batch) {
  const int N = batch.answers.width();
  if (!batch.answers) fail("tokens", "the samples have no answers");
  if (z.rank() != 3 || z.dim(0) != batch.size() || z.dim(1) != N)
    fail("tokens", "the model's output is {} for {} samples with {} answers each", z.shape().str(), batch.size(), N);
  Asked a;
  for (size_t i = 0; i < batch.answers.size(); ++i) {
    const int32_t label = batch.answers[i];
    if (label >= z.dim(2)) fail("tokens", "token {} has label {}, but the model names {} classes", i, label, z.dim(2));
    if (label >= 0) a.rows.push_back(static_cast<int32_t>(i)), a.labels.push_back(label);
  }
  return a;
}

std::span<const real> logits_of(const Tensor& z, int32_t row) {
  const auto K = static_cast<size_t>(z.dim(2));
  return z.read().subspan(static_cast<size_t>(row) * K, K);
}

}  // namespace

std::span<const Metric> TokenClassification::metrics() const {
  static constexpr Metric all[] = {{"tokens"}};
  return all;
}

Tensor TokenClassification::loss(const Model& model, const Run& run, const Batch& shard, Tally& tally) const {
  const Tensor z = model.forward(run, input(shard)).logits;
  const Asked a = asked(z, shard);
  if (a.rows.empty()) fail("tokens", "no token of {} samples was asked for its class", shard.size());
  bool finite = true;
  for (size_t i = 0; i < a.rows.size(); ++i) {
    const int said = named_class(logits_of(z, a.rows[i]));
    tally.of[0].count += said == a.labels[i], finite &= said != no_class;
  }
  tally.samples += shard.size(), tally.of[0].of += static_cast<int64_t>(a.rows.size()), tally.undecided += !finite;
  return soft_cross_entropy(embedding(z.reshape({-1, z.dim(2)}), Ints(a.rows)), a.labels, smoothing_,
                            1 / static_cast<double>(shard.answers_of));
}

void TokenClassification::judge(const Output& output, const Batch& batch, Tally& tally,
                                std::span<Outcome> outcomes) const {
  const Tensor& z = output.logits;
  const Asked a = asked(z, batch);
  const auto N = static_cast<size_t>(batch.answers.width());
  std::vector<double> sum(outcomes.size());
  std::vector<int64_t> of(outcomes.size());
  for (size_t i = 0; i < a.rows.size(); ++i) {
    const size_t sample = static_cast<size_t>(a.rows[i]) / N;
    const auto logits = logits_of(z, a.rows[i]);
    const int said = named_class(logits);
    tally.of[0].count += said == a.labels[i], ++of[sample];
    sum[sample] += said == no_class ? std::numeric_limits<double>::quiet_NaN() : surprise(logits, a.labels[i]);
  }
  tally.of[0].of += static_cast<int64_t>(a.rows.size());
  for (size_t s = 0; s < outcomes.size(); ++s) {
    ++tally.samples, tally.undecided += std::isnan(sum[s]), outcomes[s] = {};
    tally.loss += of[s] > 0 ? sum[s] / static_cast<double>(of[s]) : 0;
  }
}

}  // namespace TESSERA_NS
}  // namespace tessera
