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

struct Judged {  // a shard
  Tally tally;
  std::array<Outcome, shard_size> said;
};

}  // namespace

Evaluation evaluate(const Model& model, const data::Source& source, const Task& task, World& world) {
  if (source.size() == 0) fail("evaluate", "{} is empty", source.name);
  const auto start = std::chrono::steady_clock::now();
  const size_t n = source.size(), shards = (n + shard_size - 1) / shard_size;
  std::vector<Judged> judged(shards);
  const auto [begin, end] = world.mine(static_cast<int>(shards));
  parallel::shards(end - begin, [&, begin = begin](int s) {
    const auto shard = static_cast<size_t>(begin + s);
    const size_t first = shard * shard_size, count = std::min(shard_size, n - first);
    std::array<int32_t, shard_size> which;
    std::iota(which.begin(), which.end(), static_cast<int32_t>(first));
    Batch batch = data::gather(source, std::span(which).first(count));
    batch.first = static_cast<int64_t>(first), batch.of = static_cast<int>(n);
    Run run;
    run.first = batch.first;
    task.judge(model.forward(run, task.input(batch)), batch, judged[shard].tally,
               std::span(judged[shard].said).first(count));
  });
  world.share(judged.data(), static_cast<int>(shards), sizeof(Judged));
  Evaluation e;
  e.predictions.resize(n), e.probabilities.resize(n);
  for (const Judged& j : judged) e.tally.add(j.tally);
  for (size_t i = 0; i < n; ++i) {
    const Outcome& said = judged[i / shard_size].said[i % shard_size];
    e.predictions[i] = said.prediction, e.probabilities[i] = said.probability;
  }
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
