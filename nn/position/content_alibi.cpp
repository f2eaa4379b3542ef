// ALiBi with a slope for every token (ours; the fixed form: Press, Smith, Lewis 2022).          offsets in cells of the call
//   s_ij -= softplus(w_h . x_i + c_h) distance(i, j)          x: the input of the projections; the term stands outside of scale
//   w starts small and c such that softplus(c) is ALiBi's slope of the head, so a fresh model is one of alibi_2d but for w;
//   slope_bias = false leaves c out, and every head starts at softplus(0) = 0.69 a cell.
//   hooks: query, of a side projection      parameters: heads (width + 1) per block      cost: a product of width 1 and a look-up a pair
//   class tokens: no term, as source and as target          Reduced keys: cells of the key map.
//   another resolution: recomputed; scaling=interpolate measures distances in cells of the trained grid
#include <cmath>
#include <tuple>

#include "tessera/core/ops/activation.h"
#include "tessera/nn/position/encoding.h"
#include "tessera/nn/position/exact_linear.h"
#include "tessera/nn/position/formulas.h"
#include "tessera/nn/position/pairs.h"
#include "tessera/nn/position/scaling.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

struct ContentAlibi final : PositionEncoding {
  struct Config {
    std::string metric = "euclidean", scaling = "none";
    bool slope_bias = true;
    double std = 0.02;
  };
  static Fields<Config> fields() {
    static const Field<Config> table[] = {
        {"metric", &Config::metric, "how distances are measured: raster | euclidean | l1",
         one_of("raster", "euclidean", "l1")},
        {"scaling", &Config::scaling, distance_scaling, scaled_distances()},
        {"slope_bias", &Config::slope_bias, "a slope of its own for each head, which starts as ALiBi's"},
        {"std", &Config::std, "standard deviation of the initial weights", within(0, 1000)},
    };
    return table;
  }

  ContentAlibi(const Scope& net, const Places& at, const Config& c) : config(c) {
    for (const Site& s : at.sites) {
      const Scope p = net / s.path / "position" / "slope";
      own.push_back({p.param("weight", {s.heads, s.dim}, normal(c.std), Decay::no), {}});
      if (!c.slope_bias) continue;
      const Tensor& bias = own.back().bias = p.param("bias", {s.heads}, constant(0), Decay::no);
      const std::vector<double> slopes = alibi_slopes(s.heads);
      for (int h = 0; h < s.heads; ++h)  // softplus(ln(e^m - 1)) = m
        bias[h] = static_cast<real>(std::log(std::expm1(slopes[static_cast<size_t>(h)])));
    }
  }

  Terms terms(const Site& s, const Layout& now, const Tokens& x, const Run&) const override {
    const Own& o = own.at(static_cast<size_t>(s.id));
    const Tensor slope = softplus(exact_linear(x.q, o.weight, o.bias));  // (B, N, heads)
    const Extent is = extent(now), unit = config.scaling == "none" ? is : extent(measured_on(s.trained, now));
    const bool raster = config.metric == "raster";
    return Terms{}.add({Relative::query, distances(is, unit), 0, index(now, raster), heads(slope, s.heads), true});
  }
  std::string unit_warning(const Places& from, const Places& to) const override {
    return scaling_warning("content_alibi", {config.scaling}, from, to);
  }

 private:
  struct Own {
    Tensor weight, bias;
  };
  /// (1, cells, 1): minus the distance of every row that unsigned_pairs() knows.
  Tensor distances(const Extent& is, const Extent& unit) const {
    static Memo<std::tuple<Extent, Extent, std::string>, Tensor> memo;
    return memo({is, unit, config.metric}, [&] {
      const double uy = static_cast<double>(unit.h) / is.h, ux = static_cast<double>(unit.w) / is.w;
      std::vector<double> v;
      for (int r = 0; r < is.cells(); ++r) {
        const int y = r / is.w, x = r % is.w;
        v.push_back(config.metric == "raster" ? -r * static_cast<double>(unit.cells()) / is.cells()
                    : config.metric == "l1"   ? -y * uy - x * ux
                                              : -std::hypot(y * uy, x * ux));
      }
      return tensor({1, is.cells(), 1}, v);
    });
  }
  static RelativeIndex index(const Layout& now, bool raster) {
    static Memo<std::tuple<Layout, bool>, RelativeIndex> memo;
    return memo({now, raster}, [&] { return unsigned_pairs(now, raster); });
  }
  Config config;
  std::vector<Own> own;  // by Site::id
};

}  // namespace

Encoding content_alibi() { return encoding<ContentAlibi>(); }

}  // namespace TESSERA_NS
}  // namespace tessera
