// Side terms, values that travel, masks per head and keys of another width than values: the fused attention against the plain one, values
// and all gradients; in double against differences; and against the forms that need none of it.
#include "tests/twin/attention_made.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace attention_test {
namespace {

/// Gives term t a side projection of width w, and a table to fit.
void aside(Case& c, size_t t, int w, bool outside, int tokens) {
  Case::Term& term = c.terms[t];
  const Tensor& table = c.leaf[static_cast<size_t>(term.leaf)];
  term.leaf = c.add("table of u", {table.dim(0), table.dim(1), w});
  term.first = 0, term.outside = outside;
  term.side = c.add("u", {c.leaf[0].dim(0), tokens, c.q.heads * w});
}

/// Without the leaves that nobody uses any more: they get no gradient.
Case tidy(const Case& c) {
  Case out = c;
  std::vector<int> now(c.leaf.size(), -1);
  const auto use = [&](int& leaf) {
    if (leaf < 0) return;
    const auto i = static_cast<size_t>(leaf);
    if (now[i] < 0)
      now[i] = static_cast<int>(out.leaf.size()), out.leaf.push_back(c.leaf[i]), out.name.push_back(c.name[i]);
    leaf = now[i];
  };
  out.leaf.clear(), out.name.clear();
  use(out.q.leaf), use(out.k.leaf), use(out.v.leaf);
  for (Case::Term& t : out.terms) use(t.leaf), use(t.side);
  for (int& r : out.rotary) use(r);
  return out;
}

void check(const Case& c) {
  same(c);
  if (twin) CHECK(gradient_error(c, &attention, 1) < 1e-6);
}

HeadMask some_pairs(int H, int n, int m) {
  std::vector<bool> sees;
  for (int h = 0; h < H; ++h)
    for (int i = 0; i < n; ++i)
      for (int j = 0; j < m; ++j) sees.push_back(i == j || (i * 7 + j * 5 + h * 3) % 4 != 0);
  return {H, n, m, sees};
}

TWIN_CASE("attention: side projections of queries and keys, inside and outside of scale") {
  for (const bool per_head : {false, true})
    for (const bool outside : {false, true})
      for (const int w : {1, 2, 5, 16}) {
        CAPTURE(w);
        Case c =
            make({.n = 9, .per_head = per_head, .kinds = {query, key_, bias, query, key_}, .rows = 6, .drop = 0.2});
        aside(c, 0, w, outside, 9), aside(c, 1, w, outside, 9);
        check(tidy(c));
      }
  // beside rotation, gates, masks, lengths; other counts of keys; a key term of one row
  Case c = make({.n = 9, .kinds = {query, key_, gate, query}, .rows = 6, .rotary = true, .lengths = {9, 4}});
  aside(c, 0, 3, true, 9), aside(c, 1, 2, false, 9);
  check(tidy(c));
  c = make({.n = 6, .m = 11, .kinds = {query, key_}, .rows = 7});
  aside(c, 0, 3, false, 6), aside(c, 1, 4, true, 11);
  check(tidy(c));
  for (const bool outside : {false, true}) {
    c = make({.n = 6, .kinds = {key_, query}, .rows = 1, .holes = false, .rotary = true, .lengths = {5, 6}});
    aside(c, 0, 4, outside, 6), aside(c, 1, 4, outside, 6);  // softmax does not see the second
    check(tidy(c));
  }
}

TWIN_CASE("attention: side projections in windows, under causal masks, and in blocks of rows") {
  const Pattern shifted = windows(2, -100);
  Case c = make({.n = 64, .d = 12, .kinds = {query, key_, value}, .rows = 13, .drop = 0.1}, shifted);
  aside(c, 0, 3, true, 64), aside(c, 1, 5, false, 64);
  same(tidy(c));
  Pattern::Spec causal = *global_pattern(300, 300);
  causal.causal = true;
  c = make({.B = 1, .n = 300, .d = 16, .kinds = {query, key_}, .rows = 99}, causal);
  aside(c, 0, 7, true, 300), aside(c, 1, 7, false, 300);
  same(tidy(c));
}

TWIN_CASE("attention: a side projection is what padded channels would be, and may share a tensor with q, k and v") {
  const int n = 9, H = 2, d = 8, w = 4;
  Case c = make({.n = n, .H = H, .d = d, .packed = false, .kinds = {query}, .rows = 5});
  aside(c, 0, w, false, n);
  c = tidy(c);
  // q2 = [q | u], k2 = [k | 0], the table's columns from channel d on
  Case padded = c;
  padded.q.leaf = padded.add("q | u", {2, n, H * (d + w)}), padded.k.leaf = padded.add("k | 0", {2, n, H * (d + w)}, 0);
  const Tensor &q = c.leaf[0], &k = c.leaf[1], &u = c.leaf[static_cast<size_t>(c.terms[0].side)];
  Tensor &q2 = padded.leaf[static_cast<size_t>(padded.q.leaf)], &k2 = padded.leaf[static_cast<size_t>(padded.k.leaf)];
  for (int64_t t = 0; t < 2 * n * H; ++t) {
    for (int i = 0; i < d; ++i) q2[t * (d + w) + i] = q[t * d + i], k2[t * (d + w) + i] = k[t * d + i];
    for (int i = 0; i < w; ++i) q2[t * (d + w) + d + i] = u[t * w + i];
  }
  padded.terms[0].side = -1, padded.terms[0].first = d;
  CHECK(distance(c.value(&attention), padded.value(&attention)) < (twin ? 1e-13 : 1e-5));
  // one tensor for all four: [q | k | v | u], as one projection would make it
  const Tensor all = zeros({2, n, 3 * H * d + H * d});
  const rng::Stream random(5);
  for (int64_t i = 0; i < all.size(); ++i)
    all[i] = static_cast<real>(static_cast<float>(random.normal(static_cast<uint64_t>(i))));
  const auto gradient = [&](Function f) {
    Tape tape;
    const Tensor x = tape.watch(all);
    Terms where;
    where.add({query, full({1, 5, d}, real(0.3)), 0, c.terms[0].rho, heads(x, H, 3, 4), true});
    const Tensor o = f({heads(x, H, 0, 4), heads(x, H, 1, 4), heads(x, H, 2, 4), c.who, 0.4}, where, {});
    Grads none;
    tape.backward(o, c.cotangent(o.shape()), none);
    return tape.grad(x);
  };
  Pool::poison(true);
  CHECK(distance(gradient(&plain_attention), gradient(&attention)) < (twin ? 1e-12 : 1e-4));
  Pool::poison(false);
}

TWIN_CASE("attention: values that travel with the rotation") {
  for (const bool halves : {false, true})
    for (const int d : {4, 8, 12, 18}) {
      CAPTURE(d);
      for (const bool per_head : {false, true}) {
        Case c = make({.n = 9,
                       .d = d,
                       .per_head = per_head,
                       .kinds = {bias, query, key_},
                       .rotary = true,
                       .halves = halves,
                       .drop = 0.2});
        c.values = true;
        check(c);
      }
      Case c = make({.n = 5, .m = 8, .d = d, .packed = false, .rotary = true, .halves = halves, .lengths = {3, 8}});
      c.values = true;
      check(c);
    }
  Case c = make({.n = 64, .d = 8, .kinds = {bias}, .rotary = true}, windows(2, 0));
  c.values = true;
  same(c);
  c = make({.B = 1, .n = 300, .d = 16, .rotary = true});
  c.values = true;
  same(c);
  // only some are wanted: nothing depends on which
  c = make({.n = 7, .packed = false, .rotary = true});
  c.values = true;
  const std::vector<Tensor> all = c.all(&attention);
  for (size_t l = 0; l < c.leaf.size(); ++l) {
    std::vector<bool> wanted(c.leaf.size());
    wanted[l] = true;
    CHECK(distance(c.some(&attention, wanted)[l + 1], all[l + 1]) == 0);
  }
}

TWIN_CASE("attention: a mask per head") {
  for (const int H : {1, 2}) {
    for (const double drop : {0.0, 0.3}) {
      Case c =
          make({.n = 9, .kinds = {bias, query, key_, value, gate}, .rotary = true, .drop = drop, .lengths = {9, 6}});
      c.mask = some_pairs(H, 9, 9);
      check(c);
    }
    Case c = make({.n = 64, .d = 8, .kinds = {bias}}, windows(2, -100));
    c.mask = some_pairs(H, 16, 16);
    same(c);
    c = make({.B = 1, .n = 300, .d = 8});
    c.mask = some_pairs(H, 300, 300);
    same(c);
  }
  // what a head may not see, it does not see: bit for bit, and the other head does
  Case c = make({.B = 1, .n = 6, .H = 2, .d = 4, .packed = false});
  std::vector<bool> sees(72, true);
  for (int i = 0; i < 6; ++i) sees[static_cast<size_t>(i * 6 + 5)] = i == 5;  // head 0: key 5 is for query 5 alone
  c.mask = HeadMask(2, 6, 6, sees);
  Case other = c;
  other.leaf[1] = c.leaf[1].copy(), other.leaf[2] = c.leaf[2].copy();
  for (int ch = 0; ch < 8; ++ch) other.leaf[1][5 * 8 + ch] += 1, other.leaf[2][5 * 8 + ch] += 1;
  const Tensor a = c.value(&attention), b = other.value(&attention);
  for (int i = 0; i < 5; ++i)
    for (int ch = 0; ch < 8; ++ch) CHECK((a[i * 8 + ch] == b[i * 8 + ch]) == (ch < 4));
  // a row of nothing: output and gradients 0, as behind any other mask
  c.mask = HeadMask(1, 6, 6, std::vector<bool>(36, false));
  for (const Tensor& t : c.all(&attention)) CHECK(largest(t) == 0);
}

TWIN_CASE("attention: keys of another width than values") {
  const Kinds most{bias, query, key_, value, gate};
  for (const auto& [d, dv] : {std::pair(4, 12), {16, 4}, {7, 9}, {1, 8}, {8, 1}}) {
    CAPTURE(d);
    CAPTURE(dv);
    check(make({.n = 7, .d = d, .dv = dv, .packed = false, .kinds = most, .drop = 0.2}));
    check(
        make({.n = 5, .m = 8, .d = d, .dv = dv, .packed = false, .per_head = true, .kinds = most, .lengths = {8, 3}}));
    same(make({.n = 64, .d = d, .dv = dv, .packed = false, .kinds = most, .rows = 9}, windows(2, 0)));
    if (d % 2 == 0) check(make({.n = 7, .d = d, .dv = dv, .packed = false, .kinds = {query, value}, .rotary = true}));
  }
  same(make({.B = 1, .n = 300, .d = 8, .dv = 24, .packed = false, .kinds = {query, value}, .rows = 50}));
}

}  // namespace
}  // namespace attention_test
}  // namespace TESSERA_NS
}  // namespace tessera
