// Position terms cost the fused attention no N x N memory: the peak of a long sequence barely grows with them.
#include <doctest/doctest.h>

#include "tessera/core/parallel.h"
#include "tests/unit/attention_peak.h"

namespace tessera {
namespace {

constexpr int N = 1024, H = 4, d = 32, B = 8;

Tensor noise(const Shape& shape, uint64_t seed) {
  Tensor t(shape);
  const rng::Stream random(rng::mix(seed));
  for (int64_t i = 0; i < t.size(); ++i) t[i] = static_cast<float>(0.1 * random.normal(static_cast<uint64_t>(i)));
  return t;
}

int64_t peak_bytes(const Terms& where) {
  return test::attention_peak(noise({B, N, 3 * H * d}, 1), noise({B, N, H * d}, 2), H, where,
                              [](const Tape& tape, const Terms& own) {
                                for (int t = 0; t < own.count; ++t)
                                  CHECK(tape.grad(own.relative[static_cast<size_t>(t)].table));
                              });
}

TEST_CASE(
    "attention: at 1024 tokens a Shaw term or Transformer-XL's terms take less than 1.2 times the memory of none") {
  struct Threads {
    int before = parallel::threads();
    ~Threads() { parallel::set_threads(before); }
  } restore;
  parallel::set_threads(2);
  RelativeIndex::Spec line{N, N, 2 * N - 1, {}, 1};
  for (int i = 0; i < N; ++i)
    for (int j = 0; j < N; ++j) line.at.push_back(j - i + N - 1);
  const RelativeIndex one = RelativeIndex::Spec{N, N, 1, Index(static_cast<size_t>(N) * N, 0), 1},
                      all = std::move(line);
  Terms shaw, transformer_xl;
  shaw.add({Relative::query, noise({1, 2 * N - 1, d}, 3), 0, all});
  transformer_xl.add({Relative::query, noise({H, 2 * N - 1, d}, 3), 0, all})
      .add({Relative::bias, noise({H, 2 * N - 1, 1}, 4), 0, all})
      .add({Relative::key, noise({H, 1, d}, 5), 0, one});
  const auto none = static_cast<double>(peak_bytes({})), with_shaw = static_cast<double>(peak_bytes(shaw)),
             with_xl = static_cast<double>(peak_bytes(transformer_xl));
  MESSAGE("peak " << none * 1e-6 << " MB, Shaw x " << with_shaw / none << ", Transformer-XL x " << with_xl / none);
  CHECK(none < 80e6);  // one N x N block of all heads and samples would be 134 MB
  CHECK(with_shaw < 1.2 * none);
  CHECK(with_xl < 1.2 * none);
}

}  // namespace
}  // namespace tessera
