// Fused against plain attention, in value and in every gradient, and both against differences.
#include <algorithm>

#include "tessera/core/ops/arithmetic.h"
#include "tessera/core/ops/reduce.h"
#include "tessera/core/ops/slice.h"
#include "tests/twin/attention_made.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace attention_test {
namespace {

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

TWIN_CASE("attention: fused is plain at odd sizes") {
  for (const int n : {1, 2, 7, 31, 32, 33, 65, 100})
    for (const int d : {1, 8, 13, 32, 40, 128}) {
      if (n > 65 && d > 40) continue;
      CAPTURE(n);
      CAPTURE(d);
      same(make({.n = n, .d = d}));
      if (d != 13 && d != 40) continue;
      same(make({.n = n, .d = d, .packed = false}));
      same(make({.n = n, .d = d, .dv = 24, .packed = false}));
      same(make({.n = n, .m = n + 5, .d = d}));
      same(make({.n = n + 5, .m = n, .d = d}));
    }
}

TWIN_CASE("attention: fused is plain under every kind of term") {
  for (const int n : {1, 7, 33, 65})
    for (const bool per_head : {false, true})
      for (const bool holes : {false, true})
        for (const auto kind : {bias, query, key_, value, gate})
          for (const int rows : {1, 5, 200}) {
            CAPTURE(n);
            CAPTURE(int(kind));
            CAPTURE(rows);
            same(make({.n = n, .d = 16, .per_head = per_head, .kinds = {kind}, .rows = rows, .holes = holes}));
            if (kind == query || kind == key_ || kind == value)
              same(make({.n = n,
                         .m = n + 3,
                         .d = 20,
                         .per_head = per_head,
                         .kinds = {kind, kind},
                         .rows = rows,
                         .first = 7,
                         .holes = holes}));
            if (kind == gate) {
              same(make({.n = n, .d = 16, .per_head = per_head, .kinds = {gate, gate}, .rows = rows, .holes = holes}));
              same(make({.n = n,
                         .d = 20,
                         .per_head = per_head,
                         .kinds = {gate, gate},
                         .rows = rows,
                         .gate_width = 20,
                         .holes = holes}));
            }
          }
}

TWIN_CASE("attention: fused is plain under rotations") {
  for (const int n : {1, 7, 33})
    for (const bool per_head : {false, true})
      for (const bool halves : {false, true})
        for (const int d : {2, 8, 12, 32, 40, 64}) {
          same(make({.n = n, .d = d, .per_head = per_head, .rotary = true, .halves = halves}));
          same(make({.n = n,
                     .m = n + 2,
                     .d = d,
                     .per_head = per_head,
                     .kinds = {key_, query, key_},
                     .rotary = true,
                     .halves = halves}));
        }
}

TWIN_CASE("attention: fused is plain with everything at once") {
  for (const int n : {7, 33, 66})
    for (const bool per_head : {false, true})
      for (const double p : {0.0, 0.25}) {
        const Kinds most{query, bias, key_, value, gate, bias, query, key_, value, gate};
        for (const bool rotary : {false, true}) {
          const std::vector<int32_t> lengths{n, n / 2, 1};
          same(make({.B = 3,
                     .n = n,
                     .H = 3,
                     .d = 24,
                     .per_head = per_head,
                     .kinds = most,
                     .rows = 11,
                     .rotary = rotary,
                     .drop = p,
                     .lengths = lengths}));
          same(make({.B = 3,
                     .n = n,
                     .H = 3,
                     .d = 24,
                     .dv = 10,
                     .packed = false,
                     .per_head = per_head,
                     .kinds = most,
                     .rows = 60,
                     .gate_width = 24,
                     .rotary = rotary,
                     .drop = p,
                     .lengths = lengths}));
        }
      }
}

TWIN_CASE("attention: one gate is zero and has its gradient") {
  Case c = make({.n = 9, .d = 8, .kinds = {gate, gate}, .rows = 2});
  c.leaf[1][0] = 0;
  same(c);
  Case wide = make({.n = 9, .d = 8, .kinds = {gate, gate}, .rows = 2, .gate_width = 8});
  for (int i = 0; i < 8; ++i) wide.leaf[1][i] = 0;
  same(wide);
  if (twin) CHECK(gradient_error(wide, &attention) < 1e-6);
}

// ---- patterns
// ----------------------------------------------------------------------------------------------------------

/// 3 x 3 neighbourhoods on a 5 x 4 map: one query a group, keys that overlap and are absent at borders.
Pattern neighbourhoods(Pattern::Absent absent) {
  Pattern::Spec p;
  p.groups = 20, p.n = 1, p.m = 9, p.absent = absent;
  for (int i = 0; i < 20; ++i) {
    p.q.push_back(i);
    for (int j = 0; j < 9; ++j) {
      const int y = i / 4 + j / 3 - 1, x = i % 4 + j % 3 - 1;
      p.k.push_back(y < 0 || y > 4 || x < 0 || x > 3 ? -1 : y * 4 + x);
    }
  }
  return p;
}

TWIN_CASE("attention: fused is plain in windows, with labels, per-group indices, and padding") {
  const Kinds most{bias, query, key_, value, gate, gate};
  for (const int shift : {0, 2})
    for (const float penalty : {0.0f, -100.0f, -2.0f})
      for (const bool per_head : {false, true}) {
        const Pattern::Spec p = windows(shift, penalty);
        same(make({.n = 64, .d = 8, .per_head = per_head}, p));
        same(make({.n = 64, .d = 8, .per_head = per_head, .kinds = {bias, bias}, .rows = 49}, p));
        same(make({.n = 64, .d = 12, .per_head = per_head, .kinds = most, .rows = 13, .rotary = true, .drop = 0.2}, p));
      }
  Pattern::Spec padded =
      windows(2, 0);  // tokens 60.. do not exist, neither as queries nor as keys; token 5 is in no group
  for (Index* at : {&padded.q, &padded.k})
    for (int32_t& t : *at)
      if (t >= 60 || t == 5) t = -1;
  same(make({.n = 64, .d = 8, .kinds = most, .rotary = true, .drop = 0.2}, padded));
}

TWIN_CASE("attention: fused is plain in neighbourhoods") {
  for (const auto absent : {Pattern::Absent::masked, Pattern::Absent::zero_key})
    for (const double drop : {0.0, 0.3}) {
      const Pattern p = neighbourhoods(absent);
      same(make({.n = 20, .d = 8, .drop = drop}, p));
      same(make({.n = 20,
                 .d = 16,
                 .kinds = {query, query, value, key_, bias, gate},
                 .rows = 9,
                 .drop = drop,
                 .lengths = {20, 13}},
                p));
    }
}

TWIN_CASE(
    "attention: where absent keys are zero keys, so is padding: a sample is what it is alone, and padding gets no "
    "gradient") {
  const auto line = [](int T, int reach) {  // one query a group, and the keys around it
    Pattern::Spec p;
    p.groups = T, p.n = 1, p.m = 2 * reach + 1, p.absent = Pattern::Absent::zero_key;
    for (int t = 0; t < T; ++t) {
      p.q.push_back(t);
      for (int j = t - reach; j <= t + reach; ++j) p.k.push_back(j < 0 || j >= T ? -1 : j);
    }
    return p;
  };
  const int n = 6;
  for (const Kinds& kinds : {Kinds{}, Kinds{query, query, value}})
    for (const Function f : {&attention, &plain_attention}) {
      Case padded = make({.B = 1, .n = 10, .kinds = kinds, .rows = 5, .holes = false, .lengths = {n}}, line(10, 2));
      Case alone = padded;
      alone.who = line(n, 2), alone.lengths.clear();
      alone.leaf[0] = slice(padded.leaf[0], 1, 0, n).copy();
      for (size_t t = 0; t < kinds.size(); ++t)  // the same index for every group
        for (Case* c : {&padded, &alone}) c->terms[t].rho = RelativeIndex::Spec{1, 5, 5, {0, 1, 2, 3, 4}, 1};
      Tape tape;
      const auto walked = [&](const Case& c) {
        std::vector<Tensor> x;
        for (const Tensor& leaf : c.leaf) x.push_back(tape.watch(leaf));
        return std::pair(x[0], slice(c(f, x), 1, 0, n));
      };
      const auto [x, y] = walked(padded);
      const auto [x0, y0] = walked(alone);
      CHECK(distance(y, y0) <= (twin ? 1e-14 : 1e-6));
      Grads none;
      const Tensor w = padded.cotangent(y.shape());
      tape.backward(sum(add(mul(y, w), mul(y0, w))), none);
      const Tensor dx = tape.grad(x), dx0 = tape.grad(x0);
      CHECK(distance(slice(dx, 1, 0, n), dx0) <= (twin ? 1e-13 : 1e-5));
      for (const real v : slice(dx, 1, n, 10).values()) CHECK(v == 0);
    }
  Pattern::Spec everyone = *global_pattern(7, 7);
  everyone.absent = Pattern::Absent::zero_key;
  same(make({.n = 7, .kinds = {bias, query, key_, value}, .lengths = {4, 7}}, everyone));
  same(make({.n = 7, .kinds = {bias, query, key_, value}, .rotary = true, .lengths = {0, 5}}, everyone));
}

TWIN_CASE("attention: fused is plain under causal masks, memory, no-self and lengths") {
  const Kinds most{bias, query, key_, value};
  for (const int n : {1, 6, 35}) {
    Pattern::Spec p = *global_pattern(n, n);
    p.causal = true;
    same(make({.n = n, .kinds = most}, p));
    p.no_self = true;  // the first query sees nothing
    same(make({.n = n, .kinds = most, .drop = 0.5}, p));
    p.mask_value = -3;
    same(make({.n = n, .kinds = most, .lengths = {n, n / 2}}, p));
    Pattern::Spec memory = *global_pattern(n, n + 20);
    memory.causal = true, memory.offset = 20;
    same(make({.n = n, .m = n + 20, .kinds = most}, memory));
    same(make({.n = n, .m = 3, .kinds = most, .lengths = {0, 2}}));
  }
}

TWIN_CASE("attention: rows in blocks, when scores leave the cache") {
  const int n = 300;
  same(make({.B = 1, .n = n, .d = 16, .kinds = {query, value, key_, bias}, .rows = 2 * n}));
  same(make({.B = 2, .n = n, .d = 16, .per_head = true, .kinds = {gate, bias, gate}, .rows = n, .rotary = true}));
  Pattern::Spec p = *global_pattern(n, n);
  p.causal = true;
  same(make({.B = 1, .n = n, .d = 16, .drop = 0.1, .lengths = {250}}, p));
}

TWIN_CASE("attention: a query that may see nothing gives output 0 and gradient 0") {
  const Case c = make({.n = 5, .kinds = {bias, query, key_, value}, .lengths = {0, 5}});
  for (const Function f : {&attention, &plain_attention}) {
    const std::vector<Tensor> all = c.all(f);
    const int64_t half = all[0].size() / 2, qkv = all[1].size() / 2;
    for (int64_t i = 0; i < half; ++i) CHECK(all[0][i] == 0);
    for (int64_t i = 0; i < qkv; ++i) CHECK(all[1][i] == 0);
  }
}

TWIN_CASE("attention: scale 0 leaves the biases alone") {
  Case c = make({.n = 9, .kinds = {bias, query, key_, value, gate}});
  c.scale = 0;
  same(c);
}

TWIN_CASE("attention: without content all images of a head have the same weights, over groups, masks and absent keys") {
  for (const bool per_head : {true, false}) {
    Case c = make({.B = 3, .n = 9, .per_head = per_head, .kinds = {bias, bias}});
    c.scale = 0;
    same(c);
    Pattern::Spec windows{.groups = 2, .n = 5, .m = 5};
    windows.q = {0, 1, 2, 3, -1, 4, 5, 6, 7, 8}, windows.k = {8, 7, -1, 5, 4, 3, 2, 1, 0, -1};
    Case parts = make({.B = 3, .n = 9, .per_head = per_head, .kinds = {bias}, .rows = 4}, windows);
    parts.scale = 0;
    same(parts);
    Pattern::Spec causal = *global_pattern(9, 9);
    causal.causal = true;
    Case before = make({.B = 2, .n = 9, .per_head = per_head, .kinds = {bias}}, causal);
    before.scale = 0;
    same(before);
  }
}

/// Output bits are the same when everything a query may not see changes.
void no_leak(const Case& c, const std::vector<int>& changed_tokens, const std::vector<int>& safe_tokens) {
  const Tensor before = c.value(&attention);
  Case moved = c;
  const Tensor& x = c.leaf[static_cast<size_t>(c.k.leaf)];
  moved.leaf[static_cast<size_t>(c.k.leaf)] = x.copy();
  const int C = x.dim(2), from = c.k.parts == 3 ? C / 3 : 0;  // keys and values, not the queries beside them
  for (int b = 0; b < x.dim(0); ++b)
    for (const int t : changed_tokens)
      for (int ch = from; ch < C; ++ch) moved.leaf[static_cast<size_t>(c.k.leaf)][(b * x.dim(1) + t) * C + ch] += 3;
  const Tensor after = moved.value(&attention);
  const int width = before.dim(2);
  for (int b = 0; b < before.dim(0); ++b)
    for (const int t : safe_tokens)
      for (int ch = 0; ch < width; ++ch) {
        const int64_t at = (int64_t{b} * before.dim(1) + t) * width + ch;
        REQUIRE(before[at] == after[at]);
      }
}

TWIN_CASE("attention: nothing leaks through masks, bit for bit") {
  const Kinds most{bias, query, key_, value};
  Pattern::Spec causal = *global_pattern(33, 33);
  causal.causal = true;
  for (int t = 0; t < 33; ++t) {
    std::vector<int> later, now;
    for (int i = 0; i < 33; ++i) (i > t ? later : now).push_back(i);
    no_leak(make({.n = 33, .kinds = most}, causal), later, now);
  }
  no_leak(make({.n = 33, .kinds = most, .lengths = {20, 20}}), {20, 25, 32}, {0, 19, 20, 32});
  const Pattern::Spec p = windows(2, 0);
  for (int t = 0; t < 64; ++t) {
    std::vector<int> unseen;  // tokens of another window or region
    const auto place = [&](int token) { return std::find(p.q.begin(), p.q.end(), token) - p.q.begin(); };
    for (int i = 0; i < 64; ++i)
      if (place(i) / 16 != place(t) / 16 ||
          p.label_q[static_cast<size_t>(place(i))] != p.label_q[static_cast<size_t>(place(t))])
        unseen.push_back(i);
    no_leak(make({.n = 64, .kinds = {bias}}, p), unseen, {t});
  }
}

TWIN_CASE("attention: weights are what the output was made of") {
  const Case c = make({.n = 9, .H = 1, .d = 4, .kinds = {bias, query, key_, gate}});
  Terms where;
  for (const Case::Term& t : c.terms) where.add({t.kind, c.leaf[static_cast<size_t>(t.leaf)], t.first, t.rho});
  const Tensor w = attention_weights(c.query(c.leaf), where), o = c.value(&attention);
  const Heads v = Case::view(c.v, c.leaf);
  for (int b = 0; b < 2; ++b)
    for (int i = 0; i < 9; ++i)
      for (int ch = 0; ch < 4; ++ch) {
        double s = 0;
        for (int j = 0; j < 9; ++j)
          s += double(w[(b * 9 + i) * 9 + j]) * double(v.x[(b * 9 + j) * v.stride + v.offset + ch]);
        CHECK(s == doctest::Approx(double(o[(b * 9 + i) * 4 + ch])).epsilon(1e-5));
      }
}

TWIN_CASE("attention: dropout keeps 1 - p of the weights and follows (seed, step, sample, layer), not the batch") {
  Case c = make({.B = 4, .n = 64, .H = 2, .d = 8, .drop = 0.25});
  const Tensor once = c.value(&attention), again = c.value(&attention);
  CHECK(distance(once, again) == 0);
  // sample 2 alone, at its place in the batch, draws the same
  Case alone = c;
  alone.leaf[0] = Tensor({1, 64, c.leaf[0].dim(2)});
  std::copy_n(c.leaf[0].data() + 2 * alone.leaf[0].size(), alone.leaf[0].size(), alone.leaf[0].data());
  alone.run.first += 2;
  const Tensor part = alone.value(&attention);
  for (int64_t i = 0; i < part.size(); ++i) REQUIRE(part[i] == once[2 * part.size() + i]);
  c.run.step += 1;
  CHECK(distance(once, c.value(&attention)) > 0.1);
  c.run.mode = Mode::eval;
  c.dropout.p = 0.9;
  CHECK(distance(c.value(&attention), make({.B = 4, .n = 64, .H = 2, .d = 8}).value(&attention)) == 0);
  // the share that is kept: v = 1, q = 0 makes o = kept / (n (1 - p))
  Case flat = make({.B = 8, .n = 100, .H = 2, .d = 8, .packed = false, .drop = 0.25});
  flat.leaf[0] = zeros(flat.leaf[0].shape()), flat.leaf[2] = full(flat.leaf[2].shape(), 1);
  const Tensor o = flat.value(&attention);
  double mean = 0;
  for (const real x : o.values()) mean += double(x) / double(o.size());
  CHECK(std::abs(mean - 1) < 5 * std::sqrt(0.25 / 0.75 / (8.0 * 2 * 100 * 100)));  // five standard deviations
}

}  // namespace
}  // namespace attention_test
}  // namespace TESSERA_NS
}  // namespace tessera
