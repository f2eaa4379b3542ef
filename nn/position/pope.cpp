// Polar coordinates: positions turn, contents only stretch.  Gopalakrishnan et al. 2025 (PoPE).
//   s_ij = scale sum_c softplus(q_ic) softplus(k_jc) cos(a_jc - a_ic + delta_c)          d angles a token, delta learned per head
//     raster        a_c = p theta^(-c/d)                         p the raster index; theta 10000
//     axial         a_c = x theta^(-2c/d) for the first d/2 channels, y theta^(-2c/d) for the next d/2, as PoPE_pytorch; theta 100, its 10000
//     golden_gate   a_c = y fy_c + x fx_c, directions spread over the plane
//   It is a rotary embedding of heads of width 2d, in pairs (c, c + d), on (softplus(q), 0) and (softplus(k), 0), and computed as that.
//   hooks: shape, rotary      parameters: heads d per block      cost: scores of twice the width
//   class tokens: angle 0; delta acts on them      windows: window-local coordinates      values as ever
//   another resolution: recomputed (extrapolates). Reduced keys: cell centres.
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

namespace tessera {
inline namespace TESSERA_NS {
namespace {

struct Pope final : PositionEncoding {
  struct Config {
    std::string axes = "raster", scale = "head";
    double theta = 0, min_freq = 0, max_freq = 1;
  };
  static Fields<Config> fields() {
    static const Field<Config> table[] = {
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
    return table;
  }
  static std::string refuses(const Places& at, const Config& c) {
    if (std::string why = c.axes == "axial" ? needs_width(at, 2) : ""; !why.empty()) return why;
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

  Terms terms(const Site& s, const Layout& now, const Tokens&, const Run&) const override {
    Terms t;
    t.rotary = turned(s, now);
    // keys by a + delta: the angle's cosine and sine are exact, only delta's are computed here
    const Tensor own = delta.at(static_cast<size_t>(s.id)).reshape({s.heads, 1, s.head_dim}), c = cos(own),
                 n = sin(own);
    const Tensor ck = t.rotary.cos_k, sk = t.rotary.sin_k;
    t.rotary.cos_k = sub(mul(ck, c), mul(sk, n));
    t.rotary.sin_k = add(mul(sk, c), mul(ck, n));
    return t;
  }
  std::string unit_warning(const Places& from, const Places& to) const override {
    const bool counts = config.axes == "golden_gate" && config.min_freq == 0;
    const std::string unit = counts ? warn_unit_of_sites(from, to) : "";
    return unit.empty() ? "" : "pope min_freq=0: " + unit;
  }

 private:
  /// By the angles of all slots, one head of them if all turn alike.
  Rotary turned(const Site& s, const Layout& now) const {
    static Memo<std::tuple<Layout, std::string, int, int, double, double>, Rotary> memo;
    const int d = s.head_dim;
    if (config.axes == "golden_gate") {
      const double low = config.min_freq > 0 ? config.min_freq : golden_gate_slowest(query_extent(s.trained));
      return memo({now, config.axes, s.heads, d, low, config.max_freq}, [&] {
        const std::vector<Frequency> f = golden_gate_frequencies(s.heads, d, low, config.max_freq);
        return rotation(now, s.heads, d, true,
                        [&](const Point& p, int h, int c) { return turn(f[static_cast<size_t>(h * d + c)], p); });
      });
    }
    const bool raster = config.axes == "raster";
    const double theta = config.theta > 0 ? config.theta : raster ? 10000 : 100;
    return memo({now, config.axes, 1, d, theta, 0}, [&] {
      const int columns = query_extent(now).w, each = raster ? d : d / 2;
      return rotation(now, 1, d, true, [&](const Point& p, int, int c) {
        return (raster     ? p.y * columns + p.x
                : c < each ? p.x
                           : p.y) *
               std::pow(theta, -static_cast<double>(c % each) / each);
      });
    });
  }
  Config config;
  std::vector<Tensor> delta;  // by Site::id; (heads, d)
};

}  // namespace

Encoding pope() { return encoding<Pope>(); }

}  // namespace TESSERA_NS
}  // namespace tessera
