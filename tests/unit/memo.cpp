// What is remembered is bounded in bytes, shared, computed once per key, and nobody waits on another key's computation.
#include "tessera/core/memo.h"

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <thread>

#include "tessera/nn/position.h"

using namespace tessera;

namespace {

struct Limit {  // of this test; the others' is put back
  size_t before = memo_limit();
  explicit Limit(size_t bytes) { set_memo_limit(bytes); }
  ~Limit() { set_memo_limit(before); }
};

Tensor numbers(int n, double value) { return full({n}, static_cast<real>(value)); }

}  // namespace

TEST_CASE("memo: the oldest go first, and what somebody holds stays good") {
  const Limit limit(1 << 20);
  Memo<int, Tensor> memo;
  int made = 0;
  const auto get = [&](int i) { return memo(i, [&] { return ++made, numbers(1 << 15, i); }); };  // 128 kB each
  const Tensor first = get(0);
  for (int i = 1; i < 50; ++i) {
    get(i);
    get(1);  // asked for again and again: never the oldest
    CHECK(memo_bytes() <= memo_limit());
  }
  CHECK(made == 50);
  get(1), get(49);
  CHECK(made == 50);
  CHECK(first[7] == 0);  // let go of long ago
  get(0);
  CHECK(made == 51);
  set_memo_limit(0);  // nothing stays, everything still works
  CHECK(memo_bytes() == 0);
  CHECK(get(3)[5] == 3);
  set_memo_limit(1 << 20);
  {
    const size_t before = memo_bytes();
    {
      Memo<int, Tensor> other;  // takes its entries along when it goes
      other(1, [] { return numbers(1 << 15, 1); });
      CHECK(memo_bytes() == before + (size_t{1} << 17));
    }
    CHECK(memo_bytes() == before);
  }
}

TEST_CASE("memo: one key is computed once by eight threads, another key does not wait for it") {
  Memo<int, Tensor> memo;
  std::atomic<int> made{0};
  std::atomic<bool> slow_began{false}, other_done{false}, other_first{false};
  const auto slow = [&] {
    return memo(1, [&] {
      ++made;
      slow_began = true;
      const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
      while (!other_done && std::chrono::steady_clock::now() < until) std::this_thread::yield();
      other_first = other_done.load();
      return numbers(3, 1);
    });
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) threads.emplace_back([&] { CHECK(slow()[0] == 1); });
  while (!slow_began) std::this_thread::yield();
  CHECK(memo(2, [] { return numbers(3, 2); })[0] == 2);
  other_done = true;
  for (std::thread& t : threads) t.join();
  CHECK(made == 1);
  CHECK(other_first);
}

TEST_CASE("memo: what could not be made is tried again; making one may ask for another") {
  Memo<int, Tensor> memo;
  CHECK_THROWS_AS(memo(1, []() -> Tensor { fail("test", "no"); }), Error);
  CHECK(memo(1, [] { return numbers(1, 4); })[0] == 4);
  CHECK(memo(2, [&] { return memo(1, [] { return numbers(1, 9); }); })[0] == 4);
}

TEST_CASE("memo: Transformer-XL over 200 lengths stays within the limit") {
  const Limit limit(size_t{32} << 20);
  Params params(1);
  Places at;
  at.sites = {Site{0, 0, 0, 32, 2, 16, 0.25, Layout::sequence(400), "attn"}};
  const auto encoding = position("transformer_xl")(Scope(params), at);
  for (int T = 200; T < 400; ++T) {
    const Terms terms = encoding->terms(at.sites[0], Layout::sequence(T), {}, {});
    REQUIRE(terms.count == 3);
    CHECK(terms.relative[0].rho->n == T);
    REQUIRE(memo_bytes() <= memo_limit());
  }
}
