// The attention of a shard of 8 images: GFLOP/s of the plain case against the FMA peak of the same run (forward counts 4 n m d a head,
// backward 10), and what every kind of term costs, in time relative to no term. One thread, inside of a shard, best of many; CPU
// time, so that other programs disturb little.
//   ninja -C build attention_bench && build/tests/attention_bench [rounds]
#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "tessera/core/blas.h"
#include "tessera/core/parallel.h"
#include "tessera/core/peak.h"
#include "tests/unit/attention_peak.h"

namespace {

using namespace tessera;

double now() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

Tensor random(const Shape& shape, uint64_t seed, double size = 1) {
  Tensor t(shape);
  const rng::Stream r(seed);
  for (int64_t i = 0; i < t.size(); ++i) t[i] = static_cast<float>(size * r.normal(static_cast<uint64_t>(i)));
  return t;
}

struct Time {
  double forward = 1e9, backward = 1e9;
  double sum() const { return forward + backward; }
};

struct Setup {
  int B, N, H, d;
  Pattern who = {};
  double drop = 0;
};

Time measure(const Setup& s, const Terms& fixed, int rounds) {
  const parallel::Shard shard;
  const Tensor qkv = random({s.B, s.N, 3 * s.H * s.d}, 1), dy = random({s.B, s.N, s.H * s.d}, 2);
  const Pattern who = s.who ? s.who : global_pattern(s.N, s.N);
  Time best;
  for (int r = 0; r < rounds; ++r) {
    Tape tape;
    Grads none;
    const Tensor x = tape.watch(qkv);
    const Terms where = test::watched(tape, fixed);
    const double a = now();
    const Tensor o = attention({heads(x, s.H, 0, 3),
                                heads(x, s.H, 1, 3),
                                heads(x, s.H, 2, 3),
                                who,
                                1 / std::sqrt(s.d),
                                {s.drop, key("bench")}},
                               where, {Mode::train, 1, 1, 0});
    const double b = now();
    tape.backward(o, dy, none);
    const double c = now();
    best.forward = std::min(best.forward, b - a), best.backward = std::min(best.backward, c - b);
  }
  return best;
}

/// Offsets on a square grid behind one class token, as tables are indexed by them.
RelativeIndex pairs(int N, int rows, const std::function<int(int, int)>& f) {
  RelativeIndex::Spec p{N, N, rows, {}, 1};
  for (int i = 0; i < N; ++i)
    for (int j = 0; j < N; ++j) p.at.push_back(i == 0 || j == 0 ? -1 : f(i - 1, j - 1));
  return p;
}

void plain(int N, int H, int d, int rounds, double peak) {
  const Setup s{8, N, H, d};
  const Time t = measure(s, {}, rounds);
  const double flops = 4.0 * 8 * H * N * N * d;
  fmt::print(
      "{:5} tokens, {} heads of {:3}: forward {:6.1f} GFLOP/s ({:2.0f} % of peak, {:7.1f} us)   backward {:6.1f} "
      "({:2.0f} %, {:7.1f} us)\n",
      N, H, d, flops / t.forward * 1e-9, 100 * flops / t.forward * 1e-9 / peak, t.forward * 1e6,
      2.5 * flops / t.backward * 1e-9, 250 * flops / t.backward * 1e-9 / peak, t.backward * 1e6);
}

void terms(int rounds) {
  const int N = 65, H = 4, d = 32, w = 8;
  const Setup s{8, N, H, d};
  const RelativeIndex line = pairs(N, 127, [](int i, int j) { return i - j + 63; });
  const RelativeIndex grid = pairs(N, 225, [](int i, int j) { return (i / w - j / w + 7) * 15 + i % w - j % w + 7; });
  const RelativeIndex dy = pairs(N, 15, [](int i, int j) { return i / w - j / w + 7; });
  const RelativeIndex dx = pairs(N, 15, [](int i, int j) { return i % w - j % w + 7; });
  const RelativeIndex buckets = pairs(N, 50, [](int i, int j) {
    const auto g = [](int x) { return std::clamp(x, -3, 3) + 3; };
    return g(i / w - j / w) * 7 + g(i % w - j % w);
  });
  const RelativeIndex one = RelativeIndex::Spec{N, N, 1, Index(static_cast<size_t>(N * N), 0), 1};
  using K = Relative;
  const auto table = [&](int heads_, const RelativeIndex& p, int width) {
    return random({heads_, p->rows, width}, 3, 0.02);
  };
  struct Row {
    const char* name;
    Terms where;
    double drop = 0;
  };
  std::vector<Row> rows;
  const auto add = [&](const char* name, std::initializer_list<Relative> list) {
    Row r{name, {}, 0};
    for (const Relative& x : list) r.where.add(x);
    rows.push_back(r);
  };
  rows.push_back({"none", {}, 0});
  rows.push_back({"dropout", {}, 0.1});
  add("bias, 2-D table per head", {{K::bias, table(H, grid, 1), 0, grid}});
  add("two biases (axial)", {{K::bias, table(H, dy, 1), 0, dy}, {K::bias, table(H, dx, 1), 0, dx}});
  add("one-row key", {{K::key, table(H, one, d), 0, one}});
  add("query, 127 rows shared (Shaw)", {{K::query, table(1, line, d), 0, line}});
  add("query, 127 rows per head", {{K::query, table(H, line, d), 0, line}});
  add("query, 225 rows per head", {{K::query, table(H, grid, d), 0, grid}});
  add("query, 50 buckets shared (iRPE)", {{K::query, table(1, buckets, d), 0, buckets}});
  add("two queries of d/2 (axial)",
      {{K::query, table(1, dy, d / 2), 0, dy}, {K::query, table(1, dx, d / 2), d / 2, dx}});
  add("key, 127 rows shared", {{K::key, table(1, line, d), 0, line}});
  add("key, 225 rows per head", {{K::key, table(H, grid, d), 0, grid}});
  add("key, 50 buckets", {{K::key, table(1, buckets, d), 0, buckets}});
  add("value, 127 rows shared", {{K::value, table(1, line, d), 0, line}});
  add("value, 225 rows per head", {{K::value, table(H, grid, d), 0, grid}});
  add("value, 50 buckets", {{K::value, table(1, buckets, d), 0, buckets}});
  add("query + value (Shaw K+V)", {{K::query, table(1, line, d), 0, line}, {K::value, table(1, line, d), 0, line}});
  add("Transformer-XL", {{K::query, table(H, line, d), 0, line},
                         {K::bias, table(H, line, 1), 0, line},
                         {K::key, table(H, one, d), 0, one}});
  add("gate of width 1", {{K::gate, table(1, line, 1), 0, line}});
  add("gate of width d", {{K::gate, table(1, line, d), 0, line}});
  Rotary r;
  r.cos_q = r.cos_k = random({1, N, d / 2}, 5), r.sin_q = r.sin_k = random({1, N, d / 2}, 6);
  rows.push_back({"rotation, interleaved", {}, 0});
  rows.back().where.rotary = r;
  r.halves = true;
  rows.push_back({"rotation, halves", {}, 0});
  rows.back().where.rotary = r;
  r.values = true;
  rows.push_back({"rotation of values, too", {}, 0});
  rows.back().where.rotary = r;
  for (const int w8 : {1, 8, 32}) {
    static const std::string names[] = {"side query of width 1, 225 rows", "side query of width 8",
                                        "side query of width 32"};
    rows.push_back({names[w8 == 1 ? 0 : w8 == 8 ? 1 : 2].c_str(), {}, 0});
    rows.back().where.add({K::query, table(H, grid, w8), 0, grid, heads(random({8, N, H * w8}, 9), H), true});
  }
  std::vector<bool> sees;
  for (int i = 0; i < H * N * N; ++i) sees.push_back(i % 3 != 0);
  rows.push_back({"mask per head", {}, 0});
  rows.back().where.visible = HeadMask(H, N, N, sees);
  fmt::print("\n65 tokens (8 x 8 and a class token), 4 heads of 32, times relative to none\n");
  Time none;
  for (const Row& row : rows) {
    Setup own = s;
    own.drop = row.drop;
    const Time t = measure(own, row.where, rounds);
    if (&row == &rows.front()) none = t;
    fmt::print("  {:34} forward {:7.1f} us  backward {:7.1f} us   both x {:.2f}\n", row.name, t.forward * 1e6,
               t.backward * 1e6, t.sum() / none.sum());
  }
}

void windows(int rounds) {
  Pattern::Spec p;  // 64 x 64 cells in windows of 4 x 4, as a small Swin's first stage
  p.groups = 16, p.n = p.m = 16;
  for (int g = 0; g < 16; ++g)
    for (int i = 0; i < 16; ++i) p.q.push_back((g / 4 * 4 + i / 4) * 16 + g % 4 * 4 + i % 4);
  p.k = p.q;
  Setup s{8, 256, 3, 16};
  s.who = p;
  const Time t = measure(s, {}, rounds);
  const double flops = 4.0 * 8 * 3 * 256 * 16 * 16;
  fmt::print(
      "\n16 x 16 cells in 16 windows of 4 x 4, 3 heads of 16: forward {:.1f} GFLOP/s ({:.1f} us), backward {:.1f} "
      "({:.1f} us)\n",
      flops / t.forward * 1e-9, t.forward * 1e6, 2.5 * flops / t.backward * 1e-9, t.backward * 1e6);
}

void memory() {
  const int N = 1024, H = 4, d = 32, B = 8;
  const RelativeIndex line = pairs(N, 2047, [](int i, int j) { return i - j + 1023; });
  const RelativeIndex one = RelativeIndex::Spec{N, N, 1, Index(static_cast<size_t>(N) * static_cast<size_t>(N), 0), 1};
  fmt::print("\npeak pool bytes of forward and backward at 1024 tokens, 4 heads of 32, batch 8, outside of a shard\n");
  double none = 0;
  for (const char* name : {"none", "query, 2047 rows", "Transformer-XL"}) {
    Terms where;
    if (name[0] != 'n') where.add({Relative::query, random({name[0] == 'T' ? H : 1, 2047, d}, 3, 0.02), 0, line});
    if (name[0] == 'T')
      where.add({Relative::bias, random({H, 2047, 1}, 4), 0, line}).add({Relative::key, random({H, 1, d}, 4), 0, one});
    const auto peak = static_cast<double>(test::attention_peak(random({B, N, 3 * H * d}, 1), random({B, N, H * d}, 2),
                                                               H, where, [](const Tape&, const Terms&) {}));
    if (none == 0) none = peak;
    fmt::print("  {:18} {:6.1f} MB  x {:.3f}\n", name, peak * 1e-6, peak / none);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 300;
  const double peak = fma_peak_gflops(1);
  fmt::print("FMA peak of one core: {:.0f} GFLOP/s\n", peak);
  for (const auto& [N, H, d] :
       std::initializer_list<std::array<int, 3>>{{65, 4, 32}, {65, 3, 64}, {64, 4, 32}, {197, 3, 64}, {256, 4, 32}})
    plain(N, H, d, rounds, peak);
  plain(1024, 4, 32, std::max(5, rounds / 50), peak);
  terms(rounds);
  windows(rounds);
  memory();
  fmt::print("FMA peak at the end: {:.0f} GFLOP/s\n", fma_peak_gflops(1));
}
