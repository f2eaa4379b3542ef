// Functional interpolation for relative encodings.  Li et al. 2024 (FIRE), normalised by the grid instead of the query's position.
//   s_ij += MLP(ln(1 + c distance) / ln(1 + c D))_head,   D = the largest distance of the grid,   MLP 1 - hidden - heads with ReLU
//   hooks: bias      parameters: 1 + 2 hidden + hidden heads + heads per block      cost: the MLP once per distinct distance
//   class tokens: no bias (ours: no source). The causal original divides by the query's position; a grid has no first token.
//   another resolution: D grows with the grid, so inputs stay in [0, 1]; D of a sequence is that of the trained length. Distances too
//   are measured in cells of the trained grid with scaling=interpolate, so that c keeps its meaning.
#include <cmath>

#include "tessera/core/ops/activation.h"
#include "tessera/core/ops/arithmetic.h"
#include "tessera/core/ops/permute.h"
#include "tessera/nn/position/encoding.h"
#include "tessera/nn/position/exact_linear.h"
#include "tessera/nn/position/pairs.h"
#include "tessera/nn/position/scaling.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

struct Fire final : PositionEncoding {
  struct Config {
    int hidden = 32;
    double init_c = 0.1;
    std::string metric = "euclidean", scaling = "none";
  };
  static Fields<Config> fields() {
    static const Field<Config> table[] = {
        {"hidden", &Config::hidden, "width of the MLP", within(1, 8192)},
        {"init_c", &Config::init_c, "initial c", within(1e-6, 1e6)},
        {"metric", &Config::metric, "how distances are measured", one_of("raster", "euclidean")},
        {"scaling", &Config::scaling, distance_scaling, scaled_distances()},
    };
    return table;
  }

  struct Own {
    Tensor c, w0, b0, w2, b2;
  };
  std::vector<Own> own;  // by Site::id
  Config config;

  Fire(const Scope& net, const Places& at, const Config& o) : config(o) {
    for (const Site& s : at.sites) {
      const Scope p = net / s.path / "position";
      own.push_back({p.param("c", {1, 1}, constant(o.init_c), Decay::no),
                     (p / "mlp.0").param("weight", {o.hidden, 1}, torch_default(1), Decay::no),
                     (p / "mlp.0").param("bias", {o.hidden}, torch_default(1), Decay::no),
                     (p / "mlp.2").param("weight", {s.heads, o.hidden}, torch_default(o.hidden), Decay::no),
                     (p / "mlp.2").param("bias", {s.heads}, torch_default(o.hidden), Decay::no)});
    }
  }

  Terms terms(const Site& s, const Layout& now, const Tokens&, const Run&) const override {
    const Own& o = own.at(static_cast<size_t>(s.id));
    const Extent e = extent(now), unit = config.scaling == "none" ? e : extent(measured_on(s.trained, now));
    const Tensor& d = distances(e, unit);  // (cells, 1)
    const Tensor c = clamp(o.c, 1e-6, std::numeric_limits<double>::infinity());
    const auto warp = [&](const Tensor& t) { return log(add_scalar(mul(c, t), 1)); };
    // the length of a sequence, padding included, is no unit
    const double longest = static_cast<double>(d[d.size() - 1]),
                 most = std::max(now.k.sequence ? s.trained.k.w - 1.0 : longest, 1.0);
    const Tensor u = div(warp(d), warp(full({1, 1}, static_cast<real>(most))));
    const Tensor bias = exact_linear(relu(exact_linear(u, o.w0, o.b0)), o.w2, o.b2);  // (cells, heads)
    return Terms{}.add({Relative::bias, permute(bias, {1, 0}).reshape({s.heads, e.cells(), 1}), 0, index(now)});
  }

  std::string unit_warning(const Places& from, const Places& to) const override {
    const std::string unit = config.scaling == "none" ? warn_unit_of_sequences(from, to) : "";  // that of D
    return unit.empty() ? scaling_warning("fire", {config.scaling}, from, to) : "fire: " + unit;
  }

 private:
  Tensor distances(const Extent& e, const Extent& unit) const {
    static Memo<std::tuple<Extent, Extent, bool>, Tensor> memo;
    const bool raster_metric = config.metric == "raster";
    return memo({e, unit, raster_metric}, [&] {
      std::vector<double> v(static_cast<size_t>(e.cells()));
      for (int r = 0; r < e.cells(); ++r) v[static_cast<size_t>(r)] = measured(r, e, unit, raster_metric);
      return tensor({e.cells(), 1}, v);
    });
  }
  RelativeIndex index(const Layout& now) const {
    static Memo<std::tuple<Layout, bool>, RelativeIndex> memo;
    const bool raster_metric = config.metric == "raster";
    return memo({now, raster_metric}, [&] { return unsigned_pairs(now, raster_metric); });
  }
};

}  // namespace

Encoding fire() { return encoding<Fire>(); }

}  // namespace TESSERA_NS
}  // namespace tessera
