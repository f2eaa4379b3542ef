// A learned table for each axis.  Dehghani et al. 2023 (NaViT), arXiv 2307.06304; under the names of timm's NaFlex ViT.
//   x[b, (i, j)] += pos_embed_y[i] + pos_embed_x[j]
//   hooks: tokens, after every patch embedding      parameters: (h + w) width of each stage      cost: one addition, and one of the tables
//   class tokens: none (ours as timm's)
//   another resolution: each table is interpolated on its own, h rows to the new height and w to the new width; which is the same as
//   resizing the sum of both as a picture. aspect = true gives both tables the length of the longer side, at both resolutions, and uses
//   the first rows of them: a cell is as far from its neighbour below as from the one beside it. A shorter sequence has the first rows.
#include "tessera/core/ops/add_table.h"
#include "tessera/core/ops/arithmetic.h"
#include "tessera/core/ops/resize_grid.h"
#include "tessera/core/ops/slice.h"
#include "tessera/nn/position/encoding.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

struct Factorised final : PositionEncoding {
  struct Config {
    double std = 0.02;
    std::string resize = "bilinear";
    bool aspect = false;
  };
  static Fields<Config> fields() {
    static const Field<Config> table[] = {
        {"std", &Config::std, "standard deviation of the initial tables", within(0, 1000)},
        {"resize", &Config::resize,
         "bilinear (timm: linear, no antialias) | bicubic | bicubic_antialias | corner_aligned",
         one_of("bilinear", "bicubic", "bicubic_antialias", "corner_aligned")},
        {"aspect", &Config::aspect, "both tables are as long as the longer side (timm's aspect preserving form)"},
    };
    return table;
  }

  Factorised(const Scope& net, const Places& at, const Config& c) : config(c), rule(interpolation(c.resize)) {
    for (const auto& s : at.tokens)
      own.push_back({net.param(s.name + "_y", {1, rows(s.trained, true), s.dim}, normal(c.std), Decay::no),
                     net.param(s.name + "_x", {1, rows(s.trained, false), s.dim}, normal(c.std), Decay::no)});
  }

  Tensor tokens(const Spot& spot, const Grid& now, const Tensor& x, const Run&) const override {
    const Own& o = own.at(static_cast<size_t>(spot.id));
    const Tensor y = resized(o.y, spot.trained, now, true), columns = resized(o.x, spot.trained, now, false);
    const auto first = [](const Tensor& t, int n) { return t.dim(1) == n ? t : slice(t, 1, 0, n); };
    const Tensor table =
        add(first(y, now.h).reshape({now.h, 1, spot.dim}), first(columns, now.w).reshape({1, now.w, spot.dim}));
    return add_table(x, table.reshape({now.h * now.w, spot.dim}), now.prefix);
  }

  Tensor resample(std::string_view name, const Tensor& param, const Layout& from, const Layout& to) const override {
    return resized(param, from.q, to.q, name.ends_with("_y"));
  }

 private:
  struct Own {
    Tensor y, x;  // (1, rows, width)
  };
  /// Of the table of one axis.
  int rows(const Grid& g, bool vertical) const {
    if (config.aspect) return std::max(g.h, g.w);
    return vertical ? g.h : g.w;
  }
  Tensor resized(const Tensor& t, const Grid& from, const Grid& to, bool vertical) const {
    const int was = rows(from, vertical), is = rows(to, vertical);
    if (t.dim(1) != was)
      fail("position factorised", "a table of {} was not made for {} x {}", t.shape().str(), from.h, from.w);
    if (was == is) return t;
    if (to.sequence && is < was) return slice(t, 1, 0, is);
    return resize_grid(t, 1, was, 1, is, rule).reshape({1, is, t.dim(2)});
  }

  Config config;
  Interpolation rule;
  std::vector<Own> own;  // by Spot::id
};

}  // namespace

Encoding factorised() { return encoding<Factorised>(); }

}  // namespace TESSERA_NS
}  // namespace tessera
