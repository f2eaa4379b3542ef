// Relative attention of the Music Transformer.  Huang et al. 2019; unmasked and 2-D forms after tensor2tensor.
//   s_ij = scale q_i . (k_j + Er[j - i])            2-D: q_i . (rh[y_j - y_i] + rw[x_j - x_i]), both of full width        key minus query
//   optionally o_i = sum_j p_ij (v_j + Ev[j - i])
//   hooks: query (value)      parameters: (2 max - 1) d per head and block (or shared by the heads)      cost: as Shaw's
//   Offsets of max_relative_position and beyond add nothing: zero-padded, where Shaw clamps. The skew of the paper is a lookup here.
//   class tokens: nothing (ours: no source)          another resolution: offsets beyond the trained ones add nothing
#include <cmath>

#include "tessera/core/ops/permute.h"
#include "tessera/nn/position/encoding.h"
#include "tessera/nn/position/offset_rows.h"
#include "tessera/nn/position/pairs.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

struct MusicTransformer final : PositionEncoding {
  struct Config {
    int max_relative_position = 0;
    bool heads_share_relative_embedding = false, add_relative_to_values = false, two_d = false;
  };
  static Fields<Config> fields() {
    static const Field<Config> table[] = {
        {"max_relative_position", &Config::max_relative_position,
         "offsets below this have a row; 0: all of the trained grid", within(0, 65536)},
        {"heads_share_relative_embedding", &Config::heads_share_relative_embedding,
         "one table for all heads of a block"},
        {"add_relative_to_values", &Config::add_relative_to_values, "a second set of tables on the values"},
    };
    return table;
  }

  struct Axis {
    Tensor key, value;  // (heads or 1, 2 max - 1, d)
    int axis, max;      // 0: raster, 1: rows, 2: columns
  };

  MusicTransformer(const Scope& net, const Places& at, const Config& c) : config(c) {
    for (const Site& s : at.sites) {
      const Extent e = extent(s.trained);
      const Scope p = net / s.path / "position";
      std::vector<Axis> axes;
      for (int axis : c.two_d ? std::vector<int>{1, 2} : std::vector<int>{0}) {
        const int span = axis == 0   ? e.cells()
                         : axis == 1 ? e.h
                                     : e.w,
                  max = c.max_relative_position ? c.max_relative_position : span;
        const char* suffix = axis == 0 ? "" : axis == 1 ? "_h" : "_w";
        const Shape shape{c.heads_share_relative_embedding ? 1 : s.heads, 2 * max - 1, s.head_dim};
        const Init init = normal(1 / std::sqrt(static_cast<double>(s.head_dim)));
        axes.push_back({p.param(std::string("key_relative") + suffix, shape, init, Decay::no),
                        c.add_relative_to_values
                            ? p.param(std::string("value_relative") + suffix, shape, init, Decay::no)
                            : Tensor(),
                        axis, max});
      }
      own.push_back(std::move(axes));
    }
  }

  Terms terms(const Site& s, const Layout& now, const Run&) const override {
    Terms t;
    for (const Axis& a : own.at(static_cast<size_t>(s.id))) {
      const RelativeIndex& rho = index(now, a.axis, a.max);
      t.add({Relative::query, a.key, 0, &rho});
      if (a.value) t.add({Relative::value, a.value, 0, &rho});
    }
    return t;
  }

  Tensor resample(std::string_view name, const Tensor& t, const Layout& from, const Layout& to) const override {
    const int axis = name.ends_with("_h") ? 1 : name.ends_with("_w") ? 2 : 0;
    const int was = reachable(from, axis), is = reachable(to, axis);
    if (config.max_relative_position || was == is) return t;
    return permute(offset_rows(permute(t, {1, 0, 2}), was, is, Beyond::nothing), {1, 0, 2});
  }

 private:
  static const RelativeIndex& index(const Layout& now, int axis, int max) {
    static Memo<std::tuple<Layout, int, int>, RelativeIndex> memo;
    return memo({now, axis, max}, [&] {
      const Extent e = extent(now);
      return make_pairs(now, 2 * max - 1, [&](const auto& i, const auto& j) {
        if (i.prefix() || j.prefix()) return -1;
        const int offset = axis == 0 ? raster(j, e) - raster(i, e) : axis == 1 ? j.y - i.y : j.x - i.x;
        return offset <= -max || offset >= max ? -1 : offset + max - 1;
      });
    });
  }
  Config config;
  std::vector<std::vector<Axis>> own;  // by Site::id
};

}  // namespace

Encoding music_transformer() { return encoding<MusicTransformer>(); }
Encoding music_transformer_2d() { return encoding<MusicTransformer>({0, false, false, true}); }

}  // namespace TESSERA_NS
}  // namespace tessera
