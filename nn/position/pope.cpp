// Polar coordinates: positions turn, contents only stretch.  Gopalakrishnan et al. 2025 (PoPE).
//   s_ij = scale sum_c softplus(q_ic) softplus(k_jc) cos(a_jc - a_ic + delta_c)          d angles a token, delta learned per head
//     raster        a_c = p theta^(-c/d)                         p the raster index; theta 10000
//     axial         a_c = x theta^(-2c/d) for the first d/2 channels, y theta^(-2c/d) for the next d/2, as PoPE_pytorch; theta 100, its 10000
//     golden_gate   a_c = y fy_c + x fx_c, directions spread over the plane
//   It is a rotary embedding of heads of width 2d, in pairs (c, c + d), on (softplus(q), 0) and (softplus(k), 0), and computed as that.
//   hooks: shape, rotary      parameters: heads d per block      cost: scores of twice the width
//   class tokens: angle 0; delta acts on them      windows: window-local coordinates      values as ever
//   another resolution: recomputed (extrapolates), or scaled: scaling.h. Reduced keys: cell centres.      in training: coords_aug.h
//   (Two public codes clamp delta to [-2 pi, 0] and start it on the edge, where torch gives no gradient, so it never learns. Here: no clamp.)
#include <cmath>
#include <numbers>

#include "tessera/core/ops/activation.h"
#include "tessera/core/ops/arithmetic.h"
#include "tessera/core/ops/pad.h"
#include "tessera/core/ops/slice.h"
#include "tessera/nn/position/encoding.h"
#include "tessera/nn/position/golden_gate.h"
#include "tessera/nn/position/learned_scale.h"
#include "tessera/nn/position/placed.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

struct Pope final : PositionEncoding {
  struct Config : Scaling, CoordsAugmentation {
    std::string axes = "raster", scale = "head";
    double theta = 0, min_freq = 0, max_freq = 1;
    auto operator<=>(const Config&) const = default;
  };
  static Fields<Config> fields() {
    static const std::vector<Field<Config>> own{
        {"axes", &Config::axes, "raster (the paper) | axial | golden_gate (vit-pytorch)",
         one_of("raster", "axial", "golden_gate")},
        {"theta", &Config::theta, "wavelengths grow from 2 pi to 2 pi theta; 0: raster 10000, axial 100",
         within(1, 1e12).or_zero().only_with("axes", "raster", "axial")},
        {"min_freq", &Config::min_freq,
         "golden_gate: the slowest, in radians a cell; 0: an eighth of a turn over the mean side of the trained grid",
         within(1e-6, 100).or_zero().only_with("axes", "golden_gate")},
        {"max_freq", &Config::max_freq, "golden_gate: the fastest, in radians a cell; beyond pi it aliases",
         within(1e-6, 1e5).only_with("axes", "golden_gate")},
        {"scale", &Config::scale, "of scores: head, d^(-1/2) (vit-pytorch) | score, (2d)^(-1/2) (x-transformers)",
         one_of("head", "score")},
    };
    static const Fields<Config> table = joined<Config>({own, scaling_fields<Config>(), coords_of_two_axes()});
    return table;
  }
  static void check(const Config& c) {
    check_scaling("pope", c);
    check_coords("pope", c);
    if (c.axes == "golden_gate" && c.ramp == "index")
      fail("position pope",
           "ramp=index counts the pairs of an axis, and those of axes=golden_gate look along none: leave it out");
  }
  static std::string refuses(const Places& at, const Config& c) {
    if (std::string why = c.axes == "axial" ? needs_width(at, 2) : ""; !why.empty()) return why;
    for (const Site& s : at.sites)
      if (std::string why = scaling_refuses(c, c.axes == "axial" ? s.head_dim / 2 : s.head_dim); !why.empty())
        return why;
    return refuses_learned_scale(at, "here they pass through a softplus");
  }

  Pope(const Scope& net, const Places& at, const Config& c) : config(c) {
    for (const Site& s : at.sites)
      delta.push_back((net / s.path / "position").param("learned_bias", {s.heads, s.head_dim}, constant(0), Decay::no));
  }

  Query shape(const Site&, const Layout&, const Query& query, const Tokens&, const Run&) const override {
    const auto magnitudes = [](const Heads& x) {
      const int B = x.x.dim(0), own = x.heads * x.d;
      const Tensor mu = softplus(own == x.stride ? x.x : slice(x.x, 2, x.offset, x.offset + own));
      const Tensor wide = pad(mu.reshape({B, x.tokens, x.heads, x.d}), 3, 0, x.d);
      return heads(wide.reshape({B, x.tokens, 2 * own}), x.heads);
    };
    const Query wide = query.with(magnitudes(query.q), magnitudes(query.k), query.v);
    return config.scale == "head" ? wide : wide.with(query.who, query.scale / std::numbers::sqrt2);
  }

  Terms terms(const Site& s, const Layout& now, const Tokens&, const Run& run) const override {
    static Memo<std::tuple<Layout, Extent, int, int, double, Config>, Rotary> memo;
    const Extent is = query_extent(now),
                 unit = looks_at_trained(config) ? query_extent(measured_on(s.trained, now)) : is;
    const CoordsDraw draw = draw_coords(config, run, s.path);
    const auto make = [&] { return turned(s, now, is, unit, draw); };
    Terms t;
    t.rotary = draw.still() ? memo({now, unit, gate() ? s.heads : 1, s.head_dim, gate() ? slowest(s) : 0, config}, make)
                            : make();
    // keys by a + delta: the angle's cosine and sine are exact, only delta's are computed here
    const Tensor own = delta.at(static_cast<size_t>(s.id)).reshape({s.heads, 1, s.head_dim}), c = cos(own),
                 n = sin(own);
    const Tensor ck = t.rotary.cos_k, sk = t.rotary.sin_k;
    t.rotary.cos_k = sub(mul(ck, c), mul(sk, n));
    t.rotary.sin_k = add(mul(sk, c), mul(ck, n));
    return t;
  }
  std::string unit_warning(const Places& from, const Places& to) const override {
    const std::string unit = gate() && config.min_freq == 0 ? warn_unit_of_sites(from, to) : "";
    return unit.empty() ? scaling_warning("pope", config, from, to) : "pope min_freq=0: " + unit;
  }

 private:
  /// A raster index has one axis, and that is none of the image's.
  static std::vector<Field<Config>> coords_of_two_axes() {
    std::vector<Field<Config>> rows = coords_fields<Config>();
    for (Field<Config>& row : rows) row.domain = row.domain.only_with("axes", "axial", "golden_gate");
    return rows;
  }
  bool gate() const { return config.axes == "golden_gate"; }
  double slowest(const Site& s) const {
    return config.min_freq > 0 ? config.min_freq : golden_gate_slowest(query_extent(s.trained));
  }

  /// By the angles of all slots, one head of them if all turn alike.
  Rotary turned(const Site& s, const Layout& now, const Extent& is, const Extent& unit, const CoordsDraw& draw) const {
    const int d = s.head_dim;
    const double larger_y = static_cast<double>(is.h) / unit.h, larger_x = static_cast<double>(is.w) / unit.w;
    const double hotter = scaling_temperature(config, larger_y, larger_x);
    if (gate()) {
      std::vector<Frequency> f = golden_gate_frequencies(s.heads, d, slowest(s), config.max_freq);
      scale_golden_gate(f, s.heads, 0, config, unit, is);
      const Placed placed(config, unit, is, draw);
      return rotation(
          now, s.heads, d, true,
          [&](const Point& p, int h, int c) { return turn(f[static_cast<size_t>(h * d + c)], placed(p)); }, hotter);
    }
    const bool raster = config.axes == "raster";
    const double theta = config.theta > 0 ? config.theta : raster ? 10000 : 100;
    const int each = raster ? d : d / 2;
    std::vector<double> f;
    for (int c = 0; c < each; ++c) f.push_back(std::pow(theta, -static_cast<double>(c) / each));
    if (raster) {
      const ScaledAxis line = scaled_axis(config, f, unit.cells(), is.cells());
      const double larger = static_cast<double>(is.cells()) / unit.cells();
      return rotation(
          now, 1, d, true,
          [&](const Point& p, int, int c) { return line.at(p.y * is.w + p.x) * line.f[static_cast<size_t>(c)]; },
          scaling_temperature(config, larger, larger));
    }
    const ScaledAxis y = scaled_axis(config, f, unit.h, is.h), x = scaled_axis(config, f, unit.w, is.w);
    return rotation(
        now, 1, d, true,
        [&](const Point& p, int, int c) {
          if (c < each) return draw.x(x.at(p.x), x.at(is.w) / 2) * x.f[static_cast<size_t>(c)];
          return draw.y(y.at(p.y), y.at(is.h) / 2) * y.f[static_cast<size_t>(c - each)];
        },
        hotter);
  }
  Config config;
  std::vector<Tensor> delta;  // by Site::id; (heads, d)
};

}  // namespace

Encoding pope() { return encoding<Pope>(); }

}  // namespace TESSERA_NS
}  // namespace tessera
