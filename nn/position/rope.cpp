// Rotary embeddings.  1-D: Su et al. 2021 (RoFormer); axial and mixed: Heo et al. 2024; grid variants of timm (EVA) and DINOv3.
//   (q_2t, q_2t+1) and (k_2t, k_2t+1) turn by an angle of their token; s_ij then depends on differences of angles only.
//     rope        angle_t = p base^(-2t/d)                                   p the raster index, d the head width
//     rope_axial  angle_t = x theta^(-4t/d) for the first d/4 pairs, y theta^(-4t/d) for the next d/4
//     rope_mixed  angle_t = x fx_t + y fy_t, fx and fy learned per block and head
//   hooks: rotary      parameters: none; mixed: heads d per block      cost: 2 multiplications per channel of q and k; mixed: a cosine and a sine per token and pair
//   class tokens: angle 0, or positions counted from `start`      windows: window-local coordinates      values are not turned
//   another resolution: recomputed (extrapolates), or scaled: scaling.h. Reduced keys: cell centres.      in training: coords_aug.h
#include <cmath>
#include <numbers>

#include "tessera/core/ops/activation.h"
#include "tessera/core/ops/arithmetic.h"
#include "tessera/core/ops/permute.h"
#include "tessera/nn/position/coords_aug.h"
#include "tessera/nn/position/encoding.h"
#include "tessera/nn/position/exact_linear.h"
#include "tessera/nn/position/pairs.h"
#include "tessera/nn/position/scaling.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

struct Point {
  double y = 0, x = 0;
  bool prefix = false;
};

/// Positions of the query and key slots of a call, in query cells; a reduced key sits at the centre of its cell.
std::pair<std::vector<Point>, std::vector<Point>> points(const Layout& now) {
  Layout full = now;
  full.reduce = 1;
  const auto all = [](const std::vector<Coords::Cell>& cells, int reduce) {
    std::vector<Point> p;
    for (const auto& c : cells) {
      if (c.prefix()) {
        p.push_back({0, 0, true});
      } else {
        p.push_back({(c.y + 0.5) * reduce - 0.5, (c.x + 0.5) * reduce - 0.5, false});
      }
    }
    return p;
  };
  const Coords c = coords(full);
  return {all(c.q, 1), all(c.k, now.reduce)};
}

/// The cells that positions of a call run over; of a sequence with a memory before it all that its keys span.
Extent query_extent(const Layout& now) {
  if (now.q.sequence && now.k.sequence) return {now.k.h, now.k.w};
  return now.window.h ? Extent{now.window.h, now.window.w} : Extent{now.q.h, now.q.w};
}

/// The rotation of all slots from angle(point, pair) for d/2 pairs; cosines and sines come `times` as large.
template <class Angle>
Rotary rotation(const Layout& now, int d, bool halves, Angle angle, double times = 1) {
  Rotary r;
  r.halves = halves;
  const auto fill = [&](const std::vector<Point>& at, Tensor& c, Tensor& s) {
    c = Tensor({1, static_cast<int>(at.size()), d / 2}), s = Tensor(c.shape());
    int64_t i = 0;
    for (const Point& p : at)
      for (int t = 0; t < d / 2; ++t, ++i) {
        const double a = p.prefix ? 0 : angle(p, t);
        c[i] = static_cast<real>(times * std::cos(a)), s[i] = static_cast<real>(times * std::sin(a));
      }
  };
  const auto [q, k] = points(now);
  fill(q, r.cos_q, r.sin_q), fill(k, r.cos_k, r.sin_k);
  return r;
}

/// Heads of a multiple of 2 `axes` channels, d / (2 axes) pairs an axis.
std::string needs_width(const Places& at, int axes, const Scaling& c) {
  for (const Site& s : at.sites) {
    if (s.head_dim % (2 * axes)) return fmt::format("head width {} is not a multiple of {}", s.head_dim, 2 * axes);
    if (std::string why = scaling_refuses(c, s.head_dim / (2 * axes)); !why.empty()) return why;
  }
  return "";
}

/// `rescale` is the older name of scaling=interpolate.
Scaling scaling_of(Scaling c, bool rescale) {
  if (rescale) c.scaling = "interpolate";
  return c;
}

// ---- one dimension ---------------------------------------------------------------------------------------------------

struct Rope final : PositionEncoding {
  struct Config : Scaling {
    double base = 10000;
    std::string layout = "interleaved";
    int start = 0;
    bool rescale = false;
  };
  static Fields<Config> fields() {
    static const Fields<Config> table =
        joined<Config>({{{"base", &Config::base, "wavelengths grow from 2 pi to 2 pi base", within(1, 1e12)},
                         {"layout", &Config::layout, "pairs of channels: interleaved (2t, 2t+1) | halves (t, t + d/2)",
                          one_of("interleaved", "halves")},
                         {"start", &Config::start, "position of the first patch (1 keeps it apart from a class token)",
                          within(-65536, 65536)},
                         {"rescale", &Config::rescale, "scaling=interpolate under its older name"}},
                        scaling_fields<Config>()});
    return table;
  }
  static void check(const Config& c) { check_scaling("rope", c, c.rescale); }
  static std::string refuses(const Places& at, const Config& c) { return needs_width(at, 1, c); }
  Rope(const Scope&, const Places&, const Config& c) : config(c), scaling(scaling_of(c, c.rescale)) {}

  Terms terms(const Site& s, const Layout& now, const Tokens&, const Run&) const override {
    static Memo<std::tuple<Layout, Extent, int, double, bool, int, Scaling>, Rotary> memo;
    const Extent is = query_extent(now), unit = looks_at_trained(scaling) ? query_extent(s.trained) : is;
    const bool halves = config.layout == "halves";
    Terms t;
    t.rotary = memo({now, unit, s.head_dim, config.base, halves, config.start, scaling}, [&] {
      std::vector<double> f;
      for (int pair = 0; pair < s.head_dim / 2; ++pair) f.push_back(std::pow(config.base, -2.0 * pair / s.head_dim));
      const ScaledAxis line = scaled_axis(scaling, f, unit.cells(), is.cells());
      const double larger = static_cast<double>(is.cells()) / unit.cells();
      return rotation(
          now, s.head_dim, halves,
          [&](const Point& p, int pair) {
            return (config.start + line.at(p.y * is.w + p.x)) * line.f[static_cast<size_t>(pair)];
          },
          scaling_temperature(scaling, larger, larger));
    });
    return t;
  }
  std::string unit_warning(const Places& from, const Places& to) const override {
    return scaling_warning("rope", config, from, to, config.rescale);
  }
  Config config;
  Scaling scaling;
};

// ---- two axes --------------------------------------------------------------------------------------------------------

struct RopeAxial final : PositionEncoding {
  struct Config : Scaling, CoordsAugmentation {
    double theta = 0, max_freq = 224, min_period = 0, max_period = 0;
    std::string variant = "rope_vit", bands = "linear", layout = "interleaved", normalize = "separate";
    int start = 0;
    bool rescale = false;
    auto operator<=>(const Config&) const = default;
  };
  static Fields<Config> fields() {
    static const Fields<Config> table = joined<Config>(
        {{{"theta", &Config::theta,
           "wavelengths grow from 2 pi to 2 pi theta; 0: 100 for global attention, 50 in windows; timm_language 10000",
           within(1, 1e12).or_zero().only_with("variant", "rope_vit", "timm_language", "dinov3")},
          {"variant", &Config::variant,
           "rope_vit | timm_language | timm_pixel (coordinates in [-1, 1]) | dinov3 (cell centres in [-1, 1])",
           one_of("rope_vit", "timm_language", "timm_pixel", "dinov3")},
          {"max_freq", &Config::max_freq, "timm_pixel: frequencies are spaced from pi to pi max_freq / 2",
           within(1e-3, 1e9).only_with("variant", "timm_pixel")},
          {"bands", &Config::bands, "timm_pixel: spacing of the frequencies, linear | log (timm's linear_bands=False)",
           one_of("linear", "log").only_with("variant", "timm_pixel")},
          {"normalize", &Config::normalize,
           "dinov3: [-1, 1] is each side | the longer one (max) | the shorter one (min); the other is then not centred",
           one_of("separate", "max", "min").only_with("variant", "dinov3")},
          {"min_period", &Config::min_period, "dinov3: with max_period instead of theta, the shortest period; 0: theta",
           within(1e-6, 1e9).or_zero().only_with("variant", "dinov3")},
          {"max_period", &Config::max_period, "dinov3: the longest period; 2 is once over the image; 0: theta",
           within(1e-6, 1e9).or_zero().only_with("variant", "dinov3")},
          {"layout", &Config::layout, "pairs of channels: interleaved | halves (dinov3 implies halves)",
           one_of("interleaved", "halves").only_with("variant", "rope_vit", "timm_language", "timm_pixel")},
          {"start", &Config::start, "coordinate of the first row and column (1 keeps it apart from a class token)",
           within(-65536, 65536).only_with("variant", "rope_vit", "timm_language")},
          {"rescale", &Config::rescale, "scaling=interpolate under its older name",
           anything().only_with("variant", "rope_vit", "timm_language")}},
         scaling_fields<Config>(scaled_frequencies().only_with("variant", "rope_vit", "timm_language")),
         coords_fields<Config>()});
    return table;
  }
  static void check(const Config& c) {
    check_scaling("rope_axial", c, c.rescale);
    check_coords("rope_axial", c);
    if ((c.min_period > 0) != (c.max_period > 0) || c.min_period > c.max_period)
      fail("position rope_axial", "periods from {} to {}: set both min_period and max_period, the shorter one first",
           c.min_period, c.max_period);
    if (c.min_period > 0 && c.theta > 0)
      fail("position rope_axial", "theta and periods both space the frequencies: set one or the other");
  }
  static std::string refuses(const Places& at, const Config& c) { return needs_width(at, 2, c); }
  RopeAxial(const Scope&, const Places&, const Config& c) : config(c), scaling(scaling_of(c, c.rescale)) {}

  Terms terms(const Site& s, const Layout& now, const Tokens&, const Run& run) const override {
    static Memo<std::tuple<Layout, Extent, int, Config>, Rotary> memo;
    const Extent is = query_extent(now), unit = looks_at_trained(scaling) ? query_extent(s.trained) : is;
    const CoordsDraw draw = draw_coords(config, run, s.path);
    const auto make = [&] { return turned(now, s.head_dim, is, unit, draw); };
    Terms t;
    t.rotary = draw.still() ? memo({now, unit, s.head_dim, config}, make) : make();
    return t;
  }
  std::string unit_warning(const Places& from, const Places& to) const override {
    return scaling_warning("rope_axial", config, from, to, config.rescale);
  }

 private:
  Rotary turned(const Layout& now, int d, const Extent& is, const Extent& unit, const CoordsDraw& draw) const {
    const std::vector<double> f = frequencies(d / 4, now.window.h > 0);
    const ScaledAxis y = scaled_axis(scaling, f, unit.h, is.h), x = scaled_axis(scaling, f, unit.w, is.w);
    const bool cells = config.variant == "rope_vit" || config.variant == "timm_language",
               columns_first = config.variant == "rope_vit";
    const int longer = std::max(is.h, is.w), shorter = std::min(is.h, is.w);
    const auto coordinate = [&](const ScaledAxis& axis, double at, int n) {
      if (cells) return config.start + axis.at(at);
      if (config.variant == "timm_pixel") return n > 1 ? 2 * at / (n - 1) - 1 : -1;
      return 2 * (at + 0.5) / (config.normalize == "max" ? longer : config.normalize == "min" ? shorter : n) - 1;
    };
    return rotation(
        now, d, config.layout == "halves" || config.variant == "dinov3",
        [&](const Point& p, int pair) {
          const bool column = (pair < d / 4) == columns_first;
          const auto t = static_cast<size_t>(pair % (d / 4));
          if (column) return draw.x(coordinate(x, p.x, is.w), cells ? x.at(is.w) / 2 : 1) * x.f[t];
          return draw.y(coordinate(y, p.y, is.h), cells ? y.at(is.h) / 2 : 1) * y.f[t];
        },
        scaling_temperature(scaling, static_cast<double>(is.h) / unit.h, static_cast<double>(is.w) / unit.w));
  }
  /// Radians a unit of the coordinate, of the m pairs of an axis.
  std::vector<double> frequencies(int m, bool windowed) const {
    const double theta = config.theta > 0 ? config.theta : config.variant == "timm_language" ? 10000 : 100;
    const double base = config.theta == 0 && windowed && config.variant == "rope_vit" ? 50 : theta;
    std::vector<double> f;
    for (int t = 0; t < m; ++t) {
      const double step = m > 1 ? static_cast<double>(t) / (m - 1) : 0, most = config.max_freq / 2;
      if (config.variant == "timm_pixel") {
        f.push_back(std::numbers::pi * (config.bands == "log" ? std::pow(most, step) : 1 + (most - 1) * step));
      } else if (config.min_period > 0) {
        f.push_back(2 * std::numbers::pi / (config.min_period * std::pow(config.max_period / config.min_period, step)));
      } else {
        f.push_back((config.variant == "dinov3" ? 2 * std::numbers::pi : 1) *
                    std::pow(base, -static_cast<double>(t) / m));
      }
    }
    return f;
  }
  Config config;
  Scaling scaling;
};

// ---- both axes mixed, learned ----------------------------------------------------------------------------------------

struct RopeMixed final : PositionEncoding {
  struct Config : Scaling, CoordsAugmentation {
    double theta = 10;
    bool rotate = true, rescale = false;
  };
  static Fields<Config> fields() {
    static const Fields<Config> table =
        joined<Config>({{{"theta", &Config::theta, "spacing of the initial frequencies", within(1, 1e12)},
                         {"rotate", &Config::rotate, "turn each head's initial frequencies by a random angle"},
                         {"rescale", &Config::rescale, "scaling=interpolate under its older name"}},
                        scaling_fields<Config>(scaled_frequencies(), false),
                        coords_fields<Config>()});
    return table;
  }
  static void check(const Config& c) {
    check_scaling("rope_mixed", c, c.rescale);
    check_coords("rope_mixed", c);
  }
  static std::string refuses(const Places& at, const Config& c) { return needs_width(at, 2, c); }

  RopeMixed(const Scope& net, const Places& at, const Config& c) : config(c), scaling(scaling_of(c, c.rescale)) {
    for (const Site& s : at.sites) {
      const Scope own = net / s.path / "position";
      freqs.push_back(own.param("freqs", {2, s.heads, s.head_dim / 2}, constant(0), Decay::no));
      start(freqs.back(), s, rng::Stream(rng::mix(net.params().seed() ^ rng::hash((own / "freqs").path()))));
    }
  }

  Terms terms(const Site& s, const Layout& now, const Tokens&, const Run& run) const override {
    const Extent is = query_extent(now), unit = looks_at_trained(scaling) ? query_extent(s.trained) : is;
    const Tensor& own = freqs.at(static_cast<size_t>(s.id));
    const Tensor f = scaled(own, unit, is);
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
    return t;
  }
  std::string unit_warning(const Places& from, const Places& to) const override {
    return scaling_warning("rope_mixed", config, from, to, config.rescale);
  }

 private:
  void start(const Tensor& f, const Site& s, const rng::Stream& random) const {
    const int quarter = s.head_dim / 4;
    for (int h = 0; h < s.heads; ++h) {
      const double phi = config.rotate ? 2 * std::numbers::pi * random.uniform(static_cast<uint64_t>(h)) : 0;
      for (int t = 0; t < 2 * quarter; ++t) {
        const double magnitude = std::pow(config.theta, -static_cast<double>(t % quarter) / quarter);
        const double direction = phi + (t < quarter ? 0 : std::numbers::pi / 2);
        const auto put = [&](int axis, double v) {
          f[(static_cast<int64_t>(axis) * s.heads + h) * 2 * quarter + t] = static_cast<real>(static_cast<float>(v));
        };
        put(0, magnitude * std::cos(direction)), put(1, magnitude * std::sin(direction));
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
      const auto [q, k] = points(now);
      std::vector<double> v;
      for (const Point& p : keys ? k : q) {
        v.push_back(p.prefix ? 0 : draw.x(p.x * unit.w / is.w, unit.w / 2.0));
        v.push_back(p.prefix ? 0 : draw.y(p.y * unit.h / is.h, unit.h / 2.0));
      }
      return tensor({static_cast<int>(v.size() / 2), 2}, v);
    };
    return draw.still() ? memo({now, unit, keys}, make) : make();
  }
  Config config;
  Scaling scaling;
  std::vector<Tensor> freqs;  // by Site::id; [0] fx, [1] fy
};

}  // namespace

Encoding rope() { return encoding<Rope>(); }
Encoding rope_axial() { return encoding<RopeAxial>(); }
Encoding rope_mixed() { return encoding<RopeMixed>(); }

}  // namespace TESSERA_NS
}  // namespace tessera
