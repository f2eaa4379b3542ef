// From how many tokens on linear attention is quicker than softmax attention, and what its one op gains over the same of small ops. A
// shard of 8 images, packed projection, one thread, best of many; CPU time, so that other programs disturb little.
//   ninja -C build linear_attention_bench && build/tests/linear_attention_bench [rounds] [heads] [head width]
#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <functional>

#include "tessera/core/blas.h"
#include "tessera/core/ops.h"
#include "tessera/core/parallel.h"
#include "tessera/core/rng.h"

namespace {

using namespace tessera;

double now() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

Tensor random(const Shape& shape, uint64_t seed) {
  Tensor t(shape);
  const rng::Stream r(seed);
  for (int64_t i = 0; i < t.size(); ++i) t[i] = static_cast<float>(r.normal(static_cast<uint64_t>(i)));
  return t;
}

/// elu + 1 by small ops, the keys summed first.
Tensor composed(const Tensor& qkv, int H) {
  const auto [B, N, C] = qkv.dims<3>();
  const Tensor all = permute(qkv.reshape({B, N, 3, H, C / 3 / H}), {2, 0, 3, 1, 4});
  const auto part = [&](int i) { return select_row(all, 0, i); };
  const auto feature = [](const Tensor& x) { return relu(x) + exp(neg(relu(neg(x)))); };
  const Tensor q = feature(part(0)), k = feature(part(1));
  const Tensor o = matmul(q, matmul(k, part(2), true)) / (matmul(q, sum(k, {2}, true), false, true) + 1e-6);
  return permute(o, {0, 2, 1, 3}).reshape({B, N, C / 3});
}

/// Microseconds forward and backward.
std::pair<double, double> measure(const Tensor& qkv, int rounds, const std::function<Tensor(const Tensor&)>& f) {
  const parallel::Shard shard;
  double forward = 1e9, backward = 1e9;
  const Tensor dy = random({qkv.dim(0), qkv.dim(1), qkv.dim(2) / 3}, 2);
  for (int r = 0; r < rounds; ++r) {
    Tape tape;
    Grads none;
    const Tensor x = tape.watch(qkv);
    const double a = now();
    const Tensor o = f(x);
    const double b = now();
    tape.backward(o, dy, none);
    const double c = now();
    forward = std::min(forward, b - a), backward = std::min(backward, c - b);
  }
  return {1e6 * forward, 1e6 * backward};
}

}  // namespace

int main(int argc, char** argv) {
  blas::self_test();
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 100, H = argc > 2 ? std::atoi(argv[2]) : 4,
            d = argc > 3 ? std::atoi(argv[3]) : 32;
  fmt::print("8 images, {} heads of {}; microseconds forward + backward\n{:>7}{:>20}{:>20}{:>20}{:>20}\n", H, d,
             "tokens", "softmax", "elu", "taylor", "elu of small ops");
  for (const int N : {16, 32, 64, 96, 128, 196, 256, 512, 1024}) {
    const Tensor qkv = random({8, N, 3 * H * d}, 1);
    const auto view = [&](const Tensor& t, int part) { return heads(t, H, part, 3); };
    const auto linear = [&](Similarity s) {
      return measure(qkv, rounds, [&](const Tensor& t) {
        return linear_attention(view(t, 0), view(t, 1), view(t, 2), {.similarity = s});
      });
    };
    const auto softmax = measure(qkv, rounds, [&](const Tensor& t) {
      return attention({view(t, 0), view(t, 1), view(t, 2), global_pattern(N, N), 1 / std::sqrt(d)}, {}, {});
    });
    fmt::print("{:>7}", N);
    for (const auto& [forward, backward] : {softmax, linear(Similarity::elu), linear(Similarity::taylor),
                                            measure(qkv, rounds, [&](const Tensor& t) { return composed(t, H); })})
      fmt::print("{:>20}", fmt::format("{:.0f} + {:.0f}", forward, backward));
    fmt::print("\n");
  }
}
