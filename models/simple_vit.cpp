// SimpleViT.  Beyer, Zhai, Kolesnikov 2022, "Better plain ViT baselines for ImageNet-1k", arXiv 2205.01580;
// big_vision's form.
//
//   image (B, H, W, 3)
//     -> patch_embed                    tokens (B, N, C), N = H/p W/p, no class token, no dropout
//     -> position.tokens                sincos2d unless told otherwise
//     -> depth x block                  vit's pre-norm block, GELU by tanh
//     -> norm, THEN mean over tokens    (timm's average pooling takes the mean first: not the same)
//     -> [fc, tanh] head                logits (B, K)
//
// Xavier-uniform projections (query, key and value each for itself), MLP biases N(0, 1e-6), LeCun-normal patches, zero
// head.
#include "tessera/models/simple_vit.h"

#include "tessera/core/ops/activation.h"
#include "tessera/core/ops/reduce.h"
#include "tessera/models/image.h"

namespace tessera::simple_vit {
inline namespace TESSERA_NS {

Fields<Config> fields() {
  static const Fields<Config> table = joined<Config>(
      {image_fields<Config>(),
       block_fields<Config>(),
       attention_fields<Config>(),
       {{"global_pool", &Config::global_pool, "avg (mean of the patches): it has no class token", one_of("avg")},
        {"rep_size", &Config::rep_size, "a hidden tanh layer before the head"}}});
  return table;
}

namespace {

/// The ViT whose blocks and places these are.
vit::Config as_vit(const Config& c) {
  vit::Config v;
  v.img_size = c.img_size, v.img_width = c.img_width, v.patch_size = c.patch_size, v.in_chans = c.in_chans;
  v.num_classes = c.num_classes, v.embed_dim = c.embed_dim, v.depth = c.depth, v.num_heads = c.num_heads;
  v.mlp_ratio = c.mlp_ratio, v.qkv_bias = c.qkv_bias, v.qk_scale = c.qk_scale, v.act_layer = c.act_layer,
  v.norm_eps = c.norm_eps;
  v.class_token = false, v.global_pool = "avg";
  return v;
}

std::deque<vit::Block> blocks_of(const Scope& s, const Config& c, const Places& at) {
  vit::Block::Config b;
  b.attn.dim = b.mlp.dim = c.embed_dim;
  b.attn.num_heads = c.num_heads, b.attn.qkv_bias = c.qkv_bias, b.attn.qk_scale = c.qk_scale, b.norm_eps = c.norm_eps;
  b.attn.qkv_init.weight = b.attn.proj_init.weight = xavier_uniform(c.embed_dim, c.embed_dim);
  b.mlp.hidden = static_cast<int>(c.embed_dim * c.mlp_ratio), b.mlp.act = activation(c.act_layer);
  b.mlp.init1 = b.mlp.init2 = {xavier_uniform(b.mlp.dim, b.mlp.hidden), normal(1e-6)};
  std::deque<vit::Block> blocks;
  for (int i = 0; i < c.depth; ++i) blocks.emplace_back(s / "blocks" / i, b, at.site(fmt::format("blocks.{}.attn", i)));
  return blocks;
}

PatchEmbed::Config patches_of(const Config& c) {
  const int fan_in = c.in_chans * c.patch_size * c.patch_size;
  return {c.patch_size, c.in_chans, c.embed_dim, true, {lecun_normal(fan_in), constant(0)}};
}

std::optional<Linear> pre_logits_of(const Scope& s, const Config& c) {
  if (!c.rep_size) return {};
  return Linear(s, c.embed_dim, c.embed_dim, true, {lecun_normal(c.embed_dim), constant(0)});
}

}  // namespace

Places places(const Config& c) {
  check_fields(c, fields(), "model.");
  return vit::places(as_vit(c));
}

SimpleVit::SimpleVit(const Scope& s, const Config& c, const MakePosition& position)
    : config_(c),
      at_(places(c)),
      position_(position(s, at_)),
      patch_embed_(s / "patch_embed", patches_of(c)),
      blocks_(blocks_of(s, c, at_)),
      norm_(s / "norm", c.embed_dim, c.norm_eps),
      pre_logits_(pre_logits_of(s / "pre_logits", c)),
      head_(s / "head", c.embed_dim, c.num_classes, {constant(0), constant(0)}) {}

Output SimpleVit::forward(const Run& run, const Input& input) const {
  const Grid grid = patch_embed_.grid(input.x);
  const int B = input.x.dim(0);
  const Layout now = Layout::global(grid);
  Tensor x = position_->tokens(at_.tokens[0], grid, patch_embed_(run, input.x), run);
  for (const vit::Block& block : blocks_) {
    x = position_->between(at_.gap(0, block.site.block), grid, x, run);
    x = block(run, x, *position_, now);
  }
  x = position_->between(at_.between.back(), grid, x, run);
  Output out;
  if (input.features) out.stages.push_back(x.reshape({B, grid.h, grid.w, -1}));
  x = mean(norm_(run, x), {1});
  if (pre_logits_) x = tanh((*pre_logits_)(run, x));
  out.logits = head_(run, x);
  return out;
}

std::vector<ModelRow> rows() {
  const Family<Config> family{.name = "simple_vit",
                              .reference = "Beyer, Zhai, Kolesnikov 2022, arXiv 2205.01580",
                              .position = "sincos2d",
                              .fields = fields(),
                              .places = places,
                              .input = image_input<Config>,
                              .fit = fit_image};
  return {model_row<SimpleVit>(family, "simple_vit", {}), model_row<SimpleVit>(family, "simple_vit_small_patch16_224",
                                                                               {.img_size = 224,
                                                                                .patch_size = 16,
                                                                                .num_classes = 1000,
                                                                                .embed_dim = 384,
                                                                                .depth = 12,
                                                                                .num_heads = 6,
                                                                                .mlp_ratio = 4})};
}

}  // namespace TESSERA_NS
}  // namespace tessera::simple_vit
