#pragma once
// One attention under one encoding, on random queries, keys and values: the bed on which encodings are compared.
#include <algorithm>

#include "tessera/nn/windows.h"
#include "tests/twin/position_walk.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace walk {

constexpr bool twin = sizeof(real) == 8;
constexpr double rounding = twin ? 1e-13 : 2e-5;
/// Of weights and of outputs whose scores are sums of some hundred products of size 1, by two ways.
constexpr double tight = twin ? 1e-14 : 2e-5;
/// The same where float rounds angles of several radians, or larger scores.
constexpr double tight_in_double = twin ? 1e-14 : 2e-4;

/// One attention of two heads of width 8 under an encoding, on random queries, keys and values.
struct Bed {
  static constexpr int H = 2, d = 8;
  Params params{3};
  Places places;
  Layout layout;
  Pattern who;
  std::unique_ptr<PositionEncoding> encoding;
  Tensor q, k, v;

  Bed(std::string_view name, const Options& options, const Layout& where)
      : layout(where),
        who(where.window.h ? windows(where.q, where.window) : global_pattern(where.q.tokens(), where.k.tokens())) {
    // sasa has no factor unless it is told to, and refuses one that somebody chose
    const bool own_scale = name.find("sasa") != std::string_view::npos;
    places.sites = {Site{0, 0, 0, H * d, H, d, own_scale ? 1 / std::sqrt(double(d)) : 0.3, layout, "attn"}};
    places.tokens = {Spot{0, 0, 0, H * d, layout.q, "pos_embed"}};
    places.between = {Spot{0, 0, 0, H * d, layout.q, "pos_block.0"}, Spot{1, 0, 1, H * d, layout.q, "pos_block.1"}};
    encoding = position(name, options)(Scope(params), places);
    redraw(params);
    q = random("q", layout.q.tokens()), k = random("k", layout.k.tokens()), v = random("v", layout.k.tokens());
  }
  Bed(std::string_view name, const Options& options, Grid g) : Bed(name, options, Layout{g, g, {}, 1, false}) {}

  static Tensor random(const char* what, int tokens) {
    Tensor t({2, tokens, H * d});
    for (int64_t i = 0; i < t.size(); ++i) t[i] = rounded(normal_at(what, i));
    return t;
  }
  const Tensor& operator[](std::string_view parameter) const {
    REQUIRE_MESSAGE(params.find(parameter), parameter);
    return params.find(parameter)->value;
  }
  template <class F>
  Bed& set(std::string_view parameter, F f) {
    const Tensor& t = (*this)[parameter];
    for (int64_t i = 0; i < t.size(); ++i) t[i] = static_cast<real>(f(i));
    params.commit();
    return *this;
  }
  Bed& zero() {
    for (const auto& e : params.entries()) std::ranges::fill(e.value.values(), real(0));
    params.commit();
    return *this;
  }
  Terms terms() const { return encoding->terms(places.sites[0], layout, tokens(), {}); }
  Tokens tokens() const { return {q, k}; }
  Query query(double scale = 0.3) const { return {heads(q, H), heads(k, H), heads(v, H), who, scale}; }
  Tensor output() const { return encoding->attend(places.sites[0], layout, query(), tokens(), {}); }
  /// (B, groups, H, n, m)
  Tensor weights() const { return attention_weights(query(), terms()); }
  Tensor plain(double scale = 0.3) const { return attention(query(scale), {}, {}); }

  /// softmax of 0.3 q.k + extra(b, h, i, j), computed the long way.
  template <class F>
  Tensor by_hand(F extra) const {
    const int n = layout.q.tokens(), m = layout.k.tokens();
    Tensor w({2, 1, H, n, m});
    for (int b = 0; b < 2; ++b)
      for (int h = 0; h < H; ++h)
        for (int i = 0; i < n; ++i) {
          std::vector<double> e;
          double sum = 0;
          for (int j = 0; j < m; ++j) {
            double s = extra(b, h, i, j);
            for (int c = 0; c < d; ++c) s += 0.3 * query(b, h, i, c) * key(b, h, j, c);
            e.push_back(std::exp(s)), sum += e.back();
          }
          for (int j = 0; j < m; ++j)
            w[((static_cast<int64_t>(b) * H + h) * n + i) * m + j] = static_cast<real>(e[static_cast<size_t>(j)] / sum);
        }
    return w;
  }
  double query(int b, int h, int i, int c) const { return at(q, b, h, i, c); }
  double key(int b, int h, int j, int c) const { return at(k, b, h, j, c); }
  static double at(const Tensor& t, int b, int h, int i, int c) {
    return static_cast<double>(t[(static_cast<int64_t>(b) * t.dim(1) + i) * H * d + h * d + c]);
  }
  /// q_i . table[row], of a table (rows, d)
  double dot(const Tensor& t, int64_t row, int b, int h, int i) const {
    double s = 0;
    for (int c = 0; c < d; ++c) s += query(b, h, i, c) * static_cast<double>(t[row * d + c]);
    return s;
  }
};

/// The bed built for one grid and called on another.
struct Moved : Bed {
  Moved(std::string_view name, const Options& options, Grid trained, Grid now) : Bed(name, options, now) {
    places.sites[0].trained = Layout::global(trained);
    places.tokens[0].trained = trained;
    encoding = position(name, options)(Scope(fresh), places);
    redraw(fresh);
  }
  Params fresh{3};
  Tensor added() const { return encoding->tokens(places.tokens[0], layout.q, q, {}); }
};

}  // namespace walk
}  // namespace TESSERA_NS
}  // namespace tessera
