// Ranks that are threads of this process: what each of them has after a step, an evaluation and a run is, to the bit, what one alone has.
#include "tessera/train/training/world.h"

#include <doctest/doctest.h>

#include <atomic>
#include <barrier>
#include <cstring>
#include <thread>

#include "tessera/core/kernels/kernels.h"
#include "tessera/core/ops/linear.h"
#include "tessera/train/training/evaluate.h"
#include "tessera/train/training/lanes.h"
#include "tests/unit/run_bed.h"

namespace tessera::test {
namespace {

/// Where the ranks meet.
struct Table {
  explicit Table(int ranks) : meet(ranks), at(static_cast<size_t>(ranks)) {}
  std::barrier<> meet;
  std::vector<void*> at;
};

struct Member final : World {
  Member(Table& t, int r) : table(t), number(r) {}
  int rank() const override { return number; }
  int size() const override { return static_cast<int>(table.at.size()); }
  void sum(int64_t n, int lanes, parallel::Ref<Piece(int64_t)> piece) override {
    for (int64_t i = 0; i < n; ++i) {
      const Piece own = piece(i);
      Piece all = own;
      put(&own);
      for (const void* p : table.at)
        for (size_t l = 0; l < all.from.size(); ++l)
          if (const real* from = static_cast<const Piece*>(p)->from[l]) all.from[l] = from;
      kernels().sum_lanes(all.from.data(), lanes, all.to, all.count);
      table.meet.arrive_and_wait();
    }
  }
  void share(void* array, int items, size_t bytes) override {
    put(array);
    for (size_t r = 0; r < table.at.size(); ++r) {
      if (table.at[r] == array) continue;
      const auto [a, b] = part(static_cast<int>(r), items);
      const size_t from = static_cast<size_t>(a) * bytes, count = static_cast<size_t>(b - a) * bytes;
      std::memcpy(static_cast<char*>(array) + from, static_cast<char*>(table.at[r]) + from, count);
    }
    table.meet.arrive_and_wait();
  }
  bool any(bool here) override {
    put(&here);
    bool found = false;
    for (const void* p : table.at) found = found || *static_cast<const bool*>(p);
    table.meet.arrive_and_wait();
    return found;
  }
  void put(const void* p) {
    table.at[static_cast<size_t>(number)] = const_cast<void*>(p);
    table.meet.arrive_and_wait();
  }
  Table& table;
  int number;
};

/// f(world) in every rank.
template <class F>
void with_ranks(int ranks, F f) {
  Table table(ranks);
  std::vector<std::thread> threads;
  for (int r = 0; r < ranks; ++r)
    threads.emplace_back([&, r] {
      Member world(table, r);
      f(world);
    });
  for (std::thread& t : threads) t.join();
}

struct Flat final : Model {
  Tensor W;
  explicit Flat(Params& params) : W(Scope(params).param("weight", {4, 3072}, normal(0.02))) {}
  Output forward(const Run&, const Input& in) const override {
    Output out;
    out.logits = linear(in.x.reshape({in.size(), -1}), W, {});
    return out;
  }
};

}  // namespace

TEST_CASE("ranks: gradients, losses and evaluations have the bits of one process") {
  const data::Set set = data::open("where", "", {.train_size = 83, .test_size = 8}).train;
  Index all(set.size());
  for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<int32_t>(i);
  const Batch batch = data::gather(set, all);
  const Classification task(4);
  const auto work = [&](World& world, Tensor& grad, double& value) {
    Params params(1);
    const Flat model(params);
    Lanes lanes({}, world);
    const auto step = lanes({Mode::train, 1, 0}, batch, [&](const Run& run, const Batch& shard) {
      Tally tally;
      return task.loss(model, run, shard, tally);
    });
    grad = step.grads.of(model.W).copy(), value = step.value;
    return evaluate(model, set, task, world);
  };
  Tensor expected;
  double loss = 0;
  const Evaluation one = work(solo(), expected, loss);
  for (const int ranks : {2, 3, 5}) {
    std::vector<Tensor> grads(static_cast<size_t>(ranks));
    std::vector<double> values(grads.size());
    std::vector<Evaluation> said(grads.size());
    with_ranks(ranks, [&](World& world) {
      const auto r = static_cast<size_t>(world.rank());
      said[r] = work(world, grads[r], values[r]);
    });
    for (size_t r = 0; r < grads.size(); ++r) {
      CHECK(std::memcmp(grads[r].data(), expected.data(), static_cast<size_t>(expected.size()) * sizeof(real)) == 0);
      CHECK(values[r] == loss);
      CHECK(said[r].loss == one.loss);
      CHECK(said[r].acc1 == one.acc1);
      CHECK(said[r].predictions == one.predictions);
    }
  }
}

TEST_CASE("ranks: a batch that leaves one of them without a shard is refused by all") {
  const data::Set set = data::open("where", "", {.train_size = 16, .test_size = 8}).train;
  const int32_t few[] = {0, 1, 2, 3};
  const Batch batch = data::gather(set, few);
  std::atomic<int> refused = 0;
  with_ranks(3, [&](World& world) {
    Lanes lanes({}, world);
    try {
      lanes.add({}, batch, [](const Run&, const Batch&) { return Tensor(); });
    } catch (const Error& e) {
      refused += std::string(e.what()).find("leaves nothing to rank 0 of 3") != std::string::npos;
    }
  });
  CHECK(refused == 3);
}

TEST_CASE("ranks: a run of two ends with the files of one, and stops where one of them is asked to") {
  const Scratch scratch;
  train_run(tiny(2), scratch / "one", false);
  with_ranks(2, [&](World& world) {
    RunParts parts;
    parts.world = std::shared_ptr<World>(std::shared_ptr<World>(), &world);
    train_run(tiny(2), world.rank() == 0 ? scratch / "two" : "", false, {}, parts);
  });
  check_equal_runs(scratch / "one", scratch / "two");
  std::atomic<int> interrupted = 0;
  with_ranks(2, [&](World& world) {
    RunParts parts;
    parts.world = std::shared_ptr<World>(std::shared_ptr<World>(), &world);
    Hooks hooks;
    int steps = 0;
    if (world.rank() == 1) hooks.stop = [&] { return ++steps == 3; };
    const RunResult r = train_run(tiny(2), "", false, hooks, parts);
    interrupted += r.interrupted && r.steps == 3;
  });
  CHECK(interrupted == 2);
}

}  // namespace tessera::test
