#include "tessera/train/training/evaluate.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <limits>
#include <numeric>

#include "tessera/core/parallel.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

constexpr size_t shard_size = 8;

struct Tally {  // of one shard
  double loss = 0;
  int hits1 = 0, hits5 = 0;
  size_t undecided = 0;
};

/// One image: where its label stands among the logits z, and how likely it is. Ties are lost, so that a constant network is
/// right on class 0 only.
void judge(std::span<const real> z, int label, Tally& tally, int32_t& prediction, float& probability) {
  prediction = named_class(z);
  probability = 0;
  if (prediction == no_class) {
    tally.loss = std::numeric_limits<double>::quiet_NaN(), ++tally.undecided;
    return;
  }
  const auto best = static_cast<double>(z[static_cast<size_t>(prediction)]);
  double sum = 0;
  for (const real v : z) sum += std::exp(static_cast<double>(v) - best);
  const auto y = static_cast<size_t>(label);
  int above = 0;
  for (size_t k = 0; k < z.size(); ++k) above += z[k] > z[y] || (z[k] == z[y] && k < y);
  tally.loss += std::log(sum) - (static_cast<double>(z[y]) - best);
  tally.hits1 += above == 0, tally.hits5 += above < 5;
  probability = static_cast<float>(1 / sum);
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

Evaluation evaluate(const Model& model, const data::Set& set) {
  if (set.size() == 0) fail("evaluate", "{} is empty", set.name);
  const auto start = std::chrono::steady_clock::now();
  const size_t n = set.size(), shards = (n + shard_size - 1) / shard_size;
  const auto classes = static_cast<size_t>(set.classes);
  Evaluation e;
  e.predictions.resize(n), e.probabilities.resize(n);
  std::vector<Tally> tallies(shards);
  parallel::shards(static_cast<int>(shards), [&](int s) {
    const size_t first = static_cast<size_t>(s) * shard_size, count = std::min(shard_size, n - first);
    std::array<size_t, shard_size> which;
    std::iota(which.begin(), which.end(), first);
    Run run;
    run.first = static_cast<int64_t>(first);
    const Tensor logits = model.forward(run, set.tensor(std::span(which).first(count))).logits;
    if (!(logits.shape() == Shape{static_cast<int>(count), set.classes})) {
      fail("evaluate", "the model's output is {} but {} has {} classes", logits.shape().str(), set.name, set.classes);
    }
    for (size_t i = 0; i < count; ++i) {
      judge(logits.values().subspan(i * classes, classes), set.label(first + i), tallies[static_cast<size_t>(s)],
            e.predictions[first + i], e.probabilities[first + i]);
    }
  });
  Tally all;
  for (const Tally& t : tallies)
    all.loss += t.loss, all.hits1 += t.hits1, all.hits5 += t.hits5, all.undecided += t.undecided;
  const auto images = static_cast<double>(n);
  e.loss = all.loss / images, e.acc1 = all.hits1 / images, e.acc5 = all.hits5 / images;
  e.undecided = all.undecided;
  Index labels;
  for (size_t i = 0; i < n; ++i) labels.push_back(set.label(i));
  e.confusion = Confusion::count(classes, labels, e.predictions);
  e.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return e;
}

}  // namespace TESSERA_NS
}  // namespace tessera
