// Kernelised relative biases.  Chi et al. 2022 (KERPLE), symmetric form.
//   log:   s_ij -= r1 ln(1 + r2 distance)      power: s_ij -= r1 distance^r2      r1, r2 > 0 per head, r2 <= 2 for power
//   hooks: bias      parameters: 2 heads per block      cost: one addition a pair      class tokens: no bias (ours: no source)
//   Both are held at >= 0.01, as the authors clamp them; here by a clamp in the graph, whose gradient is 0 outside.
//   another resolution: distances recomputed.
#include <cmath>

#include "tessera/core/ops/activation.h"
#include "tessera/core/ops/arithmetic.h"
#include "tessera/nn/position/encoding.h"
#include "tessera/nn/position/pairs.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

struct Kerple final : PositionEncoding {
  struct Config {
    bool power = false;
    std::string metric = "raster";
  };
  static Fields<Config> fields() {
    static const Field<Config> table[] = {
        {"metric", &Config::metric, "how distances are measured", one_of("raster", "euclidean")},
    };
    return table;
  }

  Kerple(const Scope& net, const Places& at, const Config& c) : config(c) {
    for (const Site& s : at.sites) {
      const Scope own = net / s.path / "position";
      r1.push_back(own.param("r1", {s.heads, 1}, uniform_between(0, c.power ? 1 : 2), Decay::no));
      r2.push_back(own.param("r2", {s.heads, 1}, uniform_between(0, c.power ? 2 : 1), Decay::no));
    }
  }

  Terms terms(const Site& s, const Layout& now, const Run&) const override {
    const double most = std::numeric_limits<double>::infinity();
    const Tensor a = clamp(r1.at(static_cast<size_t>(s.id)), 0.01, most);
    const Tensor b = clamp(r2.at(static_cast<size_t>(s.id)), 0.01, config.power ? 2 : most);
    const Extent e = extent(now);
    // distance^r2 = exp(r2 ln distance); distance 0 has its own exact 0
    const Tensor shape = config.power ? mul(exp(mul(b, distances(e, true))), nonzero(e.cells()))
                                      : log(add_scalar(mul(b, distances(e, false)), 1));
    const Tensor bias = scale(mul(shape, a), -1);
    return Terms{}.add({Relative::bias, bias.reshape({s.heads, e.cells(), 1}), 0, &index(now)});
  }

 private:
  const Tensor& distances(const Extent& e, bool logarithm) const {
    static Memo<std::tuple<Extent, bool, bool>, Tensor> memo;
    const bool raster_metric = config.metric == "raster";
    return memo({e, raster_metric, logarithm}, [&] {
      std::vector<double> v;
      for (int r = 0; r < e.cells(); ++r) {
        const double d = raster_metric ? r : std::hypot(r / e.w, r % e.w);
        v.push_back(logarithm ? (r ? std::log(d) : 0) : d);
      }
      return tensor({1, e.cells()}, v);
    });
  }
  static const Tensor& nonzero(int cells) {
    static Memo<int, Tensor> memo;
    return memo(cells, [&] {
      Tensor m = full({1, cells}, 1);
      m[0] = 0;
      return m;
    });
  }
  const RelativeIndex& index(const Layout& now) const {
    static Memo<std::tuple<Layout, bool>, RelativeIndex> memo;
    const bool raster_metric = config.metric == "raster";
    return memo({now, raster_metric}, [&] { return unsigned_pairs(now, raster_metric); });
  }
  Config config;
  std::vector<Tensor> r1, r2;  // by Site::id
};

}  // namespace

Encoding kerple_log() { return encoding<Kerple>(); }
Encoding kerple_power() { return encoding<Kerple>({true, "raster"}); }

}  // namespace TESSERA_NS
}  // namespace tessera
