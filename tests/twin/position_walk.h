#pragma once
// What the tests of all encodings share: three small models, the encodings with the options that change their code, and what must be known
// of each beforehand.
#include <cmath>
#include <cstdlib>
#include <set>

#include "tessera/models/model.h"
#include "tests/twin/twin.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace walk {

/// A small model to walk through. Grids are not square; the windows of the Swin are padded, shifted and shrunken.
struct Bench {
  const char* title;
  const char* family;
  Options options;
};
inline const std::vector<Bench>& benches() {
  static const Options vit{{"img_size", 6}, {"img_width", 8},   {"patch_size", 2},
                           {"in_chans", 2}, {"num_classes", 3}, {"embed_dim", 16},
                           {"depth", 2},    {"num_heads", 2},   {"mlp_ratio", 1.0}};
  static const std::vector<Bench> all = [] {
    Options mean = vit;
    mean.insert_or_assign("class_token", Value(false));
    mean.insert_or_assign("global_pool", Value(std::string("avg")));
    return std::vector<Bench>{{"ViT, class token", "vit", vit},
                              {"ViT, mean", "vit", mean},
                              {"Swin",
                               "swin",
                               {{"img_size", 10},
                                {"img_width", 12},
                                {"patch_size", 2},
                                {"in_chans", 2},
                                {"num_classes", 3},
                                {"embed_dim", 8},
                                {"depths", std::vector<int>{2, 1}},
                                {"num_heads", std::vector<int>{2, 2}},
                                {"window_size", 3},
                                {"mlp_ratio", 1.0},
                                {"drop_path_rate", 0.0}}}};
  }();
  return all;
}

/// Does it sum over whole maps, which windows cut?
inline bool whole_maps(std::string_view encoding) { return encoding == "forget" || encoding == "forget_profiles"; }

/// An encoding with options, as it is typed, and what is known of it.
struct Variant {
  const char* name;
  Options options;
  enum Size {
    as_row,       ///< at another resolution it does what its row says
    larger_unit,  ///< the same on a grid that is larger than the trained one, which windows never are
    trained_unit  ///< coordinates stay in units of the trained grid, so the model built for the other grid differs
  } size = as_row;
  bool wide = false;  ///< tells fast pairs of channels from slow ones, and the Swin's first heads have one pair an axis
  std::string label() const {
    std::string s = name;
    for (const auto& [key, value] : options) s += " " + key + "=" + text(value);
    return s;
  }
};

/// The encoding that $TESSERA_WALK names, "" without it: an addition (docs/add_an_encoding.md) goes through the tests of the registry in a
/// process of its own.
inline std::string walked_alone() {
  const char* name = std::getenv("TESSERA_WALK");
  return name ? name : "";
}

/// Every row of the registry with its defaults, then the options that take another path through its code.
inline std::vector<Variant> variants() {
  std::vector<Variant> all;
  static const std::set<std::string_view> units{"log_cpb", "lie", "spiral", "golden_gate"};
  for (const auto& row : positions())
    all.push_back({row.name, {}, units.contains(row.name) ? Variant::trained_unit : Variant::as_row});
  const std::vector<Variant> more{
      {"learned", {{"class_position", false}, {"std", 0.0}, {"resize", "corner_aligned"}}},
      {"learned", {{"init", "truncated"}, {"resize", "bilinear"}}},
      {"learned", {{"resize", "bicubic"}}},
      {"sinusoidal", {{"layout", "halves"}, {"denom", "C/2-1"}, {"scale", true}}},
      {"sinusoidal", {{"class_position", "count"}}},
      {"sinusoidal", {{"resolution", "interpolate"}}, Variant::trained_unit},
      {"sincos2d", {{"variant", "moco_v3"}}},
      {"sincos2d", {{"variant", "mae"}}},
      {"sincos2d", {{"variant", "timm"}}},
      {"sincos2d", {{"variant", "timm_reversed"}}},
      {"sincos2d", {{"variant", "timm_interleaved"}}},
      {"sincos2d", {{"variant", "t2t"}}},
      {"sincos2d", {{"resolution", "rescale"}}, Variant::trained_unit},
      {"sincos2d", {{"scaling", "yarn"}, {"ramp", "index"}}, Variant::trained_unit},
      {"sinusoidal", {{"scaling", "ntk"}}, Variant::trained_unit},
      {"sinusoidal", {{"scaling", "clip"}, {"clip_share", 0.5}}},
      {"shaw", {{"max_distance", 2}, {"axes", "sum"}, {"values", true}, {"offset", "query_minus_key"}}},
      {"shaw", {{"max_distance", 1}, {"axes", "concat"}}},
      {"transformer_xl", {{"shared", true}, {"clamp_len", 3}, {"init", "xavier"}}},
      {"transformer_xl_axial", {{"shared", true}}},
      {"transformer_xl_learned", {{"axial", true}}},
      {"music_transformer", {{"heads_share_relative_embedding", true}, {"add_relative_to_values", true}}},
      {"music_transformer", {{"max_relative_position", 2}}},
      {"music_transformer_2d", {{"add_relative_to_values", true}}},
      {"huang1", {{"index", "product"}}},
      {"huang2", {{"max_distance", 2}}},
      {"huang3", {{"index", "product"}}},
      {"huang4", {{"index", "product"}}},
      {"sasa", {{"kernel", 3}, {"zero_pad", true}, {"scaled", true}}},
      {"irpe", {{"on", "qkv"}, {"shared_head", false}}},
      {"irpe", {{"method", "cross"}, {"on", "qkv"}}},
      {"irpe", {{"method", "euclidean"}, {"on", "qkv"}}},
      {"irpe", {{"method", "quant_code"}, {"on", "qkv"}}},
      {"irpe", {{"method", "quant_paper"}, {"on", "qkv"}}},
      {"irpe", {{"mode", "bias"}, {"on", "k"}}},
      {"irpe", {{"mode", "bias"}, {"method", "cross"}, {"on", "q"}}},
      {"irpe", {{"mode", "bias"}, {"method", "euclidean"}, {"shared_head", false}}},
      {"irpe", {{"mode", "bias"}, {"method", "quant_code"}}},
      {"irpe", {{"mode", "bias"}, {"method", "quant_paper"}, {"ratio", 3.0}}},
      {"relative_position_bias", {{"resize", "bilinear"}}},
      {"relative_position_bias", {{"resize", "corner_aligned"}}},
      {"log_cpb", {{"hidden", 5}, {"pretrained_window_size", 4}}},
      {"cpe", {{"after", std::vector<int>{-1, 0}}, {"residual", false}}},
      {"cpe", {{"depthwise", false}, {"kernel", 5}}},
      {"cpe_raster", {{"kernel", 5}, {"residual", true}}},
      {"peg", {{"padding", "circular"}}},
      {"peg", {{"padding", "reflect"}, {"after", std::vector<int>{-1, 0}}}},
      {"rope", {{"layout", "halves"}, {"start", 1}, {"base", 100.0}}},
      {"rope", {{"rescale", true}}, Variant::trained_unit},
      {"rope", {{"scaling", "ntk"}}, Variant::larger_unit},
      {"rope", {{"scaling", "yarn"}, {"ramp", "index"}}, Variant::larger_unit},
      {"rope", {{"scaling", "clip"}, {"clip", "hard"}, {"clip_share", 0.5}}},
      {"rope_axial", {{"layout", "halves"}, {"start", 1}}},
      {"rope_axial", {{"variant", "timm_language"}}},
      {"rope_axial", {{"variant", "timm_pixel"}, {"max_freq", 8.0}}},
      {"rope_axial", {{"variant", "timm_pixel"}, {"max_freq", 8.0}, {"bands", "log"}}},
      {"rope_axial", {{"variant", "dinov3"}}},
      {"rope_axial", {{"variant", "dinov3"}, {"normalize", "max"}, {"coords_rescale", 2.0}}},
      {"rope_axial", {{"variant", "dinov3"}, {"normalize", "min"}, {"min_period", 0.5}, {"max_period", 9.0}}},
      {"rope_axial", {{"scaling", "ntk"}}, Variant::larger_unit, true},
      {"rope_axial", {{"scaling", "yarn"}, {"temperature", true}}, Variant::larger_unit},
      {"rope_axial", {{"scaling", "clip"}, {"clip_share", 1.0}}, Variant::as_row, true},
      {"rope_axial", {{"rescale", true}}, Variant::trained_unit},
      {"rope_mixed", {{"rotate", false}}},
      {"rope_mixed", {{"rescale", true}}, Variant::trained_unit},
      {"rope_mixed", {{"scaling", "ntk"}}, Variant::larger_unit, true},
      {"rope_mixed", {{"scaling", "yarn"}, {"temperature", true}}, Variant::larger_unit},
      {"rope_mixed", {{"scaling", "clip"}, {"clip", "hard"}, {"clip_share", 0.5}}, Variant::as_row, true},
      {"lie", {{"generator_dim", 2}, {"rotary_embedding_per_layer", false}}, Variant::trained_unit},
      {"lie", {{"generator_dim", 4}, {"rotary_embedding_per_head", false}}, Variant::trained_unit},
      {"lie", {{"generator_dim", 4}, {"scaling", "interpolate"}}, Variant::trained_unit},
      {"comrope_ld", {{"block_size", 4}, {"prefix", "centre"}}},
      {"comrope_ap", {{"block_size", 2}, {"prefix", "centre"}}},
      {"comrope_ld", {{"block_size", 4}, {"scaling", "none"}}, Variant::trained_unit},
      {"comrope_ap", {{"block_size", 2}, {"scaling", "none"}}, Variant::trained_unit},
      {"pope", {{"axes", "axial"}, {"scale", "score"}}},
      {"pope", {{"axes", "golden_gate"}}, Variant::trained_unit},
      {"pope", {{"axes", "golden_gate"}, {"min_freq", 0.1}}},
      {"pope", {{"scaling", "interpolate"}}, Variant::trained_unit},
      {"pope", {{"scaling", "clip"}, {"clip", "hard"}, {"clip_share", 0.5}}},
      {"pope", {{"axes", "axial"}, {"scaling", "ntk"}}, Variant::larger_unit},
      {"pope",
       {{"axes", "axial"}, {"scaling", "yarn"}, {"ramp", "index"}, {"temperature", true}},
       Variant::larger_unit},
      {"pope", {{"axes", "golden_gate"}, {"min_freq", 0.1}, {"scaling", "yarn"}}, Variant::larger_unit},
      {"pope", {{"axes", "golden_gate"}, {"min_freq", 0.1}, {"scaling", "clip"}, {"clip_share", 0.5}}},
      {"alibi", {{"rescale", true}}, Variant::trained_unit},
      {"alibi_2d", {{"metric", "l1"}}},
      {"alibi_2d", {{"metric", "axes"}}},
      {"t5", {{"num_buckets", 8}, {"max_distance", 6}}},
      {"t5", {{"num_buckets", 8}, {"max_distance", 6}, {"scaling", "interpolate"}}, Variant::trained_unit},
      {"kerple_log", {{"metric", "euclidean"}}},
      {"kerple_power", {{"metric", "euclidean"}}},
      {"kerple_power", {{"scaling", "interpolate"}}, Variant::trained_unit},
      {"fire", {{"metric", "raster"}}},
      {"fire", {{"scaling", "interpolate"}}, Variant::trained_unit},
      {"log_cpb", {{"hidden", 5}, {"scaling", "interpolate"}}},
      {"lookhere", {{"variant", 180}}},
      {"lookhere", {{"variant", 45}, {"global_slope", 0.5}, {"layer_slopes", std::vector<double>{1, 2}}}},
      {"gpsa", {{"local_up_to_layer", 1}, {"local_init", false}}},
      {"rope_axial", {{"values", true}}},
      {"gta", {{"layout", "halves"}, {"start", 1}}},
      {"rope_mixed", {{"values", true}}},
      {"polar", {{"rotate", false}, {"values", true}}},
      {"spiral", {{"rescale", false}, {"values", true}}},
      {"golden_gate", {{"min_freq", 0.1}, {"p_zero_freqs", 0.5}, {"values", true}}},
      {"golden_gate", {{"min_freq", 0.1}, {"rescale", true}}, Variant::trained_unit},
      {"spiral", {{"scaling", "none"}}},
      {"spiral", {{"scaling", "ntk"}}, Variant::larger_unit, true},
      {"spiral", {{"scaling", "yarn"}, {"temperature", true}}, Variant::larger_unit},
      {"spiral", {{"scaling", "clip"}, {"clip_share", 1.0}}, Variant::as_row, true},
      {"golden_gate", {{"min_freq", 0.1}, {"scaling", "interpolate"}}, Variant::trained_unit},
      {"golden_gate", {{"min_freq", 0.1}, {"scaling", "ntk"}}, Variant::larger_unit},
      {"golden_gate", {{"min_freq", 0.1}, {"scaling", "yarn"}, {"temperature", true}}, Variant::larger_unit},
      {"golden_gate", {{"min_freq", 0.1}, {"scaling", "clip"}, {"clip", "hard"}, {"clip_share", 0.5}}},
      {"cayley_string", {{"basis", "exp"}, {"frequencies", "fixed"}}},
      {"cayley_string", {{"scaling", "ntk"}}, Variant::larger_unit, true},
      {"cayley_string", {{"scaling", "yarn"}, {"temperature", true}}, Variant::larger_unit},
      {"harope", {{"frequencies", "learned"}}},
      {"harope", {{"scaling", "interpolate"}}, Variant::trained_unit},
      {"harope", {{"theta", 100.0}, {"scaling", "yarn"}, {"ramp", "index"}}, Variant::larger_unit, true},
      {"harope", {{"scaling", "clip"}, {"clip", "hard"}, {"clip_share", 0.5}}, Variant::as_row, true},
      {"wavelet", {{"axes", "raster"}}},
      {"wavelet", {{"scaling", "interpolate"}}, Variant::trained_unit},
      {"factorised", {{"aspect", true}}},
      {"factorised", {{"resize", "bicubic_antialias"}}},
      {"pape", {{"parabolas", 3}, {"class_cell", "none"}}},
      {"pape", {{"normalize", true}}},
      {"pape", {{"parabolas", 3}, {"scaling", "interpolate"}}, Variant::trained_unit},
      {"pape_ri", {{"class_cell", "none"}}},
      {"pape_ri", {{"normalize", true}, {"frozen", true}}},
      {"pape_ri", {{"scaling", "interpolate"}}, Variant::trained_unit},
      {"content_alibi", {{"metric", "raster"}, {"slope_bias", false}}},
      {"content_alibi", {{"metric", "l1"}}},
      {"content_alibi", {{"scaling", "interpolate"}}, Variant::trained_unit},
      {"forget", {{"gates", "open"}, {"mirror", false}}},
      {"forget", {{"gates", "alibi"}, {"rescale", true}}, Variant::trained_unit},
      {"forget_profiles", {{"gates", "half"}, {"rescale", true}}, Variant::trained_unit},
      {"forget", {{"gates", "alibi"}, {"scaling", "interpolate"}}, Variant::trained_unit},
      {"forget_profiles", {{"scaling", "interpolate"}}, Variant::trained_unit},
      // compositions
      {"gta+relative_position_bias", {}},
      {"harope+alibi_2d", {}},
      {"learned+rope_axial", {}},
      {"sincos2d+shaw_axial_kv+peg", {}},
      {"rope_mixed+relative_position_bias", {}},
      {"learned+gpsa+cpe", {}},
      {"irpe+alibi_2d", {{"irpe.on", "qkv"}}},
      {"comrope_ld+relative_position_bias", {}},
      {"pope+alibi_2d", {}},
      {"factorised+pape+rope_axial", {}},
  };
  all.insert(all.end(), more.begin(), more.end());
  if (const std::string only = walked_alone(); !only.empty()) {
    std::erase_if(all, [&](const Variant& v) { return v.name != only; });
  }
  return all;
}

/// Gradients that are zero by algebra: what is added to all scores of a row alike does not change its softmax.
struct AnalyticZero {
  const char* parameter;  ///< part of its name
  enum Where {
    without_class_token,  ///< all pairs of patches get the constant; with a class token its pairs do not
    last_block_of_class,  ///< only the class token's row reaches the logits, and its pairs have one row of the table, or none
  } where;
  const char* option = "";  ///< when this is part of the variant's label
};
inline const std::vector<AnalyticZero>& analytic_zeros() {
  static const std::vector<AnalyticZero> all = [] {
    std::vector<AnalyticZero> zeros{{"position.mlp.2.bias", AnalyticZero::without_class_token},  // FIRE
                                    {"pos_proj.bias", AnalyticZero::without_class_token}};       // GPSA
    for (const char* name :
         {"position.key",      "linear_pos",     "pos_bias_v",       "position.r_emb",     "position.r_bias",
          "key_relative",      "value_relative", "position.weight",  "distance_embedding", "rpe_k",
          "lookup_table_bias", "cpb_mlp",        "position.slope",   "position.r1",        "position.r2",
          "position.c",        "position.mlp",   "attention_biases", "pos_proj",           "position.forget"})
      zeros.push_back({name, AnalyticZero::last_block_of_class});
    for (const char* name : {"position.parabolas", "position.ab", "position.a.", "position.position_scales"})
      zeros.push_back({name, AnalyticZero::last_block_of_class, "class_cell=none"});
    return zeros;
  }();
  return all;
}
inline bool analytic_zero(const std::string& parameter, const std::string& label, bool class_token) {
  for (const auto& z : analytic_zeros())
    if (parameter.find(z.parameter) != std::string::npos && label.find(z.option) != std::string::npos &&
        (z.where == AnalyticZero::without_class_token ? !class_token
                                                      : class_token && parameter.starts_with("blocks.1.attn.")))
      return true;
  return false;
}

inline double normal_at(std::string_view what, int64_t i) {
  return rng::Stream(rng::hash(what)).normal(static_cast<uint64_t>(i));
}
/// The same numbers in both twins.
inline real rounded(double v) { return static_cast<real>(static_cast<float>(v)); }

/// All parameters and buffers anew from their names: N(0, 0.1); norms 1 + N(0, 0.1), so that signals do not die out; positive where the
/// formula asks for it (KERPLE's r1 and r2, FIRE's c; a lambda near 0 has no positions).
inline void redraw(Params& params) {
  for (const auto& e : params.entries()) {
    const bool norm = e.name.find("norm") != std::string::npos && e.name.ends_with("weight"),
               positive = e.name.ends_with("position.r1") || e.name.ends_with("position.r2") ||
                          e.name.ends_with("position.c") || e.name.ends_with("position.position_scales");
    for (int64_t i = 0; i < e.value.size(); ++i) {
      const double z = 0.1 * normal_at(e.name, i);
      e.value[i] = rounded(norm ? 1 + z : positive ? 0.2 + std::abs(z) : z);
    }
  }
  params.commit();
}

inline Tensor random_image(int B, int H, int W, int C) {
  Tensor x({B, H, W, C});
  for (int64_t i = 0; i < x.size(); ++i) x[i] = rounded(normal_at("image", i));
  return x;
}

/// The patches of x in another order: patch i of the result is patch order[i] of x.
inline Tensor permuted(const Tensor& x, int patch, const std::vector<int>& order) {
  const auto [B, H, W, C] = x.dims<4>();
  const int columns = W / patch;
  Tensor y(x.shape());
  for (int b = 0; b < B; ++b)
    for (int n = 0; n < static_cast<int>(order.size()); ++n)
      for (int a = 0; a < patch; ++a)
        for (int c = 0; c < patch * C; ++c) {
          const auto at = [&, H_ = H, W_ = W, C_ = C](int t) {
            return ((static_cast<int64_t>(b) * H_ + t / columns * patch + a) * W_ + t % columns * patch) * C_ + c;
          };
          y[at(n)] = x[at(order[static_cast<size_t>(n)])];
        }
  return y;
}

inline double farthest(const Tensor& a, const Tensor& b) {
  double most = 0;
  for (int64_t i = 0; i < a.size(); ++i)
    most = std::max(most, std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
  return most;
}
inline bool same_bits(const Tensor& a, const Tensor& b) {
  if (a.shape() != b.shape()) return false;
  for (int64_t i = 0; i < a.size(); ++i)
    if (a[i] != b[i]) return false;
  return true;
}

/// A model of the bench with an encoding; weights redrawn unless told otherwise.
struct Net {
  Params params;
  Places places;
  std::unique_ptr<Model> model;
  Net(const Bench& bench, std::string_view name, const Options& options, const Options& changes = {}, uint64_t seed = 1,
      bool fresh = false)
      : params(seed) {
    Options all = bench.options;
    for (const auto& [key, value] : changes) all[key] = value;
    const ModelRow& row = tessera::model(bench.family);
    places = row.places(all);
    model = row.make(Scope(params), all, position(name, options));
    if (!fresh) redraw(params);
  }
  Tensor operator()(const Tensor& image) const { return model->forward(Run{}, image).logits; }
};

/// Why it cannot be built there, or "".
inline std::string refusal(const Bench& bench, std::string_view name, const Options& options = {},
                           const Options& changes = {}) {
  try {
    Net(bench, name, options, changes, 1, true);
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

}  // namespace walk
}  // namespace TESSERA_NS
}  // namespace tessera
