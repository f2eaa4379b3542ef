// Swin Transformer v2.  Liu et al. 2022, "Scaling Up Capacity and Resolution", arXiv 2111.09883; names of timm's swin_transformer_v2.py.
//
//   image (B, H, W, 3)
//     -> patch_embed, norm                tokens (B, h w, C), h = H/p
//     -> position.tokens, dropout         (nothing by default)
//     -> stage s, width C 2^s:
//          s > 0: downsample              h, w halved, width doubled: reduction, then norm
//          depths[s] x [ position.between,
//                        x += drop_path(norm1(attn x)),       windows of M x M, shifted by M/2 in every second block
//                        x += drop_path(norm2(mlp x)) ]       norms at the ends of the branches, 0 at the start
//     -> norm, mean over tokens, head.fc  logits (B, K)
//
//   attn:  q, k, v = W x + (q_bias, 0, v_bias);   e_ij = tau_h cos(q_i, k_j) + B_ij,   tau = exp(min(logit_scale, ln 100)),   no d^-1/2
//          B is log_cpb's by default (nn/position/log_cpb.cpp), of windows' log-spaced offsets
//
// What it shares with v1, the walk through the stages included, is in models/swin_stages.h.
#include "tessera/models/swin_v2.h"

#include <cmath>
#include <limits>

#include "tessera/core/ops/activation.h"
#include "tessera/core/ops/arithmetic.h"
#include "tessera/core/ops/concat.h"
#include "tessera/core/ops/layernorm.h"
#include "tessera/core/ops/linear.h"
#include "tessera/core/ops/reduce.h"
#include "tessera/core/ops/slice.h"
#include "tessera/core/ops/softmax.h"

namespace tessera::swin_v2 {
inline namespace TESSERA_NS {

using swin::norm_eps;

// ---- configuration ---------------------------------------------------------------------------------------------------

Fields<Config> fields() {
  static const Fields<Config> table =
      joined<Config>({image_fields<Config>(),
                      drop_fields<Config>(),
                      swin::stage_fields<Config>(),
                      {{"qkv_bias", &Config::qkv_bias, "biases in the query and value projection; keys have none"}}});
  return table;
}

namespace {

CosineAttention::Config attention_of(const Config& c, int stage) {
  return {.dim = c.dim(stage),
          .num_heads = c.num_heads[static_cast<size_t>(stage)],
          .qkv_bias = c.qkv_bias,
          .attn_drop = c.attn_drop_rate,
          .proj_drop = c.proj_drop_rate};
}

Mlp::Config mlp_of(const Config& c, int stage) {
  Mlp::Config m;
  m.dim = c.dim(stage), m.hidden = static_cast<int>(c.dim(stage) * c.mlp_ratio), m.drop = c.proj_drop_rate;
  return m;
}

}  // namespace

Places places(const Config& c) {
  check_fields(c, fields(), "model.");
  swin::check_stages("swin_v2", c);
  return swin::stage_places("swin_v2", c, [](int) { return 1.0; });  // tau is in the queries
}

// ---- attention -------------------------------------------------------------------------------------------------------

CosineAttention::CosineAttention(const Scope& s, const Config& c)
    : logit_scale(s.param("logit_scale", {c.num_heads, 1, 1}, constant(std::log(10.0)), Decay::no)),
      qkv(s / "qkv", c.dim, 3 * c.dim, false),
      q_bias(c.qkv_bias ? s.param("q_bias", {c.dim}, constant(0), Decay::no) : Tensor()),
      v_bias(c.qkv_bias ? s.param("v_bias", {c.dim}, constant(0), Decay::no) : Tensor()),
      attn_drop{c.attn_drop, (s / "attn_drop").key()},
      proj(s / "proj", c.dim, c.dim),
      proj_drop(s / "proj_drop", c.proj_drop),
      num_heads(c.num_heads) {}

Tensor CosineAttention::operator()(const Run& run, const Tensor& x, const Pattern& who,
                                   const PositionEncoding& position, const Site& site, const Layout& now) const {
  const Crumb here("attn");
  const auto [B, N, C] = x.dims<3>();
  const Shape by_head{B, N, num_heads, C / num_heads};
  const Tensor bias = q_bias ? concat({q_bias, zeros({C}), v_bias}, 0) : Tensor();
  const Tensor packed = linear(x, qkv.weight, bias);
  const auto unit = [&, width = C](int part) {  // queries or keys, each head's of length 1
    return normalize(slice(packed, 2, part * width, (part + 1) * width).reshape(by_head));
  };
  const Tensor tau = exp(clamp(logit_scale, std::numeric_limits<real>::lowest(), std::log(100.0)));
  const Tensor q = mul(unit(0), tau.reshape({num_heads, 1})).reshape(x.shape()), k = unit(1).reshape(x.shape());
  const Query query(heads(q, num_heads), heads(k, num_heads), heads(packed, num_heads, 2, 3), who, 1, attn_drop);
  return proj_drop(run, proj(run, position.attend(site, now, query, {x, x}, run)));
}

// ---- block -----------------------------------------------------------------------------------------------------------

PostNorm::PostNorm(const Scope& s, int dim)
    : weight(s.param("weight", {dim}, constant(0), Decay::no)), bias(s.param("bias", {dim}, constant(0), Decay::no)) {}

Tensor PostNorm::operator()(const Tensor& x) const { return layernorm(x, weight, bias, norm_eps); }

Block::Block(const Scope& s, const Config& c, int stage, double drop_path, const Site& at)
    : attn(s / "attn", attention_of(c, stage)),
      norm1(s / "norm1", c.dim(stage)),
      drop_path1(s / "drop_path1", drop_path),
      mlp(s / "mlp", mlp_of(c, stage)),
      norm2(s / "norm2", c.dim(stage)),
      drop_path2(s / "drop_path2", drop_path),
      site(at),
      name(s.path()) {}

Tensor Block::operator()(const Run& run, const Tensor& x, const PositionEncoding& position, const Layout& now,
                         float mask_value) const {
  const Crumb here(name);
  const Pattern who = windows(now.q, now.window, mask_value);
  const Tensor y = drop_path1(run, x, norm1(attn(run, x, who, position, site, now)));
  return drop_path2(run, y, norm2(mlp(run, y)));
}

PatchMerging::PatchMerging(const Scope& s, int dim)
    : reduction(s / "reduction", 4 * dim, 2 * dim, false), norm(s / "norm", 2 * dim, norm_eps) {}

Tensor PatchMerging::operator()(const Run& run, const Tensor& x, Grid& map) const {
  return norm(run, reduction(run, swin::neighbours(x, map)));
}

// ---- model -----------------------------------------------------------------------------------------------------------

SwinV2::SwinV2(const Scope& s, const Config& c, const MakePosition& position)
    : config_(c),
      at_(places(c)),
      stem_(s / "patch_embed", {.patch_size = c.patch_size, .in_chans = c.in_chans, .dim = c.embed_dim}, c.stem, true),
      position_(position(s, at_)),
      pos_drop_(s / "pos_drop", c.pos_drop_rate),
      stages_(s, c, at_),
      norm_(s / "norm", c.dim(c.stages() - 1), norm_eps),
      head_drop_(s / "head_drop", c.drop_rate),
      head_(s / "head" / "fc", c.dim(c.stages() - 1), c.num_classes) {}

Output SwinV2::forward(const Run& run, const Input& input) const {
  Grid map;
  Tensor x = stem_(run, input.x, map);
  x = pos_drop_(run, position_->tokens(at_.tokens[0], map, x, run));
  Output out;
  x = stages_(run, x, map, config_, at_, *position_, input.features ? &out.stages : nullptr);
  out.logits = head_(run, head_drop_(run, mean(norm_(run, x), {1})));
  return out;
}

// ---- names of other programs -----------------------------------------------------------------------------------------

std::vector<Rename> dialect() {
  return swin::stage_dialect("swinv2.", {{"attention.self.query.bias", "attn.q_bias"},
                                         {"attention.self.value.bias", "attn.v_bias"},
                                         {"attention.self.query.weight", "attn.qkv.weight", 0, 3},
                                         {"attention.self.key.weight", "attn.qkv.weight", 1, 3},
                                         {"attention.self.value.weight", "attn.qkv.weight", 2, 3},
                                         {"attention.self.continuous_position_bias_mlp.*", "attn.cpb_mlp.*"}});
}

// ---- rows ------------------------------------------------------------------------------------------------------------

namespace {

/// The paper's shape: 256 x 256 images, patches of 4, windows of 8, MLP four times as wide, 1000 classes.
Config imagenet(int embed_dim, const std::vector<int>& depths, const std::vector<int>& num_heads) {
  return {.img_size = 256,
          .patch_size = 4,
          .num_classes = 1000,
          .embed_dim = embed_dim,
          .depths = depths,
          .num_heads = num_heads,
          .window_size = 8,
          .mlp_ratio = 4};
}

}  // namespace

std::vector<ModelRow> rows() {
  const Family<Config> family{.name = "swin_v2",
                              .reference = "Liu et al. 2022, arXiv 2111.09883",
                              .position = "log_cpb",
                              .fields = fields(),
                              .places = places,
                              .input = image_input<Config>,
                              .fit = fit_image,
                              .dialect = dialect()};
  return {
      model_row<SwinV2>(family, "swin_v2", {}),
      model_row<SwinV2>(family, "swin_v2_cifar_small",
                        {.embed_dim = 48, .depths = {2, 4}, .num_heads = {3, 6}, .window_size = 4}),
      model_row<SwinV2>(family, "swinv2_tiny_window8_256", imagenet(96, {2, 2, 6, 2}, {3, 6, 12, 24})),
      model_row<SwinV2>(family, "swinv2_small_window8_256", imagenet(96, {2, 2, 18, 2}, {3, 6, 12, 24})),
      model_row<SwinV2>(family, "swinv2_base_window8_256", imagenet(128, {2, 2, 18, 2}, {4, 8, 16, 32})),
  };
}

}  // namespace TESSERA_NS
}  // namespace tessera::swin_v2
