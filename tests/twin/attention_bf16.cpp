// Attention under --precision bf16: fused against plain, which rounds the same operands, and both against fp32.
#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "tessera/core/precision.h"
#include "tests/twin/attention_made.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace attention_test {
namespace {

double norm(const Tensor& t) {
  double s = 0;
  for (const real v : t.values()) s += double(v) * double(v);
  return std::sqrt(s);
}
/// |a - b| over |b|, as vectors; NaN counts as infinite.
double off(const Tensor& a, const Tensor& b, double floor) {
  double s = 0;
  for (int64_t i = 0; i < a.size(); ++i) s += std::pow(double(a[i]) - double(b[i]), 2);
  const double size = std::max(norm(b), floor * std::sqrt(double(b.size())));
  return s >= 0 ? s > 0 ? std::sqrt(s) / size : 0 : INFINITY;
}

struct Worst {
  double rounding = 0, precision = 0;
};
Worst worst;

/// Fused is plain with the same roundings, in memory full of NaN, inside and outside of a shard; and fp32 is near.
///
/// Same roundings: two sums of fp32 that differ in their last bits may be rounded to neighbours in bf16, 2^-8 apart. That happens to one
/// weight in some hundred or thousand, so the error of a whole tensor is some 1e-4 of it. A rounding left out or done twice would be 2^-9 in
/// each of the terms of every sum, 1e-3 of the tensor.
///
/// fp32: a product has two operands that are off by up to 2^-9. A score of some N(0, 1) is a sum of such, is off by 0.003 on average, and takes its
/// weight with it, and so does its gradient: less than 1 % of a tensor, measured; twice that is allowed.
void rounds_alike(const Case& c) {
  if constexpr (!twin) {
    std::vector<Tensor> want, got, inside, exact = c.all(&attention);
    {
      const Computing in(Precision::bf16);
      want = c.all(&plain_attention);
      Pool::poison(true);
      got = c.all(&attention);
      parallel::Shard here;
      inside = c.all(&attention);
      Pool::poison(false);
    }
    double size = 0;  // gradients that vanish in exact arithmetic are measured against the largest one
    for (size_t i = 1; i < want.size(); ++i) size = std::max(size, largest(exact[i]));
    for (size_t i = 0; i < want.size(); ++i) {
      INFO((i ? c.name[i - 1] : std::string("output")));
      const double floor = i ? 0.05 * size : 1e-3;
      CHECK(off(got[i], want[i], floor) < 5e-4);
      CHECK(off(inside[i], want[i], floor) < 5e-4);
      CHECK(off(got[i], exact[i], floor) < 0.02);
      worst.rounding = std::max(worst.rounding, off(got[i], want[i], floor));
      worst.precision = std::max(worst.precision, off(got[i], exact[i], floor));
    }
  }
}

TWIN_CASE("attention in bf16: fused is plain with the same roundings at odd sizes") {
  for (const int n : {1, 5, 17, 65, 197})
    for (const int d : {8, 13, 16, 24, 32, 64}) {
      if (n == 197 && d != 32 && d != 13) continue;
      CAPTURE(n);
      CAPTURE(d);
      rounds_alike(make({.n = n, .d = d}));
      rounds_alike(make({.n = n, .m = n + 5, .d = d}));
      rounds_alike(make({.n = n + 4, .m = n, .d = d, .dv = 24, .packed = false}));
    }
  MESSAGE("furthest from plain " << worst.rounding << ", from fp32 " << worst.precision);
}

TWIN_CASE("attention in bf16: fused is plain with the same roundings under every term, rotation, dropout and length") {
  worst = {};
  for (const int n : {5, 17, 65}) {
    CAPTURE(n);
    for (const bool per_head : {false, true})
      for (const auto kind : {bias, query, key_, value, gate}) {
        CAPTURE(int(kind));
        rounds_alike(make({.n = n, .d = 16, .per_head = per_head, .kinds = {kind}, .rows = 9}));
        rounds_alike(make({.n = n, .m = n + 3, .d = 24, .per_head = per_head, .kinds = {kind, kind}, .rows = 40}));
      }
    rounds_alike(make({.n = n, .d = 24, .kinds = {gate}, .gate_width = 24}));
    for (const bool halves : {false, true}) rounds_alike(make({.n = n, .d = 32, .rotary = true, .halves = halves}));
    rounds_alike(make({.n = n, .d = 32, .drop = 0.3}));
    rounds_alike(make({.n = n, .d = 32, .lengths = {n, (n + 1) / 2}}));
    rounds_alike(make({.n = n,
                       .d = 32,
                       .per_head = true,
                       .kinds = {query, key_, value, bias, gate},
                       .rotary = true,
                       .drop = 0.2,
                       .lengths = {n - 1, n}}));
  }
  MESSAGE("furthest from plain " << worst.rounding << ", from fp32 " << worst.precision);
}

TWIN_CASE("attention in bf16: side projections, turned values, windows, causal and per-head masks") {
  for (const int n : {5, 17, 65}) {
    CAPTURE(n);
    for (const auto kind : {query, key_}) {
      Case c = make({.n = n, .d = 16});
      const int width = 6, table = c.add("table", {2, 7, width}), side = c.add("side", {2, n, 2 * width});
      c.terms.push_back({kind, table, 0, random_pairs(n, n, 7, 1, true, 3), side, n == 17});
      rounds_alike(c);
    }
    Case turned = make({.n = n, .d = 16, .rotary = true});
    turned.values = true;
    rounds_alike(turned);
    Pattern::Spec causal = *global_pattern(n, n);
    causal.causal = true;
    rounds_alike(make({.n = n, .d = 32}, causal));
    Case masked = make({.n = n, .d = 32});
    std::vector<bool> sees(static_cast<size_t>(2 * n * n));
    for (size_t i = 0; i < sees.size(); ++i) sees[i] = i % 3 != 0;
    masked.mask = HeadMask(2, n, n, sees);
    rounds_alike(masked);
  }
  for (const int shift : {0, 2}) rounds_alike(make({.n = 64, .d = 32, .kinds = {bias}}, windows(shift, 0)));
}

TWIN_CASE("attention in bf16: without content all images of a head have the same weights, in part and whole tiles") {
  for (const int n : {5, 17, 65})
    for (const bool per_head : {true, false}) {
      CAPTURE(n);
      Case c = make({.B = 3, .n = n, .d = 32, .per_head = per_head, .kinds = {bias}});
      c.scale = 0;
      rounds_alike(c);
      Pattern::Spec causal = *global_pattern(n, n);
      causal.causal = true;
      Case before = make({.B = 2, .n = n, .d = 24, .per_head = per_head, .kinds = {bias, bias}}, causal);
      before.scale = 0;
      rounds_alike(before);
    }
}

TWIN_CASE(
    "attention in bf16: a NaN stays in its row, what a mask or a length hides is not seen, precision is that of the "
    "call") {
  if constexpr (!twin) {
    const real nan = std::numeric_limits<real>::quiet_NaN();
    Case c = make({.n = 17, .d = 16, .packed = false, .lengths = {17, 9}});
    const auto output = [&] {
      const Computing in(Precision::bf16);
      return c.value(&attention);
    };
    const Tensor clean = output();
    c.leaf[1][1 * 17 * 32 + 12 * 32] = c.leaf[2][1 * 17 * 32 + 12 * 32] = nan;  // a key beyond the length of sample 1
    const Tensor hidden = output();
    CHECK(std::equal(clean.data(), clean.data() + clean.size(), hidden.data()));
    c.leaf[0][3 * 32] = nan;  // query 3 of sample 0, head 0
    const Tensor seen = output();
    for (int64_t i = 0; i < seen.size(); ++i) CHECK(std::isnan(seen[i]) == (i / 16 == 2 * 3));

    std::optional<Tape> tape(std::in_place);  // a call made in bf16 has its gradient in bf16, whatever comes later
    Case plain = make({.n = 17, .d = 16});
    const auto gradient = [&](Precision later) {
      const Tensor x = tape->watch(plain.leaf[0]);
      Tensor o;
      {
        const Computing in(Precision::bf16);
        o = plain(&attention, {x});
      }
      const Computing in(later);
      Grads none;
      tape->backward(o, plain.cotangent(o.shape()), none);
      return tape->grad(x).copy();
    };
    const Tensor one = gradient(Precision::bf16);
    tape.emplace();
    const Tensor other = gradient(Precision::f32);
    CHECK(std::equal(one.data(), one.data() + one.size(), other.data()));
  }
}

}  // namespace
}  // namespace attention_test
}  // namespace TESSERA_NS
}  // namespace tessera
