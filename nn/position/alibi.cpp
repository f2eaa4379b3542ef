// Attention with linear biases.  Press, Smith, Lewis 2022; in two dimensions: Fuller et al. 2023 (CROMA).
//   s_ij -= m_head distance(i, j)          distance: |i - j| on the raster (alibi), or of the cells' centres in the plane (alibi_2d)
//   slopes m: 2^(-8 (h + 1) / n) for n a power of two heads; else those of the power below, then every second one of the doubled set
//   hooks: bias      parameters: none      cost: one addition a pair      class tokens: no bias
//   The symmetric form: the causal shortcut +m j of the authors' code would reward distance for j > i.
//   another resolution: recomputed; scaling=interpolate keeps the trained unit of length.
#include <cmath>

#include "tessera/nn/position/encoding.h"
#include "tessera/nn/position/formulas.h"
#include "tessera/nn/position/pairs.h"
#include "tessera/nn/position/scaling.h"

namespace tessera {
inline namespace TESSERA_NS {

namespace {

struct Alibi final : PositionEncoding {
  struct Config {
    std::string metric = "raster";
    bool rescale = false;
    std::string scaling = "none";
    std::string row = "alibi";  ///< of the registry, for what is said
  };
  static Fields<Config> fields() {
    static const Field<Config> table[] = {
        {"metric", &Config::metric,
         "raster | euclidean | l1 | axes (the first half of the heads, rounded up, sees rows, the others columns)",
         one_of("raster", "euclidean", "l1", "axes")},
        {"rescale", &Config::rescale, "scaling=interpolate under its older name"},
        {"scaling", &Config::scaling, distance_scaling, scaled_distances()},
    };
    return table;
  }
  static void check(const Config& c) { check_scaling(c.row, {c.scaling}, c.rescale); }
  Alibi(const Scope&, const Places&, const Config& c) : config(c) {}

  Terms terms(const Site& s, const Layout& now, const Tokens&, const Run&) const override {
    const Extent is = extent(now),
                 unit = config.rescale || config.scaling == "interpolate" ? extent(measured_on(s.trained, now)) : is;
    static Memo<std::tuple<Extent, Extent, int, std::string>, Tensor> memo;
    const Tensor& t = memo({is, unit, s.heads, config.metric}, [&] { return table(is, unit, s.heads); });
    return Terms{}.add({Relative::bias, t, 0, index(now, config.metric == "raster")});
  }
  std::string unit_warning(const Places& from, const Places& to) const override {
    return scaling_warning(config.row, {config.scaling}, from, to, config.rescale);
  }

 private:
  Tensor table(const Extent& is, const Extent& unit, int heads) const {
    const std::vector<double> slope = alibi_slopes(heads);
    const double uy = static_cast<double>(unit.h) / is.h, ux = static_cast<double>(unit.w) / is.w;
    std::vector<double> v;
    for (int h = 0; h < heads; ++h)
      for (int r = 0; r < is.cells(); ++r) {
        const int y = r / is.w, x = r % is.w;
        const double dy = y * uy, dx = x * ux;
        const double distance = config.metric == "raster"      ? r * static_cast<double>(unit.cells()) / is.cells()
                                : config.metric == "euclidean" ? std::hypot(dy, dx)
                                : config.metric == "l1"        ? dy + dx
                                : 2 * h < heads                ? dy
                                                               : dx;
        v.push_back(-slope[static_cast<size_t>(h)] * distance);
      }
    return tensor({heads, is.cells(), 1}, v);
  }
  static RelativeIndex index(const Layout& now, bool on_raster) {
    static Memo<std::tuple<Layout, bool>, RelativeIndex> memo;
    return memo({now, on_raster}, [&] { return unsigned_pairs(now, on_raster); });
  }
  Config config;
};

}  // namespace

Encoding alibi() { return encoding<Alibi>(); }
Encoding alibi_2d() { return encoding<Alibi>({.metric = "euclidean", .row = "alibi_2d"}); }

}  // namespace TESSERA_NS
}  // namespace tessera
