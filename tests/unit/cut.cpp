// Work that idle workers share: every part once, errors to the owner, and the same bits however many workers there are.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <thread>

#include "tessera/core/ops/arithmetic.h"
#include "tessera/core/ops/reduce.h"
#include "tessera/core/parallel.h"
#include "tessera/core/precision.h"
#include "tessera/models/model.h"
#include "tessera/nn/position.h"
#include "tessera/train/training/lanes.h"
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

/// Samples as a model of this row eats them: noise, numbers of tokens; sequences of several lengths.
Input samples(const ModelRow& row, int n) {
  InputShape shape = row.input(small_options(row));
  if (shape.ragged()) shape.T = 16;
  Input in = shape.zeros(n);
  for (int64_t i = 0; in.x && i < in.x.size(); ++i)
    in.x[i] = static_cast<real>(rng::Stream(5).normal(static_cast<uint64_t>(i)));
  const auto number = [](const Ints& to, int kinds) {
    for (size_t i = 0; i < to.size(); ++i)
      to.data()[i] = static_cast<int32_t>((7 * i + i / 16) % static_cast<size_t>(kinds));
  };
  number(in.tokens, shape.vocabulary), number(in.target, shape.target);
  if (shape.ragged()) {
    const int longest = in.x ? in.x.dim(1) : in.tokens.width();
    Index lengths(static_cast<size_t>(n));
    for (size_t i = 0; i < lengths.size(); ++i) lengths[i] = longest - static_cast<int32_t>(i % 4);
    in.lengths = lengths;
  }
  return in;
}

/// What makes a loss of answers of any shape: noise, another for each sample.
Tensor cotangent(const Shape& shape, int64_t first) {
  Tensor c(shape);
  const int64_t each = c.size() / shape[0];
  for (int64_t i = 0; i < c.size(); ++i)
    c[i] = static_cast<real>(rng::Stream(7).normal(static_cast<uint64_t>(first * each + i)));
  return c;
}

/// A step of one family's small model on `n` samples: the loss and all gradients, as one array.
std::vector<real> step(const ModelRow& row, int n, const LanesOptions& how, const std::string& encoding = "") {
  Params params(3);
  const auto net = row.make(Scope(params), small_options(row), position(encoding.empty() ? row.position : encoding));
  Lanes lanes(how);
  const auto [value, grads] =
      lanes({Mode::train, 1, 0}, {samples(row, n), {}, Tensor(), 0, n}, [&](const Run& run, const Batch& shard) {
        const Tensor y = net->forward(run, shard.in).logits;
        return sum(mul(y, cotangent(y.shape(), shard.first)));
      });
  std::vector<real> all{static_cast<real>(value)};
  for (const auto& e : params.entries()) {
    if (!grads.has(e.value)) continue;
    const Tensor& g = grads.of(e.value);
    all.insert(all.end(), g.data(), g.data() + g.size());
  }
  return all;
}

/// What the model answers to `n` samples in evaluation, so many in a shard. Its weights are moved, or a head of zeros would say nothing.
std::vector<real> answers(const ModelRow& row, int n, int of_a_shard) {
  Params params(3);
  const auto net = row.make(Scope(params), small_options(row), position(row.position));
  for (const auto& e : params.entries()) {
    if (e.buffer) continue;
    Tensor w = e.value;
    for (int64_t i = 0; i < w.size(); ++i)
      w[i] += static_cast<real>(0.02 * rng::Stream(rng::hash(e.name)).normal(static_cast<uint64_t>(i)));
  }
  params.commit();
  const Input in = samples(row, n);
  std::vector<std::vector<real>> said(static_cast<size_t>((n + of_a_shard - 1) / of_a_shard));
  parallel::shards(static_cast<int>(said.size()), [&](int s) {
    Run run;
    run.first = s * of_a_shard;
    const Tensor y = net->forward(run, in.rows(s * of_a_shard, std::min(n, (s + 1) * of_a_shard))).logits;
    said[static_cast<size_t>(s)].assign(y.data(), y.data() + y.size());
  });
  std::vector<real> all;
  for (const auto& some : said) all.insert(all.end(), some.begin(), some.end());
  return all;
}

bool equal_bits(const std::vector<real>& a, const std::vector<real>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(real)) == 0;
}

/// Computes it on one thread, then on several numbers of threads, then with all work cut as finely as it can be.
template <class F>
void same_bits(F compute) {
  std::vector<real> one;
  {
    const Threads set(1);
    one = compute();
  }
  REQUIRE(one.size() > 1);
  CHECK(std::ranges::any_of(one, [](real v) { return v != 0; }));
  CHECK(std::ranges::all_of(one, [](real v) { return std::isfinite(v); }));
  for (const int threads : {2, 3, 5, 16}) {
    CAPTURE(threads);
    const Threads set(threads);
    CHECK(equal_bits(compute(), one));
  }
  const parallel::CutAll cut;
  CHECK(equal_bits(compute(), one));
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

TEST_CASE("rows in a shard: who waits for the parts of an op takes up no other shard in the meantime") {
  static thread_local int inside = -1;
  for (const int threads : {2, 3, 5}) {
    const Threads set(threads);
    std::atomic<int> wrong{0};
    parallel::shards(40, [&](int s) {
      wrong += inside != -1;  // begun while another was waiting on this thread
      inside = s;
      for (int round = 0; round < 20; ++round) {
        parallel::rows(64, 1, [&](int64_t a, int64_t b) { busy(300 * (b - a)); });
        wrong += inside != s;
      }
      inside = -1;
    });
    CHECK(wrong == 0);
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

TEST_CASE("a step of every family has the same bits for any number of threads, shards fewer than threads included") {
  for (const Precision in : {Precision::f32, Precision::bf16}) {
    const Computing so(in);
    for (const ModelRow& row : models()) {
      if (row.name != row.family) continue;
      for (const LanesOptions how : {LanesOptions{8, 8}, LanesOptions{1, 2}}) {
        CAPTURE(row.name);
        CAPTURE(how.shard_size);
        same_bits([&] { return step(row, 5, how); });
      }
    }
  }
}

TEST_CASE("a step of every encoding has the same bits for any number of threads") {
  for (const Precision in : {Precision::f32, Precision::bf16}) {
    const Computing so(in);
    for (const PositionRow& encoding : positions()) {
      if (encoding.name == std::string_view("sasa")) continue;  // not in a ViT with a class token
      CAPTURE(encoding.name);
      same_bits([&] { return step(model("vit"), 5, {2, 2}, encoding.name); });
    }
  }
}

TEST_CASE("answers of every family have the same bits for any number of threads, of one sample, too") {
  for (const Precision in : {Precision::f32, Precision::bf16}) {
    const Computing so(in);
    for (const ModelRow& row : models()) {
      if (row.name != row.family) continue;
      for (const auto& [n, of_a_shard] : {std::pair{1, 8}, std::pair{5, 8}, std::pair{5, 2}}) {
        CAPTURE(row.name);
        CAPTURE(n);
        same_bits([&, n = n, shard = of_a_shard] { return answers(row, n, shard); });
      }
    }
  }
}
