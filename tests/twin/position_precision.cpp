// Coordinates, distances, angles and the tables made of them are fp32 whatever --precision is: every registered encoding gives the same
// bits under bf16 as under f32, forward and backward. Where it computes the attention itself, or changes queries and keys before it, the attention
// is in bf16, and what it gives is as near as that allows.
#include <algorithm>
#include <cmath>

#include "tessera/core/ops/arithmetic.h"
#include "tessera/core/ops/linear.h"
#include "tessera/core/ops/reduce.h"
#include "tessera/core/ops/resize_grid.h"
#include "tessera/core/precision.h"
#include "tests/twin/position_walk.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace walk {
namespace {

std::vector<real> numbers(const Tensor& t) {
  return t ? std::vector<real>(t.data(), t.data() + t.size()) : std::vector<real>();
}

/// What an encoding computes from places in one precision: its tables, angles and side projections at every attention, what it adds to tokens, what its own
/// attention gives; then the gradient of each of its parameters.
std::vector<std::vector<real>> made(const PositionEncoding& encoding, const Places& places, const Params& params,
                                    const std::function<Layout(Layout)>& at, bool attends, Precision precision) {
  const Computing in(precision);
  std::vector<std::vector<real>> all;
  Grads grads;
  Tape tape;
  Tensor loss = zeros({1});
  const auto take = [&](const Tensor& t, std::string_view what) {
    all.push_back(numbers(t));
    if (!t) return;
    Tensor weight(t.shape());
    for (int64_t i = 0; i < t.size(); ++i) weight[i] = rounded(normal_at(what, i));
    loss = add(loss, sum(mul(t, weight), {}).reshape({1}));
  };
  for (const Site& s : places.sites) {
    const Layout now = at(s.trained);
    Tensor tokens({1, now.q.tokens(), s.dim});
    for (int64_t i = 0; i < tokens.size(); ++i) tokens[i] = rounded(normal_at("inputs", i));
    const Terms terms = encoding.terms(s, now, {tokens, tokens}, Run{});
    for (const Tensor& t : {terms.rotary.cos_q, terms.rotary.sin_q, terms.rotary.cos_k, terms.rotary.sin_k})
      take(t, "angles");
    for (int i = 0; i < terms.count; ++i) {
      take(terms.relative[static_cast<size_t>(i)].table, "table");
      take(terms.relative[static_cast<size_t>(i)].side.x, "side");
    }
    if (!attends || now.window.h) continue;
    Tensor x({1, now.q.tokens(), s.heads * s.head_dim});
    for (int64_t i = 0; i < x.size(); ++i) x[i] = rounded(normal_at("tokens", i));
    const Heads h = heads(x, s.heads);
    take(encoding.attend(s, now, {h, h, h, global_pattern(now.q.tokens(), now.q.tokens()), s.scale}, {tokens, tokens},
                         Run{}),
         "attended");
  }
  for (const Spot& s : places.tokens) {
    Layout l;
    l.q = l.k = s.trained;
    const Grid now = at(l).q;
    Tensor x({1, now.tokens(), s.dim});
    for (int64_t i = 0; i < x.size(); ++i) x[i] = rounded(normal_at("tokens", i));
    take(encoding.tokens(s, now, x, Run{}), "added");
  }
  if (tracked(loss)) tape.backward(loss, grads);
  for (const auto& e : params.entries())
    all.push_back(grads.has(e.value) ? numbers(grads.of(e.value)) : std::vector<real>());
  return all;
}

/// The largest distance of two lists as vectors, over their size; gradients that vanish are measured against the others. An attention in
/// bf16 is off by less than 1 % (attention_bf16.cpp). A place in bf16 on 64 columns would be off by half a column, which turns by radians.
double off(const std::vector<std::vector<real>>& exact, const std::vector<std::vector<real>>& got) {
  const auto norm = [](const auto& v, const auto& w) {
    double s = 0;
    for (size_t i = 0; i < v.size(); ++i) s += std::pow(double(v[i]) - (w.empty() ? 0.0 : double(w[i])), 2);
    return std::sqrt(s);
  };
  double worst = 0, largest = 0;
  for (const auto& v : exact) largest = std::max(largest, norm(v, std::vector<real>()));
  for (size_t i = 0; i < exact.size(); ++i)
    if (!exact[i].empty())
      worst = std::max(worst, norm(exact[i], got[i]) / std::max(norm(exact[i], std::vector<real>()), 0.01 * largest));
  return worst;
}

TWIN_CASE("position: tables, angles and their gradients are fp32 under bf16, in every encoding") {
  if constexpr (sizeof(real) == 4) {
    int compared = 0;
    for (const Bench& bench : benches())
      for (const Variant& v : variants()) {
        if (!refusal(bench, v.name, v.options).empty()) continue;
        INFO(bench.title << ", " << v.label());
        Params params(1);
        const Places places = tessera::model(bench.family).places(bench.options);
        const auto encoding = position(v.name, v.options)(Scope(params), places);
        redraw(params);
        bool attends = false;  // places enter queries and keys, or it computes the attention itself
        for (const auto& row : positions())
          attends |= (std::ranges::count(row.hooks, "mix") || std::ranges::count(row.hooks, "shape")) &&
                     std::string_view(v.name).find(row.name) != std::string_view::npos;
        for (const bool strip : {false, true}) {
          if (strip && !fixed_size(v.name).empty()) continue;
          const auto at = [&](Layout l) {  // a strip of 64 columns, where coordinates are as large as on 64 x 64
            if (strip && !l.window.h) l.q.h = l.k.h = 3, l.q.w = l.k.w = 64;
            return l;
          };
          const auto exact = made(*encoding, places, params, at, attends, Precision::f32),
                     got = made(*encoding, places, params, at, attends, Precision::bf16);
          if (attends) {
            CHECK(off(exact, got) < 0.02);
          } else {
            CHECK(exact == got);
          }
          ++compared;
        }
      }
    CHECK(compared > (walked_alone().empty() ? 200 : 3));
  }
}

TWIN_CASE("position: rope_mixed turns by the same angles under bf16 on 64 x 64") {
  if constexpr (sizeof(real) == 4) {
    Params params(1);
    const Places places = tessera::model("vit").places(
        {{"img_size", 128}, {"patch_size", 2}, {"embed_dim", 64}, {"num_heads", 2}, {"depth", 1}});
    const auto encoding = position("rope_mixed")(Scope(params), places);
    const Site& s = places.sites.at(0);
    const auto turned = [&](Precision p) {
      const Computing in(p);
      return encoding->terms(s, s.trained, {}, Run{}).rotary;
    };
    const Rotary exact = turned(Precision::f32), got = turned(Precision::bf16);
    CHECK(s.trained.q.w == 64);
    CHECK(farthest(exact.cos_q, got.cos_q) == 0);
    CHECK(farthest(exact.sin_k, got.sin_k) == 0);
  }
}

TWIN_CASE("position: a grid is resized in fp32 under bf16") {
  if constexpr (sizeof(real) == 4) {
    Tensor table({7 * 9, 5});
    for (int64_t i = 0; i < table.size(); ++i) table[i] = rounded(normal_at("table", i));
    const auto resized = [&](Precision p) {
      const Computing in(p);
      return resize_grid(table, 7, 9, 12, 6, Interpolation::bicubic);
    };
    CHECK(same_bits(resized(Precision::f32), resized(Precision::bf16)));
  }
}

TWIN_CASE("linear: its precision can be its own, forward and backward") {
  if constexpr (sizeof(real) == 4) {
    Tensor x({40, 33}), w({20, 33});
    for (int64_t i = 0; i < x.size(); ++i) x[i] = rounded(normal_at("x", i));
    for (int64_t i = 0; i < w.size(); ++i) w[i] = rounded(normal_at("w", i));
    const auto all = [&](Precision of_process, bool own, Precision of_call) {
      Tape tape;
      Grads none;
      const Tensor a = tape.watch(x), b = tape.watch(w);
      const Computing in(of_process);
      const Tensor y = own ? linear(a, b, {}, of_call) : linear(a, b);
      Tensor u(y.shape());
      for (int64_t i = 0; i < u.size(); ++i) u[i] = rounded(normal_at("u", i));
      const std::vector<real> value = numbers(y);
      tape.backward(y, u, none);
      return std::vector<std::vector<real>>{value, numbers(tape.grad(a)), numbers(tape.grad(b))};
    };
    const auto exact = all(Precision::f32, false, {}), coarse = all(Precision::bf16, false, {});
    for (size_t i = 0; i < 3; ++i) CHECK(exact[i] != coarse[i]);
    CHECK(all(Precision::bf16, true, Precision::f32) == exact);
    CHECK(all(Precision::f32, true, Precision::bf16) == coarse);
  }
}

}  // namespace
}  // namespace walk
}  // namespace TESSERA_NS
}  // namespace tessera
