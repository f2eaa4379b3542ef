// Transformer-XL's relative attention.  Dai et al. 2019, bidirectional as in the Conformer (Gulati et al. 2020).
//   s_ij = scale [ (q_i + u) . k_j + (q_i + v) . (W_R R_{i-j}) ]          offsets are query minus key
//   R_p = [ sin(p w_t) | cos(p w_t) ], w_t = 10000^(-2t/C), halves, fixed
//   as terms, with T = W_R R per head: query(T) + bias(scale v . T) + key(u), the last of one row
//   axial: two copies, over rows and over columns, summed
//   transformer_xl_learned (RelLearnableMultiHeadAttn): T and the second bias are tables E, b of their own instead of W_R R and v . T
//   hooks: query, bias, key      parameters: W_R C^2 per block, u and v per block or per model; learned: (2N - 1)(C + heads) per block
//   cost: q T^T, N (2N - 1) C a layer, W_R R once a call, then lookups: one index instead of the relative shift, so every pair is right
//   class tokens: only the (q + u) . k term (ours: no source)          another resolution: sinusoids recomputed, or scaled (scaling.h); learned: offsets clip
#include <cmath>

#include "tessera/core/ops/arithmetic.h"
#include "tessera/core/ops/permute.h"
#include "tessera/core/ops/reduce.h"
#include "tessera/nn/position/encoding.h"
#include "tessera/nn/position/exact_linear.h"
#include "tessera/nn/position/learned_scale.h"
#include "tessera/nn/position/offset_rows.h"
#include "tessera/nn/position/pairs.h"
#include "tessera/nn/position/scaling.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

/// Rows i - j + reach for offsets clipped to +-reach; axis 0: raster, 1: rows, 2: columns.
RelativeIndex offsets(const Layout& now, int axis, int reach) {
  static Memo<std::tuple<Layout, int, int>, RelativeIndex> memo;
  return memo({now, axis, reach}, [&] {
    const Extent e = extent(now);
    return make_pairs(now, 2 * reach + 1, [&](const auto& i, const auto& j) {
      if (i.prefix() || j.prefix()) return -1;
      return clip(axis == 0 ? raster(i, e) - raster(j, e) : axis == 1 ? i.y - j.y : i.x - j.x, reach) + reach;
    });
  });
}

std::span<const int> axes_of(bool axial) {
  static constexpr int raster_only[] = {0}, both[] = {1, 2};
  return axial ? std::span<const int>(both) : std::span<const int>(raster_only);
}
const char* suffix(int axis) { return axis == 0 ? "" : axis == 1 ? "_y" : "_x"; }

constexpr const char* u_and_v = "u . k and v . R are added without any";

struct TransformerXl final : PositionEncoding {
  struct Config : Scaling {
    bool shared = false, axial = false;
    int clamp_len = 0;
    std::string init = "normal";
    std::string row = "transformer_xl";  ///< of the registry, for what is said
  };
  static Fields<Config> fields() {
    static const Fields<Config> table = joined<Config>(
        {{{"shared", &Config::shared,
           "one u and v for all blocks of a stage (the original) instead of one per block (espnet)"},
          {"axial", &Config::axial, "rows and columns instead of the raster"},
          {"clamp_len", &Config::clamp_len, "clamp distances to this before the sinusoid; 0: never", within(0, 65536)},
          {"init", &Config::init, "of u and v: normal (0.02) | xavier (espnet)", one_of("normal", "xavier")}},
         scaling_fields<Config>(scaled_frequencies(), true, false)});
    return table;
  }
  static void check(const Config& c) { check_scaling(c.row, c); }
  static std::string refuses(const Places& at, const Config& c) {
    for (const Site& s : at.sites) {
      if (std::string why = scaling_refuses(c, s.dim / 2); !why.empty()) return why;
      if (s.dim % 2) return fmt::format("the width {} must be even: sines and cosines come in pairs", s.dim);
    }
    return refuses_learned_scale(at, u_and_v);
  }

  struct Own {
    std::vector<Tensor> W;  // per axis, (heads d, C)
    Tensor u, v;            // (heads, d)
  };

  TransformerXl(const Scope& net, const Places& at, const Config& c) : config(c) {
    int stage = -1;
    for (const Site& s : at.sites) {
      Own o;
      if (c.shared && s.stage == stage) {
        o.u = own.back().u, o.v = own.back().v;
      } else {
        const Scope where = !c.shared               ? net / s.path
                            : at.sites.back().stage ? net / "position" / "stages" / s.stage
                                                    : net / "position";
        const Init init = c.init == "normal" ? normal(0.02) : xavier_uniform(s.heads, s.head_dim);
        o.u = where.param("pos_bias_u", {s.heads, s.head_dim}, init, Decay::no);
        o.v = where.param("pos_bias_v", {s.heads, s.head_dim}, init, Decay::no);
      }
      stage = s.stage;
      for (int axis : axes_of(c.axial))
        o.W.push_back((net / s.path / (std::string("linear_pos") + suffix(axis)))
                          .param("weight", {s.heads * s.head_dim, s.dim}, normal(0.02)));
      own.push_back(std::move(o));
    }
  }

  Terms terms(const Site& s, const Layout& now, const Tokens&, const Run&) const override {
    const Own& o = own.at(static_cast<size_t>(s.id));
    Terms t;
    for (size_t i = 0; i < o.W.size(); ++i) {
      const int axis = axes_of(config.axial)[i], reach = reachable(now, axis), R = 2 * reach + 1;
      const Tensor T = permute(exact_linear(sinusoids(s, now, axis), o.W[i]).reshape({R, s.heads, s.head_dim}),
                               {1, 0, 2});                                              // (heads, R, d)
      const Tensor vT = sum(mul(T, o.v.reshape({s.heads, 1, s.head_dim})), {2}, true);  // (heads, R, 1)
      t.add({Relative::query, T, 0, offsets(now, axis, reach)});
      t.add({Relative::bias, scale(vT, s.scale), 0, offsets(now, axis, reach)});
    }
    t.add({Relative::key, o.u.reshape({s.heads, 1, s.head_dim}), 0, single_row(now)});
    return t;
  }

  std::string unit_warning(const Places& from, const Places& to) const override {
    return scaling_warning(config.row, config, from, to);
  }

 private:
  /// (2 reach + 1, C): R_p for p = -reach..reach, the offsets of a call along an axis.
  Tensor sinusoids(const Site& s, const Layout& now, int axis) const {
    static Memo<std::tuple<int, int, int, int, Scaling>, Tensor> memo;
    const int reach = reachable(now, axis), C = s.dim,
              trained = looks_at_trained(config) ? reachable(measured_on(s.trained, now), axis) : reach;
    return memo({reach, trained, C, config.clamp_len, config}, [&] {
      std::vector<double> f;
      for (int t = 0; t < C / 2; ++t) f.push_back(std::pow(10000.0, -2.0 * t / C));
      const ScaledAxis line = scaled_axis(config, f, trained + 1, reach + 1);
      Tensor r = zeros({2 * reach + 1, C});
      for (int p = -reach; p <= reach; ++p) {
        const int at = config.clamp_len ? clip(p, config.clamp_len) : p;
        for (int t = 0; t < C / 2; ++t) {
          const double a = line.at(at) * line.f[static_cast<size_t>(t)];
          real* row = r.data() + static_cast<int64_t>(p + reach) * C;
          row[t] = static_cast<real>(std::sin(a)), row[C / 2 + t] = static_cast<real>(std::cos(a));
        }
      }
      return r;
    });
  }
  Config config;
  std::vector<Own> own;  // by Site::id
};

struct TransformerXlLearned final : PositionEncoding {
  struct Config {
    bool axial = false;
  };
  static Fields<Config> fields() {
    static const Field<Config> table[] = {{"axial", &Config::axial, "rows and columns instead of the raster"}};
    return table;
  }
  static std::string refuses(const Places& at, const Config&) { return refuses_learned_scale(at, u_and_v); }
  struct Axis {
    Tensor E, b;  // (2 reach + 1, heads, d), (2 reach + 1, heads)
    int reach;
  };
  struct Own {
    Tensor u;
    std::vector<Axis> axes;
  };

  TransformerXlLearned(const Scope& net, const Places& at, const Config& c) : config(c) {
    for (const Site& s : at.sites) {
      const Scope p = net / s.path / "position";
      Own o{p.param("r_w_bias", {s.heads, s.head_dim}, normal(0.02), Decay::no), {}};
      for (int axis : axes_of(c.axial)) {
        const int reach = reachable(s.trained, axis), R = 2 * reach + 1;
        o.axes.push_back(
            {p.param(std::string("r_emb") + suffix(axis), {R, s.heads, s.head_dim}, normal(0.02), Decay::no),
             p.param(std::string("r_bias") + suffix(axis), {R, s.heads}, normal(0.02), Decay::no), reach});
      }
      own.push_back(std::move(o));
    }
  }

  Terms terms(const Site& s, const Layout& now, const Tokens&, const Run&) const override {
    const Own& o = own.at(static_cast<size_t>(s.id));
    Terms t;
    for (size_t i = 0; i < o.axes.size(); ++i) {
      const Axis& a = o.axes[i];
      const RelativeIndex& rho = offsets(now, axes_of(config.axial)[i], a.reach);
      t.add({Relative::query, permute(a.E, {1, 0, 2}), 0, rho});
      t.add({Relative::bias, scale(permute(a.b, {1, 0}), s.scale).reshape({s.heads, 2 * a.reach + 1, 1}), 0, rho});
    }
    t.add({Relative::key, o.u.reshape({s.heads, 1, s.head_dim}), 0, single_row(now)});
    return t;
  }

  Tensor resample(std::string_view name, const Tensor& t, const Layout& from, const Layout& to) const override {
    if (name.ends_with("r_w_bias")) return t;
    const int axis = name.ends_with("_y") ? 1 : name.ends_with("_x") ? 2 : 0;
    return offset_rows(t, reachable(from, axis), reachable(to, axis), Beyond::border);
  }

 private:
  Config config;
  std::vector<Own> own;  // by Site::id
};

}  // namespace

Encoding transformer_xl() { return encoding<TransformerXl>(); }
Encoding transformer_xl_axial() {
  return encoding<TransformerXl>({{}, false, true, 0, "normal", "transformer_xl_axial"});
}
Encoding transformer_xl_learned() { return encoding<TransformerXlLearned>(); }

}  // namespace TESSERA_NS
}  // namespace tessera
