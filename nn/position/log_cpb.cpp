// Log-spaced continuous position bias.  Liu et al. 2022 (Swin v2), in the form of the official code.
//   s_ij += 16 sigmoid(MLP(x(dy), x(dx)))_head,   x(d) = sign(d') log2(|d'| + 1) / log2 8,   d' = 8 d / (M - 1)      offsets query minus key
//   hooks: bias      parameters: 2 hidden + hidden + heads hidden per block      cost: the MLP on (2h - 1)(2w - 1) points per call, one fused op
//   class tokens: the value of an MLP output of 0, which is what every other pair has at the start, up to the MLP's small outputs
//   another window: the coordinates are recomputed; `pretrained_window_size` (default: the trained one) fixes their unit M,
//   scaling=interpolate makes it the present one, so that offsets span [-8, 8] in every window
#include "tessera/core/ops/activation.h"
#include "tessera/core/ops/arithmetic.h"
#include "tessera/core/ops/permute.h"
#include "tessera/core/ops/point_mlp.h"
#include "tessera/nn/position/encoding.h"
#include "tessera/nn/position/formulas.h"
#include "tessera/nn/position/pairs.h"
#include "tessera/nn/position/scaling.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

struct LogCpb final : PositionEncoding {
  struct Config {
    int hidden = 512, pretrained_window_size = 0;
    std::string scaling = "none";
  };
  static Fields<Config> fields() {
    static const Field<Config> table[] = {
        {"hidden", &Config::hidden, "width of the MLP", within(1, 8192)},
        {"pretrained_window_size", &Config::pretrained_window_size,
         "window whose offsets span [-8, 8]; 0: the trained one", within(0, 16384)},
        {"scaling", &Config::scaling,
         "on another window than the trained one: none | interpolate (offsets span [-8, 8] in every window)",
         scaled_distances()},
    };
    return table;
  }
  static void check(const Config& c) {
    if (c.scaling != "none" && c.pretrained_window_size)
      fail("position log_cpb", "pretrained_window_size fixes the unit that scaling={} changes: set one or the other",
           c.scaling);
  }

  struct Mlp {
    Tensor w0, b0, w2;
  };
  std::vector<Mlp> own;  // by Site::id
  Config config;

  LogCpb(const Scope& net, const Places& at, const Config& c) : config(c) {
    for (const Site& s : at.sites) {
      const Scope mlp = net / s.path / "cpb_mlp";
      own.push_back({(mlp / "0").param("weight", {c.hidden, 2}, tn02(), Decay::no),
                     (mlp / "0").param("bias", {c.hidden}, constant(0), Decay::no),
                     (mlp / "2").param("weight", {s.heads, c.hidden}, tn02(), Decay::no)});
    }
  }

  Terms terms(const Site& s, const Layout& now, const Tokens&, const Run&) const override {
    const Mlp& m = own.at(static_cast<size_t>(s.id));
    const bool begins = now.k.sequence && now.k.w <= s.trained.k.w,  // a longer sequence, whose unit it has
        own_unit = config.scaling == "interpolate" && !begins;
    const Extent unit = config.pretrained_window_size
                            ? Extent{config.pretrained_window_size, config.pretrained_window_size}
                            : extent(own_unit ? now : s.trained);
    const bool classes = now.q.prefix && !now.window.h;
    const Tensor z = point_mlp(coordinates(extent(now), unit, classes), m.w0, m.b0, m.w2);  // (R, heads)
    const Tensor z0 = classes ? mul(z, mask(z.dim(0))) : z;
    const Tensor bias = scale(sigmoid(z0), 16);
    return Terms{}.add({Relative::bias, permute(bias, {1, 0}).reshape({s.heads, z.dim(0), 1}), 0, index(now)});
  }

  std::string unit_warning(const Places& from, const Places& to) const override {
    const std::string unit = config.pretrained_window_size ? ""
                             : config.scaling != "none"    ? warn_unit_of_sequences(from, to)
                                                           : warn_unit_of_sites(from, to);
    return unit.empty() ? "" : "log_cpb: " + unit + "; pretrained_window_size keeps a unit";
  }

  /// (R, 2): the log coordinates of every offset, row offsets first, and one row of zeros for class tokens if `classes`.
  static Tensor coordinates(const Extent& is, const Extent& unit, bool classes) {
    static Memo<std::tuple<Extent, Extent, bool>, Tensor> memo;
    return memo({is, unit, classes}, [&] {
      std::vector<double> v;
      for (int dy = 1 - is.h; dy < is.h; ++dy)
        for (int dx = 1 - is.w; dx < is.w; ++dx)
          v.push_back(cpb_coordinate(dy, unit.h)), v.push_back(cpb_coordinate(dx, unit.w));
      if (classes) v.insert(v.end(), {0, 0});
      return tensor({static_cast<int>(v.size() / 2), 2}, v);
    });
  }

 private:
  /// 1 for offsets, 0 for the class row: its MLP output is fixed at 0.
  static Tensor mask(int rows) {
    static Memo<int, Tensor> memo;
    return memo(rows, [&] {
      Tensor m = full({rows, 1}, 1);
      m[rows - 1] = 0;
      return m;
    });
  }
  static RelativeIndex index(const Layout& now) {
    static Memo<Layout, RelativeIndex> memo;
    return memo(now, [&] {
      const Extent e = extent(now);
      const int base = (2 * e.h - 1) * (2 * e.w - 1);
      return make_pairs(now, base + (now.q.prefix && !now.window.h), [&](const auto& i, const auto& j) {
        return i.prefix() || j.prefix() ? base : (i.y - j.y + e.h - 1) * (2 * e.w - 1) + i.x - j.x + e.w - 1;
      });
    });
  }
};

}  // namespace

Encoding log_cpb() { return encoding<LogCpb>(); }

}  // namespace TESSERA_NS
}  // namespace tessera
