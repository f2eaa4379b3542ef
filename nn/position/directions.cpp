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
//   another resolution: recomputed. spiral divides the trained grid finer unless rescale=false, golden_gate with rescale=true; the authors
//   of both do. Sequences go on
#include <algorithm>
#include <cmath>
#include <numbers>

#include "tessera/nn/position/encoding.h"
#include "tessera/nn/position/golden_gate.h"
#include "tessera/nn/position/rotary.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

constexpr const char* says_rescale = "squeeze another resolution into the trained range of coordinates";

/// A map of another size is a finer or coarser picture of the same; of two sequences the shorter begins the longer.
bool squeezed(const Layout& now, bool rescale) { return rescale && !now.q.sequence; }
bool squeezes(const Places& at, bool rescale) { return !at.sites.empty() && squeezed(at.sites[0].trained, rescale); }

Point times(const Point& p, double y, double x) { return {p.y * y, p.x * x, p.prefix}; }

struct Spiral final : PositionEncoding {
  struct Config {
    int rotate = 0;
    double theta = 10000, max_freq = 1.5, min_freq = 0;
    bool same_theta = false, clamp = false, rescale = true, values = false;
    auto operator<=>(const Config&) const = default;
  };
  static Fields<Config> fields() {
    static const Field<Config> table[] = {
        {"rotate", &Config::rotate,
         "R: each half of the pairs looks along R directions; 0: 2 where heads are multiples of 16 wide, else 1",
         within(0, 64)},
        {"theta", &Config::theta, "wavelengths grow from 2 pi / max_freq to theta times that", within(1, 1e12)},
        {"max_freq", &Config::max_freq, "the fastest pair, in radians a cell", positive(100)},
        {"min_freq", &Config::min_freq, "the slowest pair instead of theta, in radians a cell; 0: by theta",
         positive(100).or_zero()},
        {"same_theta", &Config::same_theta, "all directions have the same frequencies, R times fewer of them"},
        {"clamp", &Config::clamp, "turned coordinates stay on the grid, as in the authors' code: corners see less"},
        {"rescale", &Config::rescale, says_rescale},
        {"values", &Config::values, says_values},
    };
    return table;
  }
  static void check(const Config& c) {
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
    }
    return c.values ? needs_values(at) : "";
  }
  Spiral(const Scope&, const Places&, const Config& c) : config(c) {}

  Terms terms(const Site& s, const Layout& now, const Tokens&, const Run&) const override {
    static Memo<std::tuple<Layout, Extent, int, Config>, Rotary> memo;
    const Extent is = query_extent(now), unit = squeezed(now, config.rescale) ? query_extent(s.trained) : is;
    Terms t;
    t.rotary = memo({now, unit, s.head_dim, config}, [&] {
      const std::vector<double> f = frequencies(s.head_dim);
      const double by_y = static_cast<double>(unit.h) / is.h, by_x = static_cast<double>(unit.w) / is.w;
      const Point last = times({is.h - 1.0, is.w - 1.0}, by_y, by_x);
      return rotation(now, 1, s.head_dim / 2, false, [&](const Point& p, int, int pair) {
        const int t_in_half = pair % (s.head_dim / 4);
        const bool second = pair >= s.head_dim / 4;
        return f[static_cast<size_t>(t_in_half)] *
               turned(times(p, by_y, by_x), phi(t_in_half, s.head_dim), second, last);
      });
    });
    t.rotary.values = config.values;
    return t;
  }
  std::string unit_warning(const Places& from, const Places& to) const override {
    const std::string unit = squeezes(to, config.rescale) ? warn_unit_of_sites(from, to) : "";
    return unit.empty() ? "" : "spiral rescale=true: " + unit;
  }

 private:
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
  double turned(const Point& p, double phi, bool second, const Point& last) const {
    const auto along = [&](double y, double x) {
      return second ? x * std::cos(phi) - y * std::sin(phi) : x * std::sin(phi) + y * std::cos(phi);
    };
    if (!config.clamp) return along(p.y, p.x);
    const double most = second ? last.x : last.y;
    return std::clamp(most / 2 + along(p.y - last.y / 2, p.x - last.x / 2), 0.0, most);
  }
  Config config;
};

struct GoldenGate final : PositionEncoding {
  struct Config {
    double min_freq = 0, max_freq = 1, p_zero_freqs = 0;
    std::string directions = "lattice";
    bool rescale = false, values = false;
  };
  static Fields<Config> fields() {
    static const Field<Config> table[] = {
        {"min_freq", &Config::min_freq,
         "the slowest pair, in radians a cell; 0: an eighth of a turn over the mean side of the trained grid",
         positive(100).or_zero()},
        {"max_freq", &Config::max_freq, "the fastest pair, in radians a cell; beyond pi it aliases", positive(1e5)},
        {"p_zero_freqs", &Config::p_zero_freqs, "the share of pairs, the slowest, that do not turn", below_one()},
        {"directions", &Config::directions,
         "lattice (of any number of dimensions) | angle (multiples of the golden angle, the source's for pictures)",
         one_of("lattice", "angle")},
        {"rescale", &Config::rescale, says_rescale},
        {"values", &Config::values, says_values},
    };
    return table;
  }
  static std::string refuses(const Places& at, const Config& c) {
    if (std::string why = needs_width(at, 1); !why.empty()) return why;
    for (const Site& s : at.sites)
      if (resting(c, s.head_dim / 2) == s.head_dim / 2)
        return fmt::format("p_zero_freqs={} leaves none of {} pairs to turn", c.p_zero_freqs, s.head_dim / 2);
    return c.values ? needs_values(at) : "";
  }
  GoldenGate(const Scope&, const Places&, const Config& c) : config(c) {}

  Terms terms(const Site& s, const Layout& now, const Tokens&, const Run&) const override {
    static Memo<std::tuple<Layout, Extent, int, int, double, double, double, GoldenDirections>, Rotary> memo;
    const Extent is = query_extent(now), trained = query_extent(s.trained),
                 unit = squeezed(now, config.rescale) ? trained : is;
    const double low = config.min_freq > 0 ? config.min_freq : golden_gate_slowest(trained);
    const auto directions = config.directions == "angle" ? GoldenDirections::angle : GoldenDirections::lattice;
    Terms t;
    t.rotary = memo({now, unit, s.heads, s.head_dim, low, config.max_freq, config.p_zero_freqs, directions}, [&] {
      const int pairs = s.head_dim / 2;
      const std::vector<Frequency> f =
          golden_gate_frequencies(s.heads, pairs, low, config.max_freq, resting(config, pairs), directions);
      const double by_y = static_cast<double>(unit.h) / is.h, by_x = static_cast<double>(unit.w) / is.w;
      return rotation(now, s.heads, pairs, true, [&](const Point& p, int head, int pair) {
        return turn(f[static_cast<size_t>(head * pairs + pair)], times(p, by_y, by_x));
      });
    });
    t.rotary.values = config.values;
    return t;
  }
  std::string unit_warning(const Places& from, const Places& to) const override {
    const bool by_unit = squeezes(to, config.rescale);
    const std::string unit = by_unit || config.min_freq == 0 ? warn_unit_of_sites(from, to) : "";
    return unit.empty() ? "" : fmt::format("golden_gate {}: {}", by_unit ? "rescale=true" : "min_freq=0", unit);
  }

 private:
  static int resting(const Config& c, int pairs) {  // halves to even, as the source rounds
    return static_cast<int>(std::nearbyint(c.p_zero_freqs * pairs));
  }
  Config config;
};

}  // namespace

Encoding spiral() { return encoding<Spiral>(); }
Encoding golden_gate() { return encoding<GoldenGate>(); }

}  // namespace TESSERA_NS
}  // namespace tessera
