// Rotary embeddings.  1-D: Su et al. 2021 (RoFormer); axial: Heo et al. 2024; grid variants of timm (EVA), DINOv3 and GTA (Miyato et al. 2024).
//   (q_2t, q_2t+1) and (k_2t, k_2t+1) turn by an angle of their token; s_ij then depends on differences of angles only.
//     rope        angle_t = p base^(-2t/d)                                   p the raster index, d the head width
//     rope_axial  angle_t = x theta^(-4t/d) for the first d/4 pairs, y theta^(-4t/d) for the next d/4
//     rope_dinov3 angle_t = 2 pi y / 100^(4t/d), then x, of cell centres in [-1, 1], stretched at random in training
//     gta         angle_2t = y theta^(-4t/d), angle_2t+1 = x theta^(-4t/d), and values turn, too
//   values=true: o_i = R_i^T sum_j p_ij R_j v_j, so that values travel as seen from the query and o depends on offsets only
//   hooks: rotary      parameters: none      cost: 2 multiplications per channel of q and k; of v and o, too, where values turn
//   class tokens: angle 0, or positions counted from `start`; where values turn, a class token and the patches see each other at absolute places
//   windows: window-local coordinates      another resolution: recomputed (extrapolates), or scaled: scaling.h. Reduced keys: cell centres.
//   in training: coords_aug.h
#include <cmath>
#include <numbers>

#include "tessera/nn/position/coords_aug.h"
#include "tessera/nn/position/encoding.h"
#include "tessera/nn/position/rotary.h"
#include "tessera/nn/position/scaling.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

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
    const Extent is = query_extent(now),
                 unit = looks_at_trained(scaling) ? query_extent(measured_on(s.trained, now)) : is;
    const bool halves = config.layout == "halves";
    Terms t;
    t.rotary = memo({now, unit, s.head_dim, config.base, halves, config.start, scaling}, [&] {
      std::vector<double> f;
      for (int pair = 0; pair < s.head_dim / 2; ++pair) f.push_back(std::pow(config.base, -2.0 * pair / s.head_dim));
      const ScaledAxis line = scaled_axis(scaling, f, unit.cells(), is.cells());
      const double larger = static_cast<double>(is.cells()) / unit.cells();
      return rotation(
          now, 1, s.head_dim / 2, halves,
          [&](const Point& p, int, int pair) {
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
    bool rescale = false, values = false;
    std::string row = "rope_axial";  ///< of the registry, for what is said
    auto operator<=>(const Config&) const = default;
  };
  static Fields<Config> fields() {
    static const Fields<Config> table = joined<Config>(
        {{{"theta", &Config::theta,
           "wavelengths grow from 2 pi to 2 pi theta; 0: 100 for global attention, 50 in windows; timm_language and "
           "gta 10000",
           within(1, 1e12).or_zero().only_with("variant", "rope_vit", "timm_language", "dinov3", "gta")},
          {"variant", &Config::variant,
           "rope_vit | timm_language | timm_pixel (coordinates in [-1, 1]) | dinov3 (cell centres in [-1, 1]) | gta "
           "(rows and columns in turns)",
           one_of("rope_vit", "timm_language", "timm_pixel", "dinov3", "gta")},
          {"values", &Config::values, says_values},
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
           one_of("interleaved", "halves").only_with("variant", "rope_vit", "timm_language", "timm_pixel", "gta")},
          {"start", &Config::start, "coordinate of the first row and column (1 keeps it apart from a class token)",
           within(-65536, 65536).only_with("variant", "rope_vit", "timm_language", "gta")},
          {"rescale", &Config::rescale, "scaling=interpolate under its older name",
           anything().only_with("variant", "rope_vit", "timm_language", "gta")}},
         scaling_fields<Config>(scaled_frequencies().only_with("variant", "rope_vit", "timm_language", "gta")),
         coords_fields<Config>()});
    return table;
  }
  static void check(const Config& c) {
    check_scaling(c.row, c, c.rescale);
    check_coords(c.row, c);
    check_turned_values(c.row, c.values, c);
    if ((c.min_period > 0) != (c.max_period > 0) || c.min_period > c.max_period)
      fail("position " + c.row, "periods from {} to {}: set both min_period and max_period, the shorter one first",
           c.min_period, c.max_period);
    if (c.min_period > 0 && c.theta > 0)
      fail("position " + c.row, "theta and periods both space the frequencies: set one or the other");
  }
  static std::string refuses(const Places& at, const Config& c) {
    const std::string width = needs_width(at, 2, c);
    return width.empty() && c.values ? needs_values(at) : width;
  }
  RopeAxial(const Scope&, const Places&, const Config& c) : config(c), scaling(scaling_of(c, c.rescale)) {}

  Terms terms(const Site& s, const Layout& now, const Tokens&, const Run& run) const override {
    static Memo<std::tuple<Layout, Extent, int, Config>, Rotary> memo;
    const Extent is = query_extent(now), unit = in_shares() ? query_extent(now.q.sequence ? s.trained : now)
                                                : looks_at_trained(scaling) ? query_extent(measured_on(s.trained, now))
                                                                            : is;
    const CoordsDraw draw = draw_coords(config, run, s.path);
    const auto make = [&] { return turned(now, s.head_dim, is, unit, draw); };
    Terms t;
    t.rotary = draw.still() ? memo({now, unit, s.head_dim, config}, make) : make();
    t.rotary.values = config.values;
    return t;
  }
  std::string unit_warning(const Places& from, const Places& to) const override {
    const bool by_length = in_shares() && config.normalize != "min";  // the shorter side of a sequence is one row
    const std::string unit = by_length ? warn_unit_of_sequences(from, to) : "";
    return unit.empty() ? scaling_warning(config.row, config, from, to, config.rescale)
                        : fmt::format("{} variant={}: {}", config.row, config.variant, unit);
  }

 private:
  /// Coordinates are parts of the grid; of a sequence, whose own length may be that of its padding, parts of the trained length.
  bool in_shares() const { return config.variant == "timm_pixel" || config.variant == "dinov3"; }
  Rotary turned(const Layout& now, int d, const Extent& is, const Extent& unit, const CoordsDraw& draw) const {
    const std::vector<double> f = frequencies(d / 4, now.window.h > 0);
    const ScaledAxis y = scaled_axis(scaling, f, unit.h, is.h), x = scaled_axis(scaling, f, unit.w, is.w);
    const bool in_turns = config.variant == "gta", columns_first = config.variant == "rope_vit", cells = !in_shares();
    const int longer = std::max(unit.h, unit.w), shorter = std::min(unit.h, unit.w);
    const auto coordinate = [&](const ScaledAxis& axis, double at, int n) {
      if (cells) return config.start + axis.at(at);
      if (config.variant == "timm_pixel") return n > 1 ? 2 * at / (n - 1) - 1 : -1;
      return 2 * (at + 0.5) / (config.normalize == "max" ? longer : config.normalize == "min" ? shorter : n) - 1;
    };
    return rotation(
        now, 1, d / 2, config.layout == "halves" || config.variant == "dinov3",
        [&](const Point& p, int, int pair) {
          const bool column = in_turns ? pair % 2 == 1 : (pair < d / 4) == columns_first;
          const auto t = static_cast<size_t>(in_turns ? pair / 2 : pair % (d / 4));
          if (column) return draw.x(coordinate(x, p.x, unit.w), cells ? x.at(is.w) / 2 : 1) * x.f[t];
          return draw.y(coordinate(y, p.y, unit.h), cells ? y.at(is.h) / 2 : 1) * y.f[t];
        },
        scaling_temperature(scaling, static_cast<double>(is.h) / unit.h, static_cast<double>(is.w) / unit.w));
  }
  /// Radians a unit of the coordinate, of the m pairs of an axis.
  std::vector<double> frequencies(int m, bool windowed) const {
    const bool language = config.variant == "timm_language" || config.variant == "gta";
    const double theta = config.theta > 0 ? config.theta : language ? 10000 : 100;
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

}  // namespace

Encoding rope() { return encoding<Rope>(); }
Encoding rope_axial() { return encoding<RopeAxial>(); }
Encoding gta() {
  RopeAxial::Config published;
  published.variant = published.row = "gta", published.values = true;
  return encoding<RopeAxial>(published);
}
Encoding rope_dinov3() {
  RopeAxial::Config published;
  published.variant = "dinov3", published.row = "rope_dinov3", published.coords_rescale = 2;
  return encoding<RopeAxial>(published);
}

}  // namespace TESSERA_NS
}  // namespace tessera
