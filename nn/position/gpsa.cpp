// Gated positional self-attention.  d'Ascoli et al. 2021 (ConViT), arrangement of timm.          offsets are key minus query
//   o = (1 - g) softmax(scale q.k) v + g softmax(w . (dx, dy, dx^2 + dy^2) + b) v,      g = sigmoid(gating_param), per head
//   hooks: mix (two fused attentions, mixed)      parameters: 4 heads + heads per block      cost: a second attention without content
//   class tokens: positional logit 0 (ours: timm joins its class token only after the gated blocks)
//   another resolution: offsets recomputed; scaling=interpolate measures them in cells of the trained grid
//   local_init starts head h1 + k h2 at an offset of the k x k neighbourhood, k^2 the largest square that is not above the heads; what is
//   left over keeps what it drew, as in timm. local_values = true also starts the value projection at the identity, the one option that
//   touches the backbone's own weights.
#include <cmath>
#include <memory>

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

struct Gpsa final : PositionEncoding {
  struct Config {
    int local_up_to_layer = 0;
    double locality_strength = 1, gate = 1;
    bool local_init = true, local_values = false;
    std::string scaling = "none";
  };
  static Fields<Config> fields() {
    static const Field<Config> table[] = {
        {"local_up_to_layer", &Config::local_up_to_layer, "gate only the first blocks of the model; 0: all",
         within(0, 1000)},
        {"locality_strength", &Config::locality_strength, "sharpness of the initial neighbourhoods",
         within(0, 1e4).only_with("local_init")},
        {"gate", &Config::gate, "initial gating_param", within(-100, 100)},
        {"local_init", &Config::local_init, "start heads at offsets of their neighbourhood; else N(0, 0.02)"},
        {"local_values", &Config::local_values,
         "also start the value projection at the identity (changes the backbone)"},
        {"scaling", &Config::scaling, distance_scaling, scaled_distances()},
    };
    return table;
  }

  static std::string refuses(const Places& at, const Config& c) {
    for (const Site& s : at.sites)
      if (c.local_values && gated(s, c) && s.heads * s.head_dim != s.dim)
        return fmt::format(
            "local_values=true starts the value projection at the identity, and that of {} leads from {} channels to "
            "{}: leave it out, or choose heads that are together as wide as the model",
            s.path, s.dim, s.heads * s.head_dim);
    return "";
  }

  struct Own {
    Tensor w, b, gate;
    std::shared_ptr<const bool> values_found;  ///< with local_values: did the model declare a value projection?
  };

  Gpsa(const Scope& net, const Places& at, const Config& c) : config(c) {
    for (const Site& s : at.sites) {
      own.emplace_back();
      if (!gated(s, c)) continue;
      const Scope p = net / s.path;
      Own& o = own.back();
      o.w = (p / "pos_proj").param("weight", {s.heads, 3}, tn02(), Decay::no);
      o.b = (p / "pos_proj").param("bias", {s.heads}, constant(0), Decay::no);
      o.gate = p.param("gating_param", {s.heads}, constant(c.gate), Decay::no);
      if (c.local_init) local(o.w, s.heads);
      if (c.local_values) o.values_found = start_values(p);
    }
  }

  Tensor mix(const Site& s, const Layout& now, const Query& query, const Terms& all, const Tokens&,
             const Run& run) const override {
    const Own& o = own.at(static_cast<size_t>(s.id));
    Tensor content = attention(query, all, run);
    if (!o.w) return content;
    if (o.values_found && !*o.values_found)
      fail("position gpsa",
           "local_values=true starts the value projection of {} at the identity, and this model has none by a known "
           "name: leave it out",
           s.path);
    const Extent e = extent(now);
    const Tensor logits = exact_linear(features(e, config.scaling == "none" ? e : extent(measured_on(s.trained, now))),
                                       o.w, o.b);  // (offsets, heads)
    const Terms where =
        Terms{}.add({Relative::bias, permute(logits, {1, 0}).reshape({s.heads, logits.dim(0), 1}), 0, index(now)});
    Query by_place = query.with(query.who, 0);
    by_place.dropout.key.value = rng::mix(query.dropout.key.value);
    const Tensor positional = attention(by_place, where, run);
    const Tensor g = sigmoid(o.gate).reshape({s.heads, 1});
    const auto [B, N, C] = content.dims<3>();
    const auto by_head = [&, B_ = B, N_ = N, C_ = C](const Tensor& t) {
      return t.reshape({B_, N_, s.heads, C_ / s.heads});
    };
    const Tensor mixed = add(by_head(content), mul(sub(by_head(positional), by_head(content)), g));
    return mixed.reshape({B, N, C});
  }

  std::string unit_warning(const Places& from, const Places& to) const override {
    return scaling_warning("gpsa", {config.scaling}, from, to);
  }

 private:
  static bool gated(const Site& s, const Config& c) { return !c.local_up_to_layer || s.id < c.local_up_to_layer; }
  void local(const Tensor& w, int heads) const {
    const int k = std::max(1, static_cast<int>(std::sqrt(static_cast<double>(heads))));
    const double centre = (k - 1) / 2.0, strength = config.locality_strength;
    for (int i = 3 * k * k; i < 3 * heads; ++i)  // no place is left for these
      w[i] = static_cast<real>(static_cast<float>(strength * static_cast<double>(w[i])));
    for (int h = 0; h < k * k; ++h) {
      const int h1 = h % k, h2 = h / k;  // position = h1 + k h2, as in timm
      w[3 * h] = static_cast<real>(2 * (h2 - centre) * strength);
      w[3 * h + 1] = static_cast<real>(2 * (h1 - centre) * strength);
      w[3 * h + 2] = static_cast<real>(-strength);
    }
  }
  /// Values are the last rows of a projection, whether it is packed or their own. Returns whether it is there, once the model is built.
  static std::shared_ptr<const bool> start_values(const Scope& attention) {
    const auto found = std::make_shared<bool>(false);
    for (const char* name : {"qkv.weight", "kv.weight", "proj_v.weight", "in_proj_weight"})
      attention.params().preset((attention / name).path(), [found](Tensor& w) {
        const int C = w.dim(1), first = w.dim(0) - C;
        for (int i = 0; i < C; ++i)
          for (int j = 0; j < C; ++j) w[static_cast<int64_t>(first + i) * C + j] = i == j;
        *found = true;
      });
    return found;
  }
  /// (offsets, 3): dx, dy, dx^2 + dy^2 of every key-minus-query offset, in cells of a grid of `unit` laid over the one of `e`.
  static Tensor features(const Extent& e, const Extent& unit) {
    static Memo<std::pair<Extent, Extent>, Tensor> memo;
    return memo({e, unit}, [&] {
      std::vector<double> v;
      for (int y = 1 - e.h; y < e.h; ++y)
        for (int x = 1 - e.w; x < e.w; ++x) {
          const double dy = static_cast<double>(y) * unit.h / e.h, dx = static_cast<double>(x) * unit.w / e.w;
          v.insert(v.end(), {dx, dy, dx * dx + dy * dy});
        }
      return tensor({static_cast<int>(v.size() / 3), 3}, v);
    });
  }
  static RelativeIndex index(const Layout& now) {
    static Memo<Layout, RelativeIndex> memo;
    return memo(now, [&] {
      const Extent e = extent(now);
      return make_pairs(now, (2 * e.h - 1) * (2 * e.w - 1), [&](const auto& i, const auto& j) {
        return i.prefix() || j.prefix() ? -1 : (j.y - i.y + e.h - 1) * (2 * e.w - 1) + j.x - i.x + e.w - 1;
      });
    });
  }
  Config config;
  std::vector<Own> own;  // by Site::id; empty where this block is not gated
};

}  // namespace

Encoding gpsa() { return encoding<Gpsa>(); }

}  // namespace TESSERA_NS
}  // namespace tessera
