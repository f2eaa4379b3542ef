// Sinusoids of both coordinates.  Beyer, Zhai, Kolesnikov 2022, "Better plain ViT baselines for ImageNet-1k"
// (SimpleViT).
//   K = C/4,  omega_t = T^(-t/(K-1)),  T = 10000        PE(y, x) = [sin(x omega) | cos(x omega) | sin(y omega) | cos(y
//   omega)]
// Its cousins differ in the exponent, the order of the blocks and the axes; they are variants here, faithful to their
// sources:
//   simplevit         t/(K-1)   sin x, cos x, sin y, cos y                      big_vision
//   moco_v3           t/K       sin a, cos a, sin b, cos b; a = n / H and b = n % H of token n (the axes of a square
//   grid are swapped,
//                               and another grid is scrambled: so is the source)
//   mae               t/K       sin x, cos x, sin y, cos y
//   timm              t/K       sin y, sin x, cos y, cos x                      timm's build_sincos2d_pos_embed
//   timm_reversed     t/K       sin a, sin b, cos a, cos b; a = n / H and b = n % H of token n: its reverse_coord, which
//                               exchanges the sides of the grid and nothing else: timm on a square, scrambled elsewhere
//   timm_interleaved  t/K       sin y, cos y, sin x, cos x                      its interleave_sin_cos
//   t2t               t/(K-1)   sin y, cos y, sin x, cos x, spare channels 0    tensor2tensor's add_timing_signal_nd
//   hooks: tokens      parameters: 0      cost: one addition      class tokens: zero
//   another resolution: computed anew, or scaled (scaling.h); resolution=rescale is scaling=interpolate under its older name
// On an 8 x 8 grid most channels are nearly constant at T = 10000: the temperature is a real hyper-parameter for small
// images.
#include <array>
#include <cmath>
#include <tuple>

#include "tessera/core/ops/add_table.h"
#include "tessera/nn/position/encoding.h"
#include "tessera/nn/position/pairs.h"
#include "tessera/nn/position/scaling.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

/// One block of K channels: a function of one coordinate.
struct Band {
  enum Axis { y, x } axis;
  bool cosine;
};
struct Variant {
  const char* name;
  bool last;  ///< the last frequency is 1/T: exponents t/(K-1)
  std::array<Band, 4> bands;
  bool columns_first = false;  ///< tokens are taken to run down the columns, whatever their order
};
constexpr Band sin_y{Band::y, false}, cos_y{Band::y, true}, sin_x{Band::x, false}, cos_x{Band::x, true};
constexpr std::array<Variant, 7> variants{{{"simplevit", true, {sin_x, cos_x, sin_y, cos_y}},
                                           {"moco_v3", false, {sin_x, cos_x, sin_y, cos_y}, true},
                                           {"mae", false, {sin_x, cos_x, sin_y, cos_y}},
                                           {"timm", false, {sin_y, sin_x, cos_y, cos_x}},
                                           {"timm_reversed", false, {sin_x, sin_y, cos_x, cos_y}, true},
                                           {"timm_interleaved", false, {sin_y, cos_y, sin_x, cos_x}},
                                           {"t2t", true, {sin_y, cos_y, sin_x, cos_x}}}};

const Variant& variant(const std::string& name) {
  std::vector<std::string> names;
  for (const auto& v : variants) {
    if (name == v.name) return v;
    names.emplace_back(v.name);
  }
  unknown("position.variant", name, names);
}

struct SinCos2d final : PositionEncoding {
  struct Config : Scaling {
    std::string variant = "simplevit", resolution = "recompute";
    double temperature = 10000;
  };
  static Fields<Config> fields() {
    static const Fields<Config> table = joined<Config>(
        {{{"variant", &Config::variant, "whose form",
           one_of("simplevit", "moco_v3", "mae", "timm", "timm_reversed", "timm_interleaved", "t2t")},
          {"temperature", &Config::temperature, "the lowest frequency is about one over this", within(1, 1e12)},
          {"resolution", &Config::resolution,
           "on another grid: recompute | rescale (scaling=interpolate under its older name)",
           one_of("recompute", "rescale")}},
         scaling_fields<Config>(scaled_frequencies().only_with("resolution", "recompute"), true, false)});
    return table;
  }
  static void check(const Config& c) { check_scaling("sincos2d", c); }
  static std::string refuses(const Places& at, const Config& c) {
    const bool last = variant(c.variant).last;
    for (const auto& s : at.tokens) {
      if (s.dim % 4 && c.variant != "t2t") return fmt::format("the width {} is not a multiple of 4", s.dim);
      if (s.dim / 4 < (last ? 2 : 1))
        return fmt::format("the width {} is too small: variant {} divides by width/4 - 1", s.dim, c.variant);
      if (std::string why = scaling_refuses(c, s.dim / 4); !why.empty()) return why;
    }
    return "";
  }

  SinCos2d(const Scope&, const Places&, const Config& c) : config(c), scaling(c) {
    if (c.resolution == "rescale") scaling.scaling = "interpolate";
  }

  Tensor tokens(const Spot& spot, const Grid& now, const Tensor& x, const Run&) const override {
    return add_table(x, table(spot.trained, now, spot.dim), now.prefix);
  }
  std::string unit_warning(const Places& from, const Places& to) const override {
    const std::string unit = config.resolution == "rescale" ? warn_unit_of_tokens(from, to) : "";
    return unit.empty() ? scaling_warning_of_tokens("sincos2d", config, from, to)
                        : "sincos2d resolution=rescale: " + unit;
  }

 private:
  Tensor table(const Grid& trained, const Grid& now, int C) const {
    const Grid unit = looks_at_trained(scaling) ? measured_on(trained, now) : now;
    static Memo<std::tuple<std::string, int, int, int, int, int, double, Scaling>, Tensor> memo;
    return memo({config.variant, unit.h, unit.w, now.h, now.w, C, config.temperature, scaling}, [&] {
      return tensor({now.h * now.w, C}, rows(unit, now, C));
    });
  }

  std::vector<double> rows(const Grid& unit, const Grid& now, int C) const {
    const Variant& v = variant(config.variant);
    const int K = C / 4;
    std::vector<double> f;
    for (int t = 0; t < K; ++t) f.push_back(std::pow(config.temperature, -t / (v.last ? K - 1.0 : K)));
    const std::array<ScaledAxis, 2> axes{scaled_axis(scaling, f, unit.h, now.h),
                                         scaled_axis(scaling, f, unit.w, now.w)};  // by Band::Axis
    std::vector<double> pe(static_cast<size_t>(now.h) * static_cast<size_t>(now.w) * static_cast<size_t>(C), 0.0);
    for (int n = 0; n < now.h * now.w; ++n) {
      const double row = v.columns_first ? n % now.h : n / now.w, col = v.columns_first ? n / now.h : n % now.w;
      const std::array<double, 2> at{axes[0].at(row), axes[1].at(col)};
      double* to = pe.data() + static_cast<size_t>(n) * static_cast<size_t>(C);
      for (const Band& band : v.bands) {
        for (int t = 0; t < K; ++t) {
          const double angle = at[band.axis] * axes[band.axis].f[static_cast<size_t>(t)];
          *to++ = band.cosine ? std::cos(angle) : std::sin(angle);
        }
      }
    }
    return pe;
  }

  Config config;
  Scaling scaling;
};

}  // namespace

Encoding sincos2d() { return encoding<SinCos2d>(); }

}  // namespace TESSERA_NS
}  // namespace tessera
