// Stand-alone self-attention.  Ramachandran et al. 2019: every token attends to the k x k cells around it.
//   s_ij = q_i . k_j + q_i . (row[y_j - y_i] | col[x_j - x_i]),  halves of the head width;  no 1/sqrt(d) unless `scaled`
//   hooks: mix (its own neighbourhoods), query      parameters: 2 k d/2 per block, shared by its heads      cost: N k^2 C, on small maps N^2 C
//   borders: cells outside of the map are masked; zero_pad = true lets them take part as zero keys and values, as public code does
//   another resolution: nothing to do          class tokens and windows: refused, a neighbourhood has no place for them; so is causality
#include <cmath>
#include <limits>

#include "tessera/nn/position/encoding.h"
#include "tessera/nn/position/pairs.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

struct Sasa final : PositionEncoding {
  struct Config {
    int kernel = 7;
    bool scaled = false, zero_pad = false;
    double std = 0.02;
  };
  static Fields<Config> fields() {
    static const Field<Config> table[] = {
        {"kernel", &Config::kernel, "cells per side of the neighbourhood", odd(3, 63)},
        {"scaled", &Config::scaled, "multiply scores by 1/sqrt(d), which the paper does not"},
        {"zero_pad", &Config::zero_pad, "cells outside of the map take part as zeros"},
        {"std", &Config::std, "standard deviation of the initial tables", within(0, 1000)},
    };
    return table;
  }
  static std::string refuses(const Places& at, const Config& c) {
    for (const Site& s : at.sites) {
      if (s.causal) return "a neighbourhood has cells on both sides, but this model is causal and may not look ahead";
      if (s.no_self)
        return "a neighbourhood holds its own token, which model.lsa hides from itself; leave one of them out";
      if (s.trained.q.prefix)
        return "a neighbourhood has no place for class tokens; use model.class_token=false model.global_pool=avg";
      if (s.trained.window.h)
        return "it replaces global attention by neighbourhoods; this model's attention is already cut into windows";
      if (s.trained.q != s.trained.k || s.trained.cross)
        return "keys must be the query's own map; this model reduces or replaces them";
      if (s.head_dim % 2) return fmt::format("head width {} cannot be halved between rows and columns", s.head_dim);
      if (!c.scaled && !natural(s))
        return fmt::format(
            "its scores have no factor unless scaled=true, and the {} of {} does nothing: leave out qk_scale", s.scale,
            s.path);
    }
    return "";
  }
  /// Is the factor of the logits what models have unless they are told: width^-1/2, of a head or (CvT) of all together?
  static bool natural(const Site& s) {
    const double widths = 1 / (s.scale * s.scale);
    return std::abs(widths - s.head_dim) < 1e-6 * widths || std::abs(widths - s.dim) < 1e-6 * widths;
  }

  struct Own {
    Tensor row, col;  // (k, d/2)
  };

  Sasa(const Scope& net, const Places& at, const Config& c) : config(c) {
    for (const Site& s : at.sites) {
      const Scope p = net / s.path / "position";
      own.push_back({p.param("rel_h", {c.kernel, s.head_dim / 2}, normal(c.std), Decay::no),
                     p.param("rel_w", {c.kernel, s.head_dim / 2}, normal(c.std), Decay::no)});
    }
  }

  Tensor mix(const Site& s, const Layout& now, const Query& query, const Terms& own_terms, const Tokens&,
             const Run& run) const override {
    if (query.who->causal)
      fail("position sasa", "a neighbourhood has cells on both sides, but this model is causal and may not look ahead");
    const double own_scale = config.scaled ? query.scale : 1;
    const Grid& g = now.q;
    // One query a neighbourhood is slow work. Where neighbourhoods cover a good part of the map, all pairs at once and a mask are faster.
    if (!config.zero_pad && g.tokens() <= 8 * config.kernel * config.kernel) {
      Terms masked = tables(s, global(g, config.kernel, 1), global(g, config.kernel, 2));
      masked.add({Relative::bias, minus_infinity(), 0, global(g, config.kernel, 0)});
      return attention(query.with(global_pattern(g.tokens(), g.tokens()), own_scale), masked, run);
    }
    return attention(query.with(neighbourhoods(g, config.kernel, config.zero_pad), own_scale), own_terms, run);
  }

  /// Of neighbourhoods(): one query, its cells in order.
  Terms terms(const Site& s, const Layout&, const Tokens&, const Run&) const override {
    return tables(s, offsets(config.kernel, true), offsets(config.kernel, false));
  }

 private:
  Terms tables(const Site& s, const RelativeIndex& rows, const RelativeIndex& columns) const {
    const Own& o = own.at(static_cast<size_t>(s.id));
    const int half = s.head_dim / 2;
    Terms t;
    t.add({Relative::query, o.row.reshape({1, config.kernel, half}), 0, rows});
    return t.add({Relative::query, o.col.reshape({1, config.kernel, half}), half, columns});
  }
  /// All pairs of cells. axis 0: row 0 for pairs outside of each other's neighbourhood, none inside; 1, 2: their row and column offset.
  static RelativeIndex global(const Grid& g, int kernel, int axis) {
    static Memo<std::tuple<Grid, int, int>, RelativeIndex> memo;
    return memo({g, kernel, axis}, [&] {
      const int N = g.h * g.w, reach = kernel / 2;
      RelativeIndex::Spec p{N, N, axis ? kernel : 1, {}, 1};
      for (int i = 0; i < N; ++i)
        for (int j = 0; j < N; ++j) {
          const int dy = j / g.w - i / g.w, dx = j % g.w - i % g.w;
          const bool inside = std::abs(dy) <= reach && std::abs(dx) <= reach;
          p.at.push_back(axis == 0 ? (inside ? -1 : 0) : !inside ? -1 : (axis == 1 ? dy : dx) + reach);
        }
      return p;
    });
  }
  static Tensor minus_infinity() {
    static Memo<int, Tensor> memo;
    return memo(0, [] { return full({1, 1, 1}, -std::numeric_limits<real>::infinity()); });
  }
  /// One group per token: itself as the query, the k x k cells around it as keys.
  static Pattern neighbourhoods(const Grid& g, int kernel, bool zero_pad) {
    static Memo<std::tuple<Grid, int, bool>, Pattern> memo;
    return memo({g, kernel, zero_pad}, [&] {
      Pattern::Spec p;
      p.groups = g.h * g.w, p.n = 1, p.m = kernel * kernel;
      p.absent = zero_pad ? Pattern::Absent::zero_key : Pattern::Absent::masked;
      for (int y = 0; y < g.h; ++y)
        for (int x = 0; x < g.w; ++x) {
          p.q.push_back(y * g.w + x);
          for (int a = 0; a < kernel; ++a)
            for (int b = 0; b < kernel; ++b) {
              const int i = y + a - kernel / 2, j = x + b - kernel / 2;
              p.k.push_back(i < 0 || i >= g.h || j < 0 || j >= g.w ? -1 : i * g.w + j);
            }
        }
      return p;
    });
  }
  static RelativeIndex offsets(int kernel, bool rows) {
    static Memo<std::tuple<int, bool>, RelativeIndex> memo;
    return memo({kernel, rows}, [&] {
      RelativeIndex::Spec p{1, kernel * kernel, kernel, {}, 1};
      for (int a = 0; a < kernel; ++a)
        for (int b = 0; b < kernel; ++b) p.at.push_back(rows ? a : b);
      return p;
    });
  }
  Config config;
  std::vector<Own> own;  // by Site::id
};

}  // namespace

Encoding sasa() { return encoding<Sasa>(); }

}  // namespace TESSERA_NS
}  // namespace tessera
