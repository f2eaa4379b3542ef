// Queries, keys and values that share memory, and gradients of which only some are wanted: fused against plain attention, and against
// calls in which nothing is shared.
#include <optional>

#include "tests/twin/attention_made.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace attention_test {
namespace {

/// Where q, k and v begin in one tensor, and its width; heads of width d, of values dv, follow each other.
struct Placing {
  const char* what;
  int width, q, k, v;
};
constexpr int H = 3, d = 8, C = H * d;
constexpr Placing placings[] = {
    {"packed in order", 3 * C, 0, C, 2 * C},
    {"packed in another order", 3 * C, 2 * C, 0, C},
    {"q is k is v", C, 0, 0, 0},
    {"k is v", 2 * C, 0, C, C},
    {"q is k", 2 * C, 0, 0, C},
    {"q is v", 2 * C, C, 0, C},
    {"k begins inside of q, at another head", 3 * C, 0, d, 2 * C},
    {"k begins inside of a head of q", 3 * C, 0, d / 2 + 1, 2 * C},
    {"each overlaps the next, nobody covers the rest", 3 * C, 5, 5 + d, 5 + C},
    {"a head of each meets in the middle", C + 2 * d, 0, d, 2 * d},
    {"packed with gaps", 4 * C, 1, C + 3, 3 * C},
};

/// That call, and the same with a tensor of its own for each of q, k and v (leaves 0, 1, 2; tables behind).
Case placed(const Placing& p, const std::vector<Relative::Kind>& kinds, bool rotary, const Pattern& who,
            bool separate) {
  const int tokens = who.queries();
  Case c =
      make({.B = 2, .n = tokens, .H = H, .d = d, .packed = false, .kinds = kinds, .rotary = rotary, .drop = 0.1}, who);
  Case shared;
  const Tensor all = shared.leaf.emplace_back(Tensor({2, tokens, p.width}));
  const rng::Stream random(rng::mix(4));
  for (int64_t i = 0; i < all.size(); ++i)
    all[i] = static_cast<real>(static_cast<float>(random.normal(static_cast<uint64_t>(i))));
  const int from[] = {p.q, p.k, p.v};
  if (separate) {
    for (int part = 0; part < 3; ++part)
      for (int64_t i = 0; i < int64_t{2} * tokens; ++i)
        for (int ch = 0; ch < C; ++ch)
          c.leaf[static_cast<size_t>(part)][i * C + ch] = all[i * p.width + from[part] + ch];
    return c;
  }
  shared.name = {"qkv"};
  for (size_t i = 3; i < c.leaf.size(); ++i) shared.name.push_back(c.name[i]), shared.leaf.push_back(c.leaf[i]);
  shared.q = {0, H, 0, 1, p.q, d}, shared.k = {0, H, 0, 1, p.k, d}, shared.v = {0, H, 0, 1, p.v, d};
  shared.who = c.who, shared.terms = c.terms, shared.scale = c.scale, shared.dropout = c.dropout, shared.run = c.run;
  for (Case::Term& t : shared.terms) t.leaf -= 2;
  for (int i = 0; i < 4; ++i) shared.rotary[i] = c.rotary[i] < 0 ? -1 : c.rotary[i] - 2;
  return shared;
}

TWIN_CASE("attention: views of one tensor, overlapping or not: gradients add up") {
  const Kinds most{bias, query, key_, value, gate};
  const Pattern all = global_pattern(19, 19), labelled = windows(2, 0);
  for (const Placing& p : placings)
    for (const Pattern* who : {&all, &labelled})
      for (const bool rotary : {false, true}) {
        INFO(std::string(p.what));
        const Case shared = placed(p, most, rotary, *who, false), separate = placed(p, most, rotary, *who, true);
        same(shared);
        const std::vector<Tensor> one = shared.all(&attention), three = separate.all(&plain_attention);
        CHECK(distance(one[0], three[0]) < (twin ? 1e-12 : 1e-4));
        Tensor sum = zeros(one[1].shape());
        const int from[] = {p.q, p.k, p.v};
        for (size_t part = 0; part < 3; ++part)
          for (int64_t i = 0; i < three[part + 1].size() / C; ++i)
            for (int ch = 0; ch < C; ++ch) sum[i * p.width + from[part] + ch] += three[part + 1][i * C + ch];
        CHECK(distance(one[1], sum) < (twin ? 1e-12 : 1e-4));
        for (size_t i = 2; i < one.size(); ++i) CHECK(distance(one[i], three[i + 2], 1) < (twin ? 1e-12 : 1e-3));
      }
  for (const Placing& p : placings) {
    INFO(std::string(p.what));
    same(placed(p, {}, false, all, false));
    if (twin) CHECK(gradient_error(placed(p, {query}, false, all, false), &attention, 1) < 1e-6);
  }
}

TWIN_CASE("attention: overlapping heads have the same bits for 1, 2 and 3 threads") {
  struct Threads {
    int before = parallel::threads();
    ~Threads() { parallel::set_threads(before); }
  } restore;
  for (const Placing& p : placings) {
    if (p.width >= 3 * C) continue;
    INFO(std::string(p.what));
    const Case c = placed(p, {query}, false, global_pattern(400, 400), false);  // long enough that workers do meet
    parallel::set_threads(1);
    const std::vector<Tensor> one = c.all(&attention);
    for (const int threads : {2, 3}) {
      parallel::set_threads(threads);
      const std::vector<Tensor> more = c.all(&attention);
      for (size_t i = 0; i < one.size(); ++i) CHECK(distance(one[i], more[i]) == 0);
    }
  }
}

TWIN_CASE("attention: a reshaped handle is the same tensor") {
  const Tensor x0 = placed(placings[0], {}, false, global_pattern(7, 7), false).leaf[0].copy();
  const auto gradient = [&](Function f, bool reshaped) {
    Tape tape;
    const Tensor flat = tape.watch(x0.reshape({2 * 7, 3 * C}));
    const Tensor a = flat.reshape({2, 7, 3 * C}), b = reshaped ? flat.reshape({2, 7, 3 * C}) : a;
    const Tensor o = f({heads(a, H, 0, 3), heads(b, H, 0, 3), heads(a, H, 2, 3), global_pattern(7, 7), 0.3}, {}, {});
    Grads none;
    tape.backward(o, none);
    return tape.grad(flat);
  };
  const Tensor want = gradient(&plain_attention, false);
  CHECK(distance(want, gradient(&attention, true)) < (twin ? 1e-12 : 1e-4));
  CHECK(distance(gradient(&attention, false), gradient(&attention, true)) == 0);
}

TWIN_CASE("attention: one table in several terms: gradients add up") {
  Case c = make({.n = 9, .H = 2, .d = 8, .kinds = {query, key_}, .rows = 6});
  c.leaf.pop_back(), c.name.pop_back(), c.terms[1].leaf = c.terms[0].leaf;  // as Huang's method 4
  same(c);
  c.terms.push_back({value, c.terms[0].leaf, 0, c.terms[1].rho});
  same(c);
  if (twin) CHECK(gradient_error(c, &attention) < 1e-6);
}

// ---- selected gradients ----------------------------------------------------------------------------------------------

/// Whatever else is wanted, a gradient is what plain attention says; and nothing is written where nobody wants it (no leaf moves).
void selected(const Case& c) {
  const std::vector<Tensor> want = c.all(&plain_attention);
  double size = 0;
  for (size_t i = 1; i < want.size(); ++i) size = std::max(size, largest(want[i]));
  std::vector<Tensor> before;
  for (const Tensor& t : c.leaf) before.push_back(t.copy());
  const size_t n = c.leaf.size();
  std::vector<std::vector<bool>> choices;
  for (size_t i = 0; i < n; ++i) {
    std::vector<bool> only(n, false), but(n, true);
    only[i] = true, but[i] = false;
    choices.push_back(only), choices.push_back(but);
  }
  const rng::Stream random(rng::mix(31));
  for (uint64_t r = 0; r < 12; ++r) {
    std::vector<bool> some(n);
    for (size_t i = 0; i < n; ++i) some[i] = random.bits(r * n + i) & 1;
    if (std::find(some.begin(), some.end(), true) != some.end()) choices.push_back(some);
  }
  Pool::poison(true);
  for (const auto& wanted : choices)
    for (const bool inside : {false, true}) {
      std::optional<parallel::Shard> shard;
      if (inside) shard.emplace();
      const std::vector<Tensor> got = c.some(&attention, wanted);
      CHECK(distance(want[0], got[0]) < (twin ? 1e-12 : 1e-4));
      for (size_t i = 0; i < n; ++i) {
        if (!wanted[i]) continue;
        INFO(c.name[i] << " of " << std::count(wanted.begin(), wanted.end(), true) << " wanted");
        CHECK(distance(want[i + 1], got[i + 1], 0.1 * size) < (twin ? 1e-12 : 1e-4));
      }
    }
  Pool::poison(false);
  for (size_t i = 0; i < n; ++i) CHECK(distance(before[i], c.leaf[i]) == 0);
}

TWIN_CASE("attention: only some gradients are wanted") {
  const Kinds every{bias, query, key_, value, gate};
  for (const bool per_head : {false, true})
    for (const bool rotary : {false, true}) {
      selected(make({.n = 11, .d = 8, .packed = false, .per_head = per_head, .kinds = every, .rotary = rotary}));
      selected(make({.n = 11,
                     .m = 9,
                     .d = 12,
                     .per_head = per_head,
                     .kinds = every,
                     .gate_width = 12,
                     .rotary = rotary,
                     .halves = true,
                     .drop = 0.2,
                     .lengths = {9, 5}}));
    }
  selected(make({.n = 11, .d = 8, .kinds = {gate, gate, gate}, .gate_width = 8}));
  selected(make({.n = 9, .d = 8, .packed = false, .kinds = {query, key_, value}, .rows = 1, .holes = false}));
  const Pattern::Spec p = windows(2, -100);
  selected(make({.n = 64, .d = 8, .packed = false, .kinds = {bias, query, value, key_, gate}, .drop = 0.2}, p));
}

TWIN_CASE("attention: scores in blocks when only some gradients are wanted") {
  const int n = 300;
  selected(make({.B = 1, .n = n, .H = 1, .d = 8, .packed = false, .kinds = {bias, query, value}, .rows = n}));
}

}  // namespace
}  // namespace attention_test
}  // namespace TESSERA_NS
}  // namespace tessera
