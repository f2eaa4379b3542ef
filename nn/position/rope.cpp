// Rotary embeddings.  1-D: Su et al. 2021 (RoFormer); axial: Heo et al. 2024; grid variants of timm (EVA), DINOv3 and GTA (Miyato et al. 2024).
//   (q_2t, q_2t+1) and (k_2t, k_2t+1) turn by an angle of their token; s_ij then depends on differences of angles only.
//     rope        angle_t = p base^(-2t/d)                                   p the raster index, d the head width
//     rope_axial  angle_t = x theta^(-4t/d) for the first d/4 pairs, y theta^(-4t/d) for the next d/4
//     gta         angle_2t = y theta^(-4t/d), angle_2t+1 = x theta^(-4t/d), and values turn, too
//   values=true: o_i = R_i^T sum_j p_ij R_j v_j, so that values travel as seen from the query and o depends on offsets only
//   hooks: rotary      parameters: none      cost: 2 multiplications per channel of q and k; of v and o, too, where values turn
//   class tokens: angle 0, or positions counted from `start`; where values turn, theirs are seen, and they see others', at absolute positions
//   windows: window-local coordinates      another resolution: recomputed (extrapolates); `rescale` divides the trained grid finer instead.
//   Reduced keys: cell centres.
#include <cmath>
#include <numbers>

#include "tessera/nn/position/encoding.h"
#include "tessera/nn/position/rotary.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

// ---- one dimension ---------------------------------------------------------------------------------------------------

struct Rope final : PositionEncoding {
  struct Config {
    double base = 10000;
    std::string layout = "interleaved";
    int start = 0;
    bool rescale = false;
  };
  static Fields<Config> fields() {
    static const Field<Config> table[] = {
        {"base", &Config::base, "wavelengths grow from 2 pi to 2 pi base", within(1, 1e12)},
        {"layout", &Config::layout, "pairs of channels: interleaved (2t, 2t+1) | halves (t, t + d/2)",
         one_of("interleaved", "halves")},
        {"start", &Config::start, "position of the first patch (1 keeps it apart from a class token)",
         within(-65536, 65536)},
        {"rescale", &Config::rescale, "squeeze another resolution into the trained range of positions"},
    };
    return table;
  }
  static std::string refuses(const Places& at, const Config&) { return needs_width(at, 2); }
  Rope(const Scope&, const Places&, const Config& c) : config(c) {}

  Terms terms(const Site& s, const Layout& now, const Tokens&, const Run&) const override {
    static Memo<std::tuple<Layout, Extent, int, double, bool, int>, Rotary> memo;
    const Extent is = query_extent(now), unit = config.rescale ? query_extent(s.trained) : is;
    const bool halves = config.layout == "halves";
    Terms t;
    t.rotary = memo({now, unit, s.head_dim, config.base, halves, config.start}, [&] {
      const double shrink = static_cast<double>(unit.cells()) / is.cells();
      return rotation(now, 1, s.head_dim / 2, halves, [&](const Point& p, int, int pair) {
        return (config.start + (p.y * is.w + p.x) * shrink) * std::pow(config.base, -2.0 * pair / s.head_dim);
      });
    });
    return t;
  }
  std::string unit_warning(const Places& from, const Places& to) const override {
    const std::string unit = config.rescale ? warn_unit_of_sites(from, to) : "";
    return unit.empty() ? "" : "rope rescale=true: " + unit;
  }
  Config config;
};

// ---- two axes --------------------------------------------------------------------------------------------------------

struct RopeAxial final : PositionEncoding {
  struct Config {
    std::string variant = "rope_vit";
    bool values = false;
    double theta = 0, max_freq = 224;
    std::string bands = "linear", layout = "interleaved";
    int start = 0;
    bool rescale = false;
  };
  static Fields<Config> fields() {
    static const Field<Config> table[] = {
        {"theta", &Config::theta,
         "wavelengths grow from 2 pi to 2 pi theta; 0: 100 for global attention, 50 in windows; timm_language and gta "
         "10000",
         within(1, 1e12).or_zero().only_with("variant", "rope_vit", "timm_language", "dinov3", "gta")},
        {"variant", &Config::variant,
         "rope_vit | timm_language | timm_pixel (coordinates in [-1, 1]) | dinov3 (cell centres in [-1, 1]) | gta "
         "(rows "
         "and columns in turns)",
         one_of("rope_vit", "timm_language", "timm_pixel", "dinov3", "gta")},
        {"values", &Config::values,
         "values travel as seen from the query: turned as keys are, and back with the query"},
        {"max_freq", &Config::max_freq, "timm_pixel: frequencies are spaced from pi to pi max_freq / 2",
         within(1e-3, 1e9).only_with("variant", "timm_pixel")},
        {"bands", &Config::bands, "timm_pixel: spacing of the frequencies, linear | log (timm's linear_bands=False)",
         one_of("linear", "log").only_with("variant", "timm_pixel")},
        {"layout", &Config::layout, "pairs of channels: interleaved | halves (dinov3 implies halves)",
         one_of("interleaved", "halves").only_with("variant", "rope_vit", "timm_language", "timm_pixel", "gta")},
        {"start", &Config::start, "coordinate of the first row and column (1 keeps it apart from a class token)",
         within(-65536, 65536).only_with("variant", "rope_vit", "timm_language", "gta")},
        {"rescale", &Config::rescale, "squeeze another resolution into the trained range of coordinates",
         anything().only_with("variant", "rope_vit", "timm_language", "gta")},
    };
    return table;
  }
  static std::string refuses(const Places& at, const Config& c) {
    const std::string width = needs_width(at, 4);
    return width.empty() && c.values ? needs_values(at) : width;
  }
  RopeAxial(const Scope&, const Places&, const Config& c) : config(c) {}

  Terms terms(const Site& s, const Layout& now, const Tokens&, const Run&) const override {
    using Known = std::tuple<Layout, Extent, int, double, double, std::string, std::string, bool, int>;
    static Memo<Known, Rotary> memo;
    const Extent is = query_extent(now), unit = config.rescale ? query_extent(s.trained) : is;
    const bool halves = config.layout == "halves" || config.variant == "dinov3";
    const Known known{now,          unit,   s.head_dim,  config.theta, config.max_freq, config.variant,
                      config.bands, halves, config.start};
    Terms t;
    t.rotary = memo(known, [&] {
      return rotation(now, 1, s.head_dim / 2, halves, [&](const Point& p, int, int pair) {
        return angle(p, pair, s.head_dim / 4, is, unit, now.window.h > 0);
      });
    });
    t.rotary.values = config.values;
    return t;
  }
  std::string unit_warning(const Places& from, const Places& to) const override {
    const bool cells = config.variant != "timm_pixel" && config.variant != "dinov3";
    const std::string unit = config.rescale && cells ? warn_unit_of_sites(from, to) : "";
    return unit.empty() ? "" : "rope_axial rescale=true: " + unit;
  }

 private:
  /// Of pair t of `quarter` along either axis.
  double frequency(int t, int quarter, bool windowed) const {
    const double band = static_cast<double>(t) / quarter;
    if (config.variant == "timm_pixel") {
      const double most = config.max_freq / 2, step = quarter > 1 ? static_cast<double>(t) / (quarter - 1) : 0;
      return config.bands == "log" ? std::pow(most, step) : 1 + (most - 1) * step;
    }
    const bool language = config.variant == "timm_language" || config.variant == "gta";
    return std::pow(config.theta > 0 ? config.theta : language ? 10000 : windowed ? 50 : 100, -band);
  }
  double angle(const Point& p, int pair, int quarter, const Extent& is, const Extent& unit, bool windowed) const {
    const bool in_turns = config.variant == "gta", columns_first = config.variant == "rope_vit";
    const bool rows = in_turns ? pair % 2 == 0 : (pair < quarter) != columns_first;
    const double f = frequency(in_turns ? pair / 2 : pair % quarter, quarter, windowed);
    const double at = rows ? p.y : p.x;
    const int n = rows ? is.h : is.w, u = rows ? unit.h : unit.w;
    if (config.variant == "timm_pixel") return (n > 1 ? 2 * at / (n - 1) - 1 : -1) * f * std::numbers::pi;
    if (config.variant == "dinov3") return 2 * std::numbers::pi * (2 * (at + 0.5) / n - 1) * f;
    return (config.start + at * u / n) * f;
  }
  Config config;
};

}  // namespace

Encoding rope() { return encoding<Rope>(); }
Encoding rope_axial() { return encoding<RopeAxial>(); }
Encoding gta() { return encoding<RopeAxial>({.variant = "gta", .values = true}); }

}  // namespace TESSERA_NS
}  // namespace tessera
