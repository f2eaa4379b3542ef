// Mixed rotary embedding.  Heo et al. 2024; its polar form after the abstract of Compass-RoPE (2026), without what that adds to it.
//   angle_t = x fx_t + y fy_t, of frequencies that are learned per block and head
//     rope_mixed  fx, fy themselves
//     polar       fx = a_t cos(al_t), fy = a_t sin(al_t): how fast and in which direction, learned apart
//   hooks: rotary      parameters: heads d per block      cost: 2 multiplications per channel of q and k (values=true: of v and o, too), a cosine
//   and a sine per token, head and pair
//   class tokens: angle 0      windows: window-local coordinates      another resolution: recomputed (extrapolates), or scaled:
//   scaling.h. Reduced keys: cell centres.      in training: coords_aug.h
#include <cmath>
#include <numbers>

#include "tessera/core/ops/activation.h"
#include "tessera/core/ops/arithmetic.h"
#include "tessera/core/ops/concat.h"
#include "tessera/core/ops/permute.h"
#include "tessera/nn/position/coords_aug.h"
#include "tessera/nn/position/encoding.h"
#include "tessera/nn/position/exact_linear.h"
#include "tessera/nn/position/rotary.h"
#include "tessera/nn/position/scaling.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

struct RopeMixed final : PositionEncoding {
  struct Config : Scaling, CoordsAugmentation {
    std::string parameters = "cartesian";
    double theta = 10;
    bool rotate = true, rescale = false, values = false;
  };
  static Fields<Config> fields() {
    static const Fields<Config> table = joined<Config>(
        {{{"parameters", &Config::parameters, "what is learned: cartesian (fx, fy) | polar (magnitude and direction)",
           one_of("cartesian", "polar")},
          {"theta", &Config::theta, "spacing of the initial frequencies", within(1, 1e12)},
          {"rotate", &Config::rotate, "turn each head's (polar: each pair's) initial frequencies by a random angle"},
          {"values", &Config::values, says_values},
          {"rescale", &Config::rescale, "scaling=interpolate under its older name"}},
         scaling_fields<Config>(scaled_frequencies(), false),
         coords_fields<Config>()});
    return table;
  }
  static void check(const Config& c) {
    check_scaling(title(c), c, c.rescale);
    check_coords(title(c), c);
    check_turned_values(title(c), c.values, c);
  }
  static std::string refuses(const Places& at, const Config& c) {
    const std::string width = needs_width(at, 2, c);
    return width.empty() && c.values ? needs_values(at) : width;
  }

  RopeMixed(const Scope& net, const Places& at, const Config& c) : config(c), scaling(scaling_of(c, c.rescale)) {
    for (const Site& s : at.sites) {
      const Scope scope = net / s.path / "position";
      const Shape pairs{s.heads, s.head_dim / 2};
      if (polar()) {
        own.push_back({{},
                       scope.param("magnitude", pairs, constant(0), Decay::no),
                       scope.param("direction", pairs, constant(0), Decay::no)});
      } else {
        own.push_back({scope.param("freqs", {2, pairs[0], pairs[1]}, constant(0), Decay::no), {}, {}});
      }
      const char* drawn = polar() ? "direction" : "freqs";
      start(own.back(), s, rng::Stream(rng::mix(net.params().seed() ^ rng::hash((scope / drawn).path()))));
    }
  }

  Terms terms(const Site& s, const Layout& now, const Tokens&, const Run& run) const override {
    const Extent is = query_extent(now),
                 unit = looks_at_trained(scaling) ? query_extent(measured_on(s.trained, now)) : is;
    const Tensor f = scaled(frequencies(s), unit, is);
    const int pairs = s.head_dim / 2;
    const Tensor per_axis =
        permute(f.reshape({2, s.heads * pairs}), {1, 0});  // (heads pairs, 2): a linear map from (x, y)
    const CoordsDraw draw = draw_coords(config, run, s.path);
    const double times =
        scaling_temperature(scaling, static_cast<double>(is.h) / unit.h, static_cast<double>(is.w) / unit.w);
    const auto turned = [&](bool keys, Tensor& cosine, Tensor& sine) {
      const Tensor at = coordinates(now, is, scaling.scaling == "interpolate" ? unit : is, draw, keys);
      const Tensor angles = permute(exact_linear(at, per_axis).reshape({at.dim(0), s.heads, pairs}),
                                    {1, 0, 2});  // (heads, tokens, pairs)
      cosine = cos(angles), sine = sin(angles);
      if (times != 1) cosine = scale(cosine, times), sine = scale(sine, times);
    };
    Terms t;
    Rotary& r = t.rotary;
    turned(false, r.cos_q, r.sin_q);
    if (now.q == now.k && now.reduce == 1) {
      r.cos_k = r.cos_q, r.sin_k = r.sin_q;
    } else {
      turned(true, r.cos_k, r.sin_k);
    }
    r.values = config.values;
    return t;
  }
  std::string unit_warning(const Places& from, const Places& to) const override {
    return scaling_warning(title(config), config, from, to, config.rescale);
  }

 private:
  struct Own {
    Tensor freqs;                 // (2, heads, pairs): fx, fy
    Tensor magnitude, direction;  // (heads, pairs)
  };
  static const char* title(const Config& c) { return c.parameters == "polar" ? "polar" : "rope_mixed"; }
  bool polar() const { return config.parameters == "polar"; }

  /// (2, heads, pairs): fx and fy in radians per cell.
  Tensor frequencies(const Site& s) const {
    const Own& o = own.at(static_cast<size_t>(s.id));
    if (!polar()) return o.freqs;
    return stack({mul(o.magnitude, cos(o.direction)), mul(o.magnitude, sin(o.direction))}, 0);
  }
  /// Two pairs of every magnitude. As the authors: at right angles, each head turned as a whole; polar: in directions of their own.
  void start(const Own& o, const Site& s, const rng::Stream& random) const {
    const int quarter = s.head_dim / 4, pairs = 2 * quarter;
    for (int h = 0; h < s.heads; ++h)
      for (int t = 0; t < pairs; ++t) {
        const int64_t at = int64_t{h} * pairs + t;
        const double draw = random.uniform(static_cast<uint64_t>(polar() ? at : h));
        const double magnitude = std::pow(config.theta, -static_cast<double>(t % quarter) / quarter);
        const double direction =
            (config.rotate ? 2 * std::numbers::pi * draw : 0) + (t < quarter ? 0 : std::numbers::pi / 2);
        const auto put = [&](const Tensor& to, int64_t i, double v) {
          to[i] = static_cast<real>(static_cast<float>(v));
        };
        if (polar()) {
          put(o.magnitude, at, magnitude), put(o.direction, at, std::fmod(direction, 2 * std::numbers::pi));
        } else {
          put(o.freqs, at, magnitude * std::cos(direction));
          put(o.freqs, int64_t{s.heads} * pairs + at, magnitude * std::sin(direction));
        }
      }
  }
  /// The frequencies of a call. Their factors count as constants: no gradient sees that a faster pair would be scaled less.
  Tensor scaled(const Tensor& f, const Extent& unit, const Extent& is) const {
    if (scaling.scaling == "none" || scaling.scaling == "interpolate") return f;
    const int64_t heads = f.dim(1), pairs = f.dim(2);
    Tensor factors(f.shape());
    for (int64_t h = 0; h < heads; ++h) {
      real* const x = factors.data() + h * pairs;
      real* const y = x + heads * pairs;
      std::vector<double> magnitudes;
      for (int64_t t = h * pairs; t < (h + 1) * pairs; ++t)
        magnitudes.push_back(std::hypot(static_cast<double>(f[t]), static_cast<double>(f[heads * pairs + t])));
      const MixedFactors by = scaled_mixed(scaling, magnitudes, {unit.h, unit.w}, {is.h, is.w});
      for (size_t t = 0; t < magnitudes.size(); ++t)
        x[t] = static_cast<real>(by.x[t]), y[t] = static_cast<real>(by.y[t]);
    }
    return mul(f, factors);
  }
  /// (tokens, 2): x and y of every slot.
  static Tensor coordinates(const Layout& now, const Extent& is, const Extent& unit, const CoordsDraw& draw,
                            bool keys) {
    static Memo<std::tuple<Layout, Extent, bool>, Tensor> memo;
    const auto make = [&] {
      const Points all = points(now);
      std::vector<double> v;
      for (const Point& p : keys ? all.k : all.q) {
        v.push_back(p.prefix ? 0 : draw.x(p.x * unit.w / is.w, unit.w / 2.0));
        v.push_back(p.prefix ? 0 : draw.y(p.y * unit.h / is.h, unit.h / 2.0));
      }
      return tensor({static_cast<int>(v.size() / 2), 2}, v);
    };
    return draw.still() ? memo({now, unit, keys}, make) : make();
  }
  Config config;
  Scaling scaling;
  std::vector<Own> own;  // by Site::id
};

}  // namespace

Encoding rope_mixed() { return encoding<RopeMixed>(); }
Encoding polar() {
  RopeMixed::Config c;
  c.parameters = "polar";
  return encoding<RopeMixed>(c);
}

}  // namespace TESSERA_NS
}  // namespace tessera
