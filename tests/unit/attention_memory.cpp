// Position terms cost the fused attention no N x N memory: the peak of a long sequence barely grows with them.
#include <doctest/doctest.h>

#include <algorithm>

#include "tessera/core/memory.h"
#include "tessera/core/ops/attention/attention.h"
#include "tessera/core/parallel.h"

namespace tessera {
namespace {

constexpr int N = 1024, H = 4, d = 32, B = 8;

Tensor noise(const Shape& shape, uint64_t seed) {
  Tensor t(shape);
  const rng::Stream random(rng::mix(seed));
  for (int64_t i = 0; i < t.size(); ++i) t[i] = static_cast<float>(0.1 * random.normal(static_cast<uint64_t>(i)));
  return t;
}

/// Peak pool bytes of forward and backward with gradients of q, k, v and every table; inputs and gradients included.
int64_t peak_bytes(const Terms& where) {
  const Tensor qkv = noise({B, N, 3 * H * d}, 1), dy = noise({B, N, H * d}, 2);
  Pool::reset_peaks();
  Tape tape;
  Grads grads;
  const Tensor x = tape.watch(qkv);
  Terms own = where;
  for (int t = 0; t < own.count; ++t) {
    Tensor& table = own.relative[static_cast<size_t>(t)].table;
    table = tape.watch(table);
  }
  const Tensor o =
      attention(heads(x, H, 0, 3), heads(x, H, 1, 3), heads(x, H, 2, 3), global_pattern(N, N), own, 0.2, {}, {}, {});
  tape.backward(o, dy, grads);
  for (int t = 0; t < own.count; ++t) CHECK(tape.grad(own.relative[static_cast<size_t>(t)].table));
  return Pool::total().peak;
}

TEST_CASE(
    "attention: at 1024 tokens a Shaw term or Transformer-XL's terms take less than 1.2 times the memory of none") {
  struct Threads {
    int before = parallel::threads();
    ~Threads() { parallel::set_threads(before); }
  } restore;
  parallel::set_threads(2);
  RelativeIndex line{N, N, 2 * N - 1, {}, 1};
  for (int i = 0; i < N; ++i)
    for (int j = 0; j < N; ++j) line.at.push_back(j - i + N - 1);
  const RelativeIndex one{N, N, 1, Index(static_cast<size_t>(N) * N, 0), 1};
  Terms shaw, transformer_xl;
  shaw.add({Relative::query, noise({1, 2 * N - 1, d}, 3), 0, &line});
  transformer_xl.add({Relative::query, noise({H, 2 * N - 1, d}, 3), 0, &line})
      .add({Relative::bias, noise({H, 2 * N - 1, 1}, 4), 0, &line})
      .add({Relative::key, noise({H, 1, d}, 5), 0, &one});
  const auto none = static_cast<double>(peak_bytes({})), with_shaw = static_cast<double>(peak_bytes(shaw)),
             with_xl = static_cast<double>(peak_bytes(transformer_xl));
  MESSAGE("peak " << none * 1e-6 << " MB, Shaw x " << with_shaw / none << ", Transformer-XL x " << with_xl / none);
  CHECK(none < 80e6);  // one N x N block of all heads and samples would be 134 MB
  CHECK(with_shaw < 1.2 * none);
  CHECK(with_xl < 1.2 * none);
}

}  // namespace
}  // namespace tessera
