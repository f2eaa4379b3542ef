// Kernelised relative biases.  Chi et al. 2022 (KERPLE), symmetric form.
//   log:   s_ij -= r1 ln(1 + r2 distance)      power: s_ij -= r1 distance^r2      r1, r2 > 0 per head, r2 <= 2 for power
//   hooks: bias      parameters: 2 heads per block      cost: one addition a pair      class tokens: no bias (ours: no source)
//   The authors' model has one r1 and r2 per head, which all blocks share; here each block has its own.
//   Both are held at >= 0.01 and drawn from there on. The authors set a smaller one to 0.01 at every step; here a clamp in the graph does it,
//   whose gradient is 0 outside, so that one that training takes below stays there, as if it were 0.01.
//   another resolution: distances recomputed; scaling=interpolate measures them in cells of the trained grid.
#include <cmath>

#include "tessera/core/ops/activation.h"
#include "tessera/core/ops/arithmetic.h"
#include "tessera/nn/position/encoding.h"
#include "tessera/nn/position/pairs.h"
#include "tessera/nn/position/scaling.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

constexpr double least = 0.01;  // of r1 and r2

struct Kerple final : PositionEncoding {
  struct Config {
    bool power = false;
    std::string metric = "raster", scaling = "none";
    std::string row = "kerple_log";  ///< of the registry, for what is said
  };
  static Fields<Config> fields() {
    static const Field<Config> table[] = {
        {"metric", &Config::metric, "how distances are measured", one_of("raster", "euclidean")},
        {"scaling", &Config::scaling, distance_scaling, scaled_distances()},
    };
    return table;
  }

  Kerple(const Scope& net, const Places& at, const Config& c) : config(c) {
    for (const Site& s : at.sites) {
      const Scope own = net / s.path / "position";
      r1.push_back(own.param("r1", {s.heads, 1}, uniform_between(least, c.power ? 1 : 2), Decay::no));
      r2.push_back(own.param("r2", {s.heads, 1}, uniform_between(least, c.power ? 2 : 1), Decay::no));
    }
  }

  Terms terms(const Site& s, const Layout& now, const Tokens&, const Run&) const override {
    const double most = std::numeric_limits<double>::infinity();
    const Tensor a = clamp(r1.at(static_cast<size_t>(s.id)), least, most);
    const Tensor b = clamp(r2.at(static_cast<size_t>(s.id)), least, config.power ? 2 : most);
    const Extent e = extent(now), unit = config.scaling == "none" ? e : extent(measured_on(s.trained, now));
    // distance^r2 = exp(r2 ln distance); distance 0 has its own exact 0
    const Tensor shape = config.power ? mul(exp(mul(b, distances(e, unit, true))), nonzero(e.cells()))
                                      : log(add_scalar(mul(b, distances(e, unit, false)), 1));
    const Tensor bias = scale(mul(shape, a), -1);
    return Terms{}.add({Relative::bias, bias.reshape({s.heads, e.cells(), 1}), 0, index(now)});
  }

  std::string unit_warning(const Places& from, const Places& to) const override {
    return scaling_warning(config.row, {config.scaling}, from, to);
  }

 private:
  Tensor distances(const Extent& e, const Extent& unit, bool logarithm) const {
    static Memo<std::tuple<Extent, Extent, bool, bool>, Tensor> memo;
    const bool raster_metric = config.metric == "raster";
    return memo({e, unit, raster_metric, logarithm}, [&] {
      std::vector<double> v;
      for (int r = 0; r < e.cells(); ++r) {
        const double d = measured(r, e, unit, raster_metric);
        v.push_back(logarithm ? (r ? std::log(d) : 0) : d);
      }
      return tensor({1, e.cells()}, v);
    });
  }
  static Tensor nonzero(int cells) {
    static Memo<int, Tensor> memo;
    return memo(cells, [&] {
      Tensor m = full({1, cells}, 1);
      m[0] = 0;
      return m;
    });
  }
  RelativeIndex index(const Layout& now) const {
    static Memo<std::tuple<Layout, bool>, RelativeIndex> memo;
    const bool raster_metric = config.metric == "raster";
    return memo({now, raster_metric}, [&] { return unsigned_pairs(now, raster_metric); });
  }
  Config config;
  std::vector<Tensor> r1, r2;  // by Site::id
};

}  // namespace

Encoding kerple_log() { return encoding<Kerple>(); }
Encoding kerple_power() { return encoding<Kerple>({.power = true, .row = "kerple_power"}); }

}  // namespace TESSERA_NS
}  // namespace tessera
