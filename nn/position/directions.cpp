// Fixed rotary frequencies in more directions than rows and columns.
//   angle_t = y fy_t + x fx_t,   the fixed cases of rope_mixed
//     spiral       Liu et al. 2026, arXiv 2602.03227: R directions of each half of the pairs, 90/R degrees apart. Pair t < m = d/4 has
//                  f = max_freq theta^(-t/m) (min_freq: geometric from max_freq to it), phi = (90/R) ((t/2) mod R) degrees and
//                  (fy, fx) = f (cos phi, sin phi); pair m + t has f (-sin phi, cos phi). R = 1 is axial, rows first. same_theta: all
//                  directions have the same m/R frequencies.
//     golden_gate  J. Xiong, "On n-dimensional rotary positional embeddings" (2025): omega_t = lo (hi/lo)^(t/(F-1)), slowest first; pair t of
//                  head n looks along u = erfinv(2 frac((nF + t + 1) (1/g, 1/g^2)) - 1), made unit, (fy, fx) = omega u; g^3 = g + 1.
//                  directions=angle: u = (cos phi, sin phi), phi = (nF + t) pi (1 - sqrt 5)/2, the source's own for pictures.
//                  Halves. lo and hi are ours. The source has no defaults; of its runs, 0.2 to 20 over a square from -1 to 1 are 0.03 to 3.1
//                  radians a cell of 14 x 14. vit-pytorch's 1 and 10000 a cell turn most pairs by more than half a turn from cell to cell.
//   hooks: rotary      parameters: none      cost: as rope_axial
//   class tokens: angle 0      windows: window-local coordinates      reduced keys: cell centres
//   another resolution: recomputed, or scaled: scaling.h. spiral divides the trained grid finer unless it is told otherwise, golden_gate with
//   scaling=interpolate; the authors of both do. In spiral's default sequences go on.      in training: coords_aug.h
#include <algorithm>
#include <cmath>
#include <numbers>

#include "tessera/nn/position/encoding.h"
#include "tessera/nn/position/golden_gate.h"
#include "tessera/nn/position/placed.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

/// A map of another size is a finer or coarser picture of the same; of two sequences the shorter begins the longer.
bool sequences(const Places& at) { return !at.sites.empty() && at.sites[0].trained.q.sequence; }

/// The cells in whose unit a call is scaled: those of the grid a model is built for, or its own.
Extent unit_of(const Scaling& c, const Site& s, const Layout& now) {
  return query_extent(looks_at_trained(c) ? measured_on(s.trained, now) : now);
}
double temperature_of(const Scaling& c, const Extent& unit, const Extent& is) {
  return scaling_temperature(c, static_cast<double>(is.h) / unit.h, static_cast<double>(is.w) / unit.w);
}

struct Spiral final : PositionEncoding {
  struct Config : Scaling, CoordsAugmentation {
    int rotate = 0;
    double theta = 10000, max_freq = 1.5, min_freq = 0;
    bool same_theta = false, clamp = false, rescale = true, values = false;
    auto operator<=>(const Config&) const = default;
  };
  static Fields<Config> fields() {
    static const std::vector<Field<Config>> own{
        {"rotate", &Config::rotate,
         "R: each half of the pairs looks along R directions; 0: 2 where heads are multiples of 16 wide, else 1",
         within(0, 64)},
        {"theta", &Config::theta, "wavelengths grow from 2 pi / max_freq to theta times that", within(1, 1e12)},
        {"max_freq", &Config::max_freq, "the fastest pair, in radians a cell", positive(100)},
        {"min_freq", &Config::min_freq, "the slowest pair instead of theta, in radians a cell; 0: by theta",
         positive(100).or_zero()},
        {"same_theta", &Config::same_theta, "all directions have the same frequencies, R times fewer of them"},
        {"clamp", &Config::clamp, "turned coordinates stay on the grid, as in the authors' code: corners see less"},
        {"rescale", &Config::rescale, "false says scaling=none under its older name"},
        {"values", &Config::values, says_values},
    };
    static const Fields<Config> table =
        joined<Config>({own, scaling_fields<Config>(scaled_frequencies(), false), coords_fields<Config>()});
    return table;
  }
  static void check(const Config& c) {
    check_scaling("spiral", c);
    check_coords("spiral", c);
    check_turned_values("spiral", c.values, c);
    if (!c.rescale && c.scaling != "interpolate")
      fail("position spiral",
           "rescale=false says scaling=none under its older name, and scaling is {}: leave rescale out", c.scaling);
    if (c.min_freq > 0 && c.theta != Config().theta)
      fail("position spiral", "theta means nothing beside min_freq, which says the slowest pair");
    if (c.rotate == 1 && (c.same_theta || c.clamp))
      fail("position spiral", "{} needs rotate=2 or more: one direction is axial", c.clamp ? "clamp" : "same_theta");
  }
  static std::string refuses(const Places& at, const Config& c) {
    if (std::string why = needs_width(at, 2); !why.empty()) return why;
    for (const Site& s : at.sites) {
      // where an uneven number of pairs is left, the authors' code mixes rows and columns without a word
      if (c.rotate > 1 && s.head_dim % (8 * c.rotate))
        return fmt::format("head width {} is not a multiple of {}, which rotate={} needs to give each direction pairs",
                           s.head_dim, 8 * c.rotate, c.rotate);
      if (directions(c, s.head_dim) == 1 && (c.same_theta || c.clamp))
        return fmt::format("{} needs more than one direction, and heads of width {} have one",
                           c.clamp ? "clamp" : "same_theta", s.head_dim);
      if (std::string why = scaling_refuses(c, s.head_dim / 4 / of_rank(c, s.head_dim)); !why.empty()) return why;
    }
    return c.values ? needs_values(at) : "";
  }
  Spiral(const Scope&, const Places&, const Config& c) : config(c) {}

  Terms terms(const Site& s, const Layout& now, const Tokens&, const Run& run) const override {
    static Memo<std::tuple<Layout, Extent, int, Config>, Rotary> memo;
    const Scaling scaling = of_call(now.q.sequence);
    const Extent is = query_extent(now), unit = unit_of(scaling, s, now);
    const CoordsDraw draw = draw_coords(config, run, s.path);
    const auto make = [&] {
      const int m = s.head_dim / 4;
      const std::vector<double> f = frequencies(s.head_dim);
      const MixedFactors by = scaled_mixed(scaling, f, {unit.h, unit.w}, {is.h, is.w}, of_rank(config, s.head_dim));
      const Placed placed(scaling, unit, is, draw);
      const Point first = placed({0, 0}), last = placed({is.h - 1.0, is.w - 1.0});
      return rotation(
          now, 1, s.head_dim / 2, false,
          [&](const Point& p, int, int pair) {
            const auto in_half = static_cast<size_t>(pair % m);
            const double y = by.y[in_half], x = by.x[in_half];
            return f[in_half] * turned(times(placed(p), y, x), phi(pair % m, s.head_dim), pair >= m, times(first, y, x),
                                       times(last, y, x));
          },
          temperature_of(scaling, unit, is));
    };
    Terms t;
    t.rotary = draw.still() ? memo({now, unit, s.head_dim, config}, make) : make();
    t.rotary.values = config.values;
    return t;
  }
  std::string unit_warning(const Places& from, const Places& to) const override {
    return scaling_warning("spiral", of_call(sequences(to)), from, to);
  }

 private:
  /// The default interpolates maps alone, as the authors do.
  Scaling of_call(bool sequence) const {
    Scaling c = config;
    if (!config.rescale || (sequence && c.scaling == "interpolate")) c.scaling = "none";
    return c;
  }
  /// Pairs of a half that are equally fast.
  static int of_rank(const Config& c, int d) { return c.same_theta ? directions(c, d) : 1; }
  static int directions(const Config& c, int d) { return c.rotate ? c.rotate : d % 16 ? 1 : 2; }

  /// Of the d/4 pairs of either half, radians a cell.
  std::vector<double> frequencies(int d) const {
    const int R = directions(config, d), m = d / 4, distinct = config.same_theta ? m / R : m;
    std::vector<double> f;
    for (int t = 0; t < m; ++t) {
      // with same_theta, two frequencies go round all directions before the next two do
      const int k = config.same_theta ? t / (2 * R) * 2 + t % 2 : t;
      const double slowest =
          config.min_freq > 0 ? config.min_freq
                              : config.max_freq * std::pow(config.theta, -static_cast<double>(distinct - 1) / distinct);
      f.push_back(distinct > 1 ? config.max_freq * std::pow(slowest / config.max_freq, k / (distinct - 1.0))
                               : config.max_freq);
    }
    return f;
  }
  double phi(int t_in_half, int d) const {
    const int R = directions(config, d);
    return std::numbers::pi / 2 / R * (t_in_half / 2 % R);
  }
  /// The coordinate of a pair: along a row or column axis turned by phi, in the authors' code about the middle of the grid and kept on it.
  double turned(const Point& p, double phi, bool second, const Point& first, const Point& last) const {
    const auto along = [&](double y, double x) {
      return second ? x * std::cos(phi) - y * std::sin(phi) : x * std::sin(phi) + y * std::cos(phi);
    };
    if (!config.clamp) return along(p.y, p.x);
    const double y = (first.y + last.y) / 2, x = (first.x + last.x) / 2;
    return second ? std::clamp(x + along(p.y - y, p.x - x), first.x, last.x)
                  : std::clamp(y + along(p.y - y, p.x - x), first.y, last.y);
  }
  Config config;
};

struct GoldenGate final : PositionEncoding {
  struct Config : Scaling, CoordsAugmentation {
    double min_freq = 0, max_freq = 1, p_zero_freqs = 0;
    std::string directions = "lattice";
    bool rescale = false, values = false;
    auto operator<=>(const Config&) const = default;
  };
  static Fields<Config> fields() {
    static const std::vector<Field<Config>> own{
        {"min_freq", &Config::min_freq,
         "the slowest pair, in radians a cell; 0: an eighth of a turn over the mean side of the trained grid",
         positive(100).or_zero()},
        {"max_freq", &Config::max_freq, "the fastest pair, in radians a cell; beyond pi it aliases", positive(1e5)},
        {"p_zero_freqs", &Config::p_zero_freqs, "the share of pairs, the slowest, that do not turn", below_one()},
        {"directions", &Config::directions,
         "lattice (of any number of dimensions) | angle (multiples of the golden angle, the source's for pictures)",
         one_of("lattice", "angle")},
        {"rescale", &Config::rescale, "scaling=interpolate of maps alone, its older form: sequences are counted on"},
        {"values", &Config::values, says_values},
    };
    static const Fields<Config> table =
        joined<Config>({own, scaling_fields<Config>(scaled_frequencies(), false), coords_fields<Config>()});
    return table;
  }
  static void check(const Config& c) {
    check_scaling("golden_gate", c, c.rescale);
    check_coords("golden_gate", c);
    check_turned_values("golden_gate", c.values, c);
  }
  static std::string refuses(const Places& at, const Config& c) {
    if (std::string why = needs_width(at, 1); !why.empty()) return why;
    for (const Site& s : at.sites) {
      const int pairs = s.head_dim / 2, turning = pairs - resting(c, pairs);
      if (turning == 0) return fmt::format("p_zero_freqs={} leaves none of {} pairs to turn", c.p_zero_freqs, pairs);
      if (std::string why = scaling_refuses(c, turning); !why.empty()) return why;
    }
    return c.values ? needs_values(at) : "";
  }
  GoldenGate(const Scope&, const Places&, const Config& c) : config(c) {}

  Terms terms(const Site& s, const Layout& now, const Tokens&, const Run& run) const override {
    static Memo<std::tuple<Layout, Extent, int, int, double, Config>, Rotary> memo;
    const Scaling scaling = scaling_of(config, config.rescale && !now.q.sequence);
    const Extent is = query_extent(now), unit = unit_of(scaling, s, now);
    const double low = config.min_freq > 0 ? config.min_freq : golden_gate_slowest(query_extent(s.trained));
    const CoordsDraw draw = draw_coords(config, run, s.path);
    const auto make = [&] {
      const int pairs = s.head_dim / 2, rest = resting(config, pairs);
      std::vector<Frequency> f =
          golden_gate_frequencies(s.heads, pairs, low, config.max_freq, rest,
                                  config.directions == "angle" ? GoldenDirections::angle : GoldenDirections::lattice);
      scale_golden_gate(f, s.heads, rest, scaling, unit, is);
      const Placed placed(scaling, unit, is, draw);
      return rotation(
          now, s.heads, pairs, true,
          [&](const Point& p, int head, int pair) {
            return turn(f[static_cast<size_t>(head * pairs + pair)], placed(p));
          },
          temperature_of(scaling, unit, is));
    };
    Terms t;
    t.rotary = draw.still() ? memo({now, unit, s.heads, s.head_dim, low, config}, make) : make();
    t.rotary.values = config.values;
    return t;
  }
  std::string unit_warning(const Places& from, const Places& to) const override {
    const std::string scaled = scaling_warning("golden_gate", config, from, to, config.rescale && !sequences(to)),
                      unit = scaled.empty() && config.min_freq == 0 ? warn_unit_of_sites(from, to) : "";
    return unit.empty() ? scaled : "golden_gate min_freq=0: " + unit;
  }

 private:
  static int resting(const Config& c, int pairs) {  // halves to even, as the source rounds
    return static_cast<int>(std::nearbyint(c.p_zero_freqs * pairs));
  }
  Config config;
};

}  // namespace

Encoding spiral() {
  Spiral::Config published;
  published.scaling = "interpolate";
  return encoding<Spiral>(published);
}
Encoding golden_gate() { return encoding<GoldenGate>(); }

}  // namespace TESSERA_NS
}  // namespace tessera
