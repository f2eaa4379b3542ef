// A fixed table of wavelets of the offset, met by queries: the control "relative table that is not learned".  Oka et al. 2025, arXiv 2502.02004.
//   s_ij += scale q_i . p(i - j),   p_c(o) = psi((o - b_c) / a_c),   psi(t) = (1 - t^2) e^(-t^2 / 2), the Ricker wavelet
//   (a, b) over {1, 2, .. 2^(S-1)} x {0, .. w/S - 1} for w channels, scale by scale
//   axes: raster  o the offset of the raster index, all channels (the paper, of text)
//         concat  half of the channels see the offset of columns, the others that of rows; b is centred, since both directions exist (ours)
//   hooks: query      parameters: none      cost: as Shaw's keys, without clipping: a product of q with every offset, then a look-up a pair
//   class tokens: no term (ours)      another resolution: recomputed; scaling=interpolate measures offsets in cells of the trained grid
#include <cmath>

#include "tessera/nn/position/encoding.h"
#include "tessera/nn/position/pairs.h"
#include "tessera/nn/position/scaling.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

struct Wavelet final : PositionEncoding {
  struct Config {
    int scales = 0;
    std::string axes = "concat", scaling = "none";
  };
  static Fields<Config> fields() {
    static const Field<Config> table[] = {
        {"scales", &Config::scales,
         "S: widths 1, 2, .. 2^(S-1); 0: the largest power of two that leaves as many shifts of each (ours)",
         within(0, 16)},
        {"axes", &Config::axes, "along the raster, or columns and rows beside each other", one_of("raster", "concat")},
        {"scaling", &Config::scaling, distance_scaling, scaled_distances()},
    };
    return table;
  }
  static std::string refuses(const Places& at, const Config& c) {
    for (const Site& s : at.sites) {
      if (c.axes == "concat" && s.head_dim % 2)
        return fmt::format("head width {} cannot be halved between two axes", s.head_dim);
      const int width = c.axes == "concat" ? s.head_dim / 2 : s.head_dim;
      if (c.scales && width % c.scales)
        return fmt::format("{} channels an axis cannot be shared between {} scales", width, c.scales);
    }
    return "";
  }
  Wavelet(const Scope&, const Places&, const Config& c) : config(c) {}

  Terms terms(const Site& s, const Layout& now, const Tokens&, const Run&) const override {
    const Extent is = extent(now), unit = config.scaling == "none" ? is : extent(measured_on(s.trained, now));
    Terms t;
    const auto add = [&](int axis, int first, int width) {
      const auto along = [axis](const Extent& e) { return axis == 0 ? e.cells() : axis == 1 ? e.h : e.w; };
      t.add({Relative::query, table(reachable(now, axis), along(unit), along(is), width), first, index(now, axis)});
    };
    if (config.axes == "raster") {
      add(0, 0, s.head_dim);
    } else {
      add(2, 0, s.head_dim / 2), add(1, s.head_dim / 2, s.head_dim / 2);
    }
    return t;
  }
  std::string unit_warning(const Places& from, const Places& to) const override {
    return scaling_warning("wavelet", {config.scaling}, from, to);
  }

 private:
  int scales(int width) const {
    if (config.scales) return config.scales;
    int S = 1;
    while (4 * S * S <= width && width % (2 * S) == 0) S *= 2;
    return S;
  }
  /// (1, 2 reach + 1, width): row r is offset r - reach, of an axis of `is` cells, in cells of one of `unit`.
  Tensor table(int reach, int unit, int is, int width) const {
    static Memo<std::tuple<int, int, int, int, int, bool>, Tensor> memo;
    const int S = scales(width), shifts = width / S;
    const bool centred = config.axes == "concat";
    return memo({reach, unit, is, width, S, centred}, [&] {
      std::vector<double> v;
      for (int o = -reach; o <= reach; ++o)
        for (int c = 0; c < width; ++c) {
          const double offset = static_cast<double>(o) * unit / is, b = c % shifts - (centred ? (shifts - 1) / 2.0 : 0),
                       t = (offset - b) * std::exp2(-(c / shifts));
          v.push_back((1 - t * t) * std::exp(-t * t / 2));
        }
      return tensor({1, 2 * reach + 1, width}, v);
    });
  }
  /// Offsets are query minus key. axis 0: raster, 1: rows, 2: columns
  static RelativeIndex index(const Layout& now, int axis) {
    static Memo<std::tuple<Layout, int>, RelativeIndex> memo;
    return memo({now, axis}, [&] {
      const Extent e = extent(now);
      const int reach = reachable(now, axis);
      return make_pairs(now, 2 * reach + 1, [&](const auto& i, const auto& j) {
        if (i.prefix() || j.prefix()) return -1;
        const int offset = axis == 0 ? raster(i, e) - raster(j, e) : axis == 1 ? i.y - j.y : i.x - j.x;
        return clip(offset, reach) + reach;
      });
    });
  }
  Config config;
};

}  // namespace

Encoding wavelet() { return encoding<Wavelet>(); }

}  // namespace TESSERA_NS
}  // namespace tessera
