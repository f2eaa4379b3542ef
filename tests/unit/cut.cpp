// Work that idle workers share: every part once, errors to the owner, and the same bits however many workers there are.
#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <stdexcept>
#include <thread>

#include "tessera/core/parallel.h"
#include "tessera/core/precision.h"
#include "tessera/models/model.h"
#include "tessera/nn/position.h"
#include "tessera/train/training/lanes.h"
#include "tessera/train/training/loss.h"
#include "tests/twin/small_models.h"

using namespace tessera;

namespace {

struct Threads {  // restores the number of threads
  int before = parallel::threads();
  explicit Threads(int n) { parallel::set_threads(n); }
  ~Threads() { parallel::set_threads(before); }
};

void busy(int64_t n) {
  volatile int64_t sum = 0;
  for (int64_t i = 0; i < n; ++i) sum = sum + i;
}

/// A step of one family's small model on `n` images: the loss and all gradients, as one array.
std::vector<real> step(const ModelRow& row, int n, const LanesOptions& how) {
  Params params(3);
  const auto net = row.make(Scope(params), small_options(row), position(row.position));
  Tensor x({n, 32, 32, 2});
  for (int64_t i = 0; i < x.size(); ++i) x[i] = static_cast<real>(rng::Stream(5).normal(static_cast<uint64_t>(i)));
  Index labels(static_cast<size_t>(n));
  for (size_t i = 0; i < labels.size(); ++i) labels[i] = static_cast<int32_t>(i % 3);
  Lanes lanes(how);
  const auto [value, grads] =
      lanes({Mode::train, 1, 0}, {x, labels, Tensor(), 0, n}, [&](const Run& run, const Batch& shard) {
        return soft_cross_entropy(net->forward(run, shard.in).logits, shard, 0.1);
      });
  std::vector<real> all{static_cast<real>(value)};
  for (const auto& e : params.entries()) {
    if (!grads.has(e.value)) continue;
    const Tensor& g = grads.of(e.value);
    all.insert(all.end(), g.data(), g.data() + g.size());
  }
  return all;
}

bool equal_bits(const std::vector<real>& a, const std::vector<real>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(real)) == 0;
}

}  // namespace

TEST_CASE("rows in a shard: every index once, whoever helps") {
  for (const int threads : {1, 2, 3, 5, 16})
    for (const int shards : {1, 2, 7}) {
      CAPTURE(threads);
      CAPTURE(shards);
      const Threads set(threads);
      std::array<std::array<std::atomic<int>, 1000>, 7> seen{};
      std::atomic<int> wrong{0};
      parallel::shards(shards, [&](int s) {
        for (int round = 0; round < 20; ++round)
          parallel::rows(1000, 7, [&](int64_t a, int64_t b) {
            wrong += a % 7 != 0 || (b % 7 != 0 && b != 1000) || !parallel::in_shard();
            busy(2000);
            for (int64_t i = a; i < b; ++i) ++seen[static_cast<size_t>(s)][static_cast<size_t>(i)];
            parallel::rows(100, 1,
                           [&](int64_t from, int64_t to) { wrong += b - a < 1000 && (from != 0 || to != 100); });
          });
      });
      CHECK(wrong == 0);
      for (int s = 0; s < shards; ++s)
        for (const auto& n : seen[static_cast<size_t>(s)]) REQUIRE(n == 20);
    }
}

TEST_CASE("rows in a shard: an idle worker takes part") {
  const Threads set(2);
  std::atomic<bool> other{false};
  parallel::shards(1, [&](int) {
    const auto me = std::this_thread::get_id();
    const auto end =
        std::chrono::steady_clock::now() + std::chrono::seconds(30);  // on a machine that has much else to do
    while (!other && std::chrono::steady_clock::now() < end)
      parallel::rows(64, 1, [&](int64_t from, int64_t to) {
        if (std::this_thread::get_id() != me) other = true;
        for (int i = 0; i < 1000 && !other && to - from < 64; ++i) std::this_thread::yield();
      });
  });
  CHECK(other);
}

TEST_CASE("rows in a shard: an error comes out of the call, and the next one works") {
  for (const int threads : {1, 2, 5}) {
    const Threads set(threads);
    int caught = 0;
    std::atomic<int64_t> count{0};
    parallel::shards(1, [&](int) {
      for (int round = 0; round < 50; ++round) {
        try {
          parallel::rows(100, 1, [&](int64_t a, int64_t b) {
            busy(1000);
            if (a <= 57 && 57 < b) throw std::runtime_error("part");
          });
        } catch (const std::runtime_error&) {
          ++caught;
        }
        parallel::rows(100, 1, [&](int64_t a, int64_t b) { count += b - a; });
      }
    });
    CHECK(caught == 50);
    CHECK(count == 5000);
  }
}

TEST_CASE("shards: after an error no other begins, and it comes out") {
  const Threads set(1);
  int begun = 0;
  CHECK_THROWS_AS(parallel::shards(10,
                                   [&](int i) {
                                     ++begun;
                                     if (i == 2) throw std::runtime_error("shard");
                                   }),
                  std::runtime_error);
  CHECK(begun == 3);
}

TEST_CASE("a step has the same bits for any number of threads, shards fewer than threads included") {
  for (const Precision in : {Precision::f32, Precision::bf16}) {
    const Computing so(in);
    for (const ModelRow& row : models()) {
      if (row.name != row.family || !row.defaults.contains("img_size")) continue;
      for (const LanesOptions how : {LanesOptions{8, 8}, LanesOptions{1, 2}}) {
        CAPTURE(row.name);
        CAPTURE(how.shard_size);
        std::vector<real> one;
        {
          const Threads set(1);
          one = step(row, 5, how);
        }
        for (const int threads : {2, 3, 5, 16}) {
          const Threads set(threads);
          CHECK(equal_bits(step(row, 5, how), one));
        }
        const parallel::CutAll cut;
        CHECK(equal_bits(step(row, 5, how), one));
      }
    }
  }
}
