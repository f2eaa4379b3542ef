#pragma once
// Made-up attention calls in which everything may be combined, and the comparison of fused with plain attention on them.
#include <algorithm>

#include "tessera/core/memory.h"
#include "tessera/core/parallel.h"
#include "tests/twin/attention_cases.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace attention_test {

constexpr bool twin = sizeof(real) == 8;

/// Options of a made-up call; everything may be combined.
struct Make {
  int B = 2, n = 7;
  int m = 0;  ///< 0: as n
  int H = 2, d = 8;
  int dv = 0;             ///< 0: as d
  bool packed = true;     ///< q, k, v in one tensor
  bool per_head = false;  ///< tables and angles per head
  std::vector<Relative::Kind> kinds = {};
  int rows = 5;   ///< of tables
  int first = 0;  ///< first channel of query, key and value tables
  int gate_width = 1;
  bool holes = true;  ///< some pairs of each term are -1
  bool rotary = false, halves = false;
  double drop = 0;
  std::vector<int32_t> lengths = {};
};

inline RelativeIndex random_pairs(int n, int m, int rows, int groups, bool holes, uint64_t seed) {
  RelativeIndex::Spec p{n, m, rows, {}, groups};
  const rng::Stream random(rng::mix(seed));
  for (int i = 0; i < n * m * groups; ++i) {
    const int x =
        static_cast<int>(random.below(static_cast<uint64_t>(i), static_cast<uint32_t>(rows + (holes ? 1 : 0))));
    p.at.push_back(x == rows ? -1 : x);
  }
  return p;
}

inline Case make(const Make& o, const Pattern& who = {}) {
  Case c;
  const int m = o.m ? o.m : o.n, dv = o.dv ? o.dv : o.d;
  c.who = who ? who : global_pattern(o.n, m);
  const int pn = c.who->n, pm = c.who->m;
  if (o.packed && m == o.n && dv == o.d) {
    const int x = c.add("qkv", {o.B, o.n, 3 * o.H * o.d});
    c.q = {x, o.H, 0, 3}, c.k = {x, o.H, 1, 3}, c.v = {x, o.H, 2, 3};
  } else if (o.packed && dv == o.d) {
    c.q = {c.add("q", {o.B, o.n, o.H * o.d}), o.H, 0, 1};
    const int x = c.add("kv", {o.B, m, 2 * o.H * o.d});
    c.k = {x, o.H, 0, 2}, c.v = {x, o.H, 1, 2};
  } else {
    c.q = {c.add("q", {o.B, o.n, o.H * o.d}), o.H, 0, 1};
    c.k = {c.add("k", {o.B, m, o.H * o.d}), o.H, 0, 1};
    c.v = {c.add("v", {o.B, m, o.H * dv}), o.H, 0, 1};
  }
  const int heads_of_table = o.per_head ? o.H : 1;
  for (const Relative::Kind kind : o.kinds) {
    const int head = kind == Relative::value ? dv : o.d;
    const int width = kind == Relative::bias ? 1 : kind == Relative::gate ? o.gate_width : head - o.first;
    const int leaf = c.add("table", {heads_of_table, o.rows, width});
    const bool inner = kind != Relative::bias && kind != Relative::gate;
    c.terms.push_back(
        {kind, leaf, inner ? o.first : 0,
         random_pairs(pn, pm, o.rows, c.terms.size() % 2 ? c.who->groups : 1, o.holes, c.terms.size() + 5)});
  }
  if (o.rotary) {
    const char* names[] = {"cos_q", "sin_q", "cos_k", "sin_k"};
    for (int i = 0; i < 4; ++i) c.rotary[i] = c.add(names[i], {heads_of_table, i < 2 ? pn : pm, o.d / 2});
    c.halves = o.halves;
  }
  c.scale = 1 / std::sqrt(double(o.d));
  c.lengths = o.lengths;
  if (o.drop > 0) c.dropout = {o.drop, key("attn.drop")}, c.run = {Mode::train, 3, 11, 16};
  return c;
}

/// Fused against plain with memory poisoned: every output and every gradient, inside and outside of a shard. In double
/// only rounding may differ. In float both round: logits reach 50 (tables are N(0, 1)), so weights carry 50 eps = 6e-6,
/// and sums over pairs several times that.
inline void same(const Case& c, double tolerance = twin ? 1e-12 : 1e-4) {
  const std::vector<Tensor> want = c.all(&plain_attention);
  Pool::poison(true);
  const std::vector<Tensor> got = c.all(&attention);
  std::vector<Tensor> inside;
  {
    parallel::Shard here;
    inside = c.all(&attention);
  }
  Pool::poison(false);
  double size = 0;  // gradients that vanish in exact arithmetic are measured against the largest one
  for (size_t i = 1; i < want.size(); ++i) size = std::max(size, largest(want[i]));
  for (size_t i = 0; i < want.size(); ++i) {
    INFO((i ? c.name[i - 1] : std::string("output")));
    CHECK(distance(want[i], got[i], i ? 0.1 * size : 0) < tolerance);
    CHECK(distance(want[i], inside[i], i ? 0.1 * size : 0) < tolerance);
  }
}

using Kinds = std::vector<Relative::Kind>;
constexpr auto bias = Relative::bias, query = Relative::query, key_ = Relative::key, value = Relative::value,
               gate = Relative::gate;

/// An 8 x 8 map in shifted windows of 4 x 4 with region labels, as in Swin.
inline Pattern::Spec windows(int shift, float mask_value) {
  Pattern::Spec p;
  p.groups = 4, p.n = p.m = 16, p.mask_value = mask_value;
  const auto part = [&](int y) { return y < 4 ? 0 : y < 8 - shift ? 1 : 2; };
  for (int w = 0; w < 4; ++w)
    for (int i = 0; i < 16; ++i) {
      const int y = w / 2 * 4 + i / 4, x = w % 2 * 4 + i % 4;
      p.q.push_back((y + shift) % 8 * 8 + (x + shift) % 8);
      if (shift) p.label_q.push_back(3 * part(y) + part(x));
    }
  p.k = p.q, p.label_k = p.label_q;
  return p;
}

}  // namespace attention_test
}  // namespace TESSERA_NS
}  // namespace tessera
