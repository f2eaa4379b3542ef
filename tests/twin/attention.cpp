// Fused against plain attention, in value and in every gradient, and both against differences.
#include "tests/twin/attention_cases.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace attention_test {
namespace {

constexpr bool twin = sizeof(real) == 8;

/// Options of a made-up call; everything may be combined.
struct Make {
  int B = 2, n = 7, H = 2, d = 8;
  int m = 0, dv = 0;      ///< 0: as n, d
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

Pairs random_pairs(int n, int m, int rows, int groups, bool holes, uint64_t seed) {
  Pairs p{n, m, rows, {}, groups};
  const rng::Stream random(rng::mix(seed));
  for (int i = 0; i < n * m * groups; ++i) {
    const int x =
        static_cast<int>(random.below(static_cast<uint64_t>(i), static_cast<uint32_t>(rows + (holes ? 1 : 0))));
    p.at.push_back(x == rows ? -1 : x);
  }
  return p;
}

Case make(const Make& o, const Pattern* who = nullptr) {
  Case c;
  const int m = o.m ? o.m : o.n, dv = o.dv ? o.dv : o.d;
  c.who = who ? *who : everyone(o.n, m);
  const int pn = c.who.n, pm = c.who.m;
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
         random_pairs(pn, pm, o.rows, c.terms.size() % 2 ? c.who.groups : 1, o.holes, c.terms.size() + 5)});
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

TWIN_CASE("attention: gradients of every kind of term against differences") {
  if (!twin) return;
  using enum Relative::Kind;
  for (const bool per_head : {false, true})
    for (const Function f : {&plain_attention, &attention}) {
      CHECK(gradient_error(make({.per_head = per_head}), f) < 1e-6);
      for (const auto kind : {bias, query, key, value, gate})
        CHECK(gradient_error(make({.per_head = per_head, .kinds = {kind}, .first = 0}), f) < 1e-6);
      CHECK(gradient_error(make({.per_head = per_head, .kinds = {gate, gate}, .gate_width = 8}), f) < 1e-6);
      for (const bool halves : {false, true})
        CHECK(gradient_error(make({.per_head = per_head, .rotary = true, .halves = halves}), f) < 1e-6);
      CHECK(gradient_error(make({.per_head = per_head,
                                 .kinds = {query, key, value, bias, gate, gate, query, value},
                                 .first = 3,
                                 .rotary = true,
                                 .drop = 0.3,
                                 .lengths = {7, 4}}),
                           f) < 1e-6);
    }
}

}  // namespace
}  // namespace attention_test
}  // namespace TESSERA_NS
}  // namespace tessera
