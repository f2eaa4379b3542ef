#include "tessera/train/training/evaluate.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <numeric>

#include "tessera/core/parallel.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

constexpr size_t shard_size = 8;

}  // namespace

Evaluation evaluate(const Model& model, const data::Source& source, const Task& task) {
  if (source.size() == 0) fail("evaluate", "{} is empty", source.name);
  const auto start = std::chrono::steady_clock::now();
  const size_t n = source.size(), shards = (n + shard_size - 1) / shard_size;
  Evaluation e;
  e.predictions.resize(n), e.probabilities.resize(n);
  std::vector<Tally> tallies(shards);
  parallel::shards(static_cast<int>(shards), [&](int s) {
    const size_t first = static_cast<size_t>(s) * shard_size, count = std::min(shard_size, n - first);
    std::array<int32_t, shard_size> which;
    std::iota(which.begin(), which.end(), static_cast<int32_t>(first));
    Batch batch = data::gather(source, std::span(which).first(count));
    batch.first = static_cast<int64_t>(first), batch.of = static_cast<int>(n);
    Run run;
    run.first = batch.first;
    std::array<Outcome, shard_size> said;
    task.judge(model.forward(run, batch.in), batch, tallies[static_cast<size_t>(s)], std::span(said).first(count));
    for (size_t i = 0; i < count; ++i)
      e.predictions[first + i] = said[i].prediction, e.probabilities[first + i] = said[i].probability;
  });
  for (const Tally& t : tallies) e.tally.add(t);
  e.loss = e.tally.loss / static_cast<double>(n);
  e.acc1 = e.tally.of[0].value(), e.acc5 = e.tally.of[1].value();
  e.undecided = static_cast<size_t>(e.tally.undecided);
  if (source.classes > 0) {
    Index labels(n);
    for (size_t i = 0; i < n; ++i) labels[i] = source.label(i);
    e.confusion = Confusion::count(static_cast<size_t>(source.classes), labels, e.predictions);
  }
  e.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return e;
}

Evaluation evaluate(const Model& model, const data::Source& source) {
  return evaluate(model, source, Classification(source.classes));
}

}  // namespace TESSERA_NS
}  // namespace tessera
