// Sinusoids of the raster index.  Vaswani et al. 2017, "Attention is all you need", section 3.5.
//   PE[p, 2t] = sin(p / T^(2t/C)),  PE[p, 2t+1] = cos(p / T^(2t/C)),  t = 0 .. C/2-1,  T = 10000        x[b, p] +=
//   PE[p]
// PE[p + k] is PE[p] with every pair turned by a fixed angle. On an image p = y W + x: rows are unrolled, which is the
// point of the comparison with sincos2d. Two layouts and two denominators circulate under one name (tensor2tensor has
// the halves and C/2 - 1).
//   hooks: tokens      parameters: 0      cost: one addition
//   class tokens: zero, or counted as the first positions (class_position = count, CCT)
//   another resolution: computed anew (the meaning of p then changes with the width), interpolated as a map, or scaled (scaling.h)
#include <cmath>
#include <tuple>

#include "tessera/core/interpolation.h"
#include "tessera/core/ops/add_table.h"
#include "tessera/nn/position/encoding.h"
#include "tessera/nn/position/pairs.h"
#include "tessera/nn/position/scaling.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

struct Sinusoidal final : PositionEncoding {
  struct Config : Scaling {
    std::string layout = "interleaved", denom = "C", class_position = "zero", resolution = "recompute",
                resize = "bicubic_antialias";
    double temperature = 10000;
    bool scale = false;
  };
  static Fields<Config> fields() {
    static const Fields<Config> table = joined<Config>(
        {{{"layout", &Config::layout,
           "interleaved (sin, cos, sin, ...; the paper) | halves (all sin, then all cos; tensor2tensor)",
           one_of("interleaved", "halves")},
          {"denom", &Config::denom, "exponents 2t/C (\"C\", the paper) or t/(C/2-1) (\"C/2-1\", tensor2tensor)",
           one_of("C", "C/2-1")},
          {"temperature", &Config::temperature, "the longest wavelength is 2 pi times this", within(1, 1e12)},
          {"class_position", &Config::class_position, "class tokens get zero | count as the first positions",
           one_of("zero", "count")},
          {"scale", &Config::scale, "multiply the tokens by sqrt(C) first, as language models do"},
          {"resolution", &Config::resolution, "on another grid: recompute | interpolate the table as a map",
           one_of("recompute", "interpolate")},
          {"resize", &Config::resize, "the rule of interpolate",
           one_of("bicubic_antialias", "bicubic", "bilinear", "corner_aligned")
               .only_with("resolution", "interpolate")}},
         scaling_fields<Config>(scaled_frequencies().only_with("resolution", "recompute"), true, false)});
    return table;
  }
  static void check(const Config& c) { check_scaling("sinusoidal", c); }
  static std::string refuses(const Places& at, const Config& c) {
    for (const auto& s : at.tokens) {
      if (s.dim < (c.denom == "C" ? 2 : 4))
        return fmt::format("a width of {} is too small for denom = {}", s.dim, c.denom);
      if (std::string why = scaling_refuses(c, s.dim / 2); !why.empty()) return why;
    }
    return "";
  }

  Sinusoidal(const Scope&, const Places&, const Config& c) : config(c), rule(interpolation(c.resize)) {}

  Tensor tokens(const Spot& spot, const Grid& now, const Tensor& x, const Run&) const override {
    const bool count = config.class_position == "count";
    return add_table(x, table(spot.trained, now, spot.dim), count ? 0 : now.prefix,
                     config.scale ? std::sqrt(static_cast<double>(spot.dim)) : 1);
  }
  std::string unit_warning(const Places& from, const Places& to) const override {
    const std::string unit = config.resolution == "interpolate" ? warn_unit_of_tokens(from, to) : "";
    return unit.empty() ? scaling_warning_of_tokens("sinusoidal", config, from, to)
                        : "sinusoidal resolution=interpolate: " + unit;
  }

 private:
  /// Rows of positions first .. first + n - 1, on a grid of `now` cells in a model built for `trained`.
  std::vector<double> rows(int first, int n, int C, int trained, int now) const {
    const int half = C / 2;  // an odd width keeps a last channel of zeros
    const double steps = config.denom == "C" ? C / 2.0 : half - 1.0;
    std::vector<double> f;
    for (int t = 0; t < half; ++t) f.push_back(std::pow(config.temperature, -t / steps));
    const ScaledAxis line = scaled_axis(config, f, trained, now);
    std::vector<double> pe(static_cast<size_t>(n) * static_cast<size_t>(C), 0.0);
    for (int p = 0; p < n; ++p) {
      double* row = pe.data() + static_cast<size_t>(p) * static_cast<size_t>(C);
      for (int t = 0; t < half; ++t) {
        const double angle = line.at(first + p) * line.f[static_cast<size_t>(t)];
        const bool halves = config.layout == "halves";
        row[halves ? t : 2 * t] = std::sin(angle);
        row[halves ? half + t : 2 * t + 1] = std::cos(angle);
      }
    }
    return pe;
  }

  Tensor table(const Grid& trained, const Grid& now, int C) const {
    const Grid over = measured_on(trained, now);
    const bool as_map = config.resolution == "interpolate" && (over.h != now.h || over.w != now.w);
    const Grid from = as_map ? over : now, unit = looks_at_trained(config) ? over : now;
    static Memo<std::tuple<Grid, Grid, Grid, int, std::string, std::string, std::string, std::string, double, Scaling>,
                Tensor>
        memo;
    return memo({from, now, unit, C, config.layout, config.denom, config.class_position, config.resize,
                 config.temperature, config},
                [&] {
                  const int classes = config.class_position == "count" ? now.prefix : 0;
                  std::vector<double> grid = rows(classes, from.h * from.w, C, unit.h * unit.w, now.h * now.w);
                  if (as_map) grid = interpolate(grid, from.h, from.w, now.h, now.w, C, rule);
                  std::vector<double> all = rows(0, classes, C, unit.h * unit.w, now.h * now.w);
                  all.insert(all.end(), grid.begin(), grid.end());
                  return tensor({classes + now.h * now.w, C}, all);
                });
  }

  Config config;
  Interpolation rule;
};

}  // namespace

Encoding sinusoidal() { return encoding<Sinusoidal>(); }

}  // namespace TESSERA_NS
}  // namespace tessera
