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
// head. The form that circulates as lucidrains/vit-pytorch's simple_vit.py is the row simple_vit_lucidrains: patches
// norm(linear(norm(pixels))), attention without any bias, exact GELU, eps 1e-5, torch's own start.
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
       {{"head_dim", &Config::head_dim, "width of a head, 0: embed_dim / num_heads", within(0, most_width)},
        {"proj_bias", &Config::proj_bias, "a bias in the projection after attention"},
        {"patch", &Config::patch, "conv | norm (LayerNorm, Linear, LayerNorm)", one_of("conv", "norm")},
        {"weight_init", &Config::weight_init, "jax (Xavier, zero head) | torch (its defaults)", one_of("jax", "torch")},
        {"global_pool", &Config::global_pool, "avg (mean of the patches): it has no class token", one_of("avg")},
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
  v.norm_eps = c.norm_eps, v.head_dim = c.head_dim;
  v.class_token = false, v.global_pool = "avg";
  return v;
}

/// How a linear map of so many inputs starts, in big_vision's way or in torch's.
LinearInit init_of(const Config& c, int in, const LinearInit& jax) {
  return c.weight_init == "jax" ? jax : torch_init(in);
}

std::deque<vit::Block> blocks_of(const Scope& s, const Config& c, const Places& at) {
  vit::Block::Config b;
  b.attn.dim = b.mlp.dim = c.embed_dim;
  b.attn.num_heads = c.num_heads, b.attn.head_dim = c.head_dim, b.attn.qkv_bias = c.qkv_bias,
  b.attn.proj_bias = c.proj_bias;
  b.attn.qk_scale = c.qk_scale, b.norm_eps = c.norm_eps;
  const int inner = b.attn.inner();
  const LinearInit each{xavier_uniform(c.embed_dim, inner), constant(0)};
  b.attn.qkv_init = init_of(c, c.embed_dim, each), b.attn.proj_init = init_of(c, inner, each);
  b.mlp.hidden = static_cast<int>(c.embed_dim * c.mlp_ratio), b.mlp.act = activation(c.act_layer);
  const LinearInit both{xavier_uniform(b.mlp.dim, b.mlp.hidden), normal(1e-6)};
  b.mlp.init1 = init_of(c, b.mlp.dim, both), b.mlp.init2 = init_of(c, b.mlp.hidden, both);
  std::deque<vit::Block> blocks;
  for (int i = 0; i < c.depth; ++i) blocks.emplace_back(s / "blocks" / i, b, at.site(fmt::format("blocks.{}.attn", i)));
  return blocks;
}

std::variant<PatchEmbed, FlatPatches> patches_of(const Scope& s, const Config& c) {
  const int pixels = c.in_chans * c.patch_size * c.patch_size;
  const LinearInit init = init_of(c, pixels, {lecun_normal(pixels), constant(0)});
  if (c.patch == "norm")
    return FlatPatches(
        s, {.patch_size = c.patch_size, .in_chans = c.in_chans, .dim = c.embed_dim, .norm_after = true, .init = init});
  return PatchEmbed(s, {c.patch_size, c.in_chans, c.embed_dim, true, init});
}

std::optional<Linear> pre_logits_of(const Scope& s, const Config& c) {
  if (!c.rep_size) return {};
  return Linear(s, c.embed_dim, c.embed_dim, true, init_of(c, c.embed_dim, {lecun_normal(c.embed_dim), constant(0)}));
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
      patch_embed_(patches_of(s / "patch_embed", c)),
      blocks_(blocks_of(s, c, at_)),
      norm_(s / "norm", c.embed_dim, c.norm_eps),
      pre_logits_(pre_logits_of(s / "pre_logits", c)),
      head_(s / "head", c.embed_dim, c.num_classes, init_of(c, c.embed_dim, {constant(0), constant(0)})) {}

Output SimpleVit::forward(const Run& run, const Input& input) const {
  const Grid grid = std::visit([&](const auto& patches) { return patches.grid(input.x); }, patch_embed_);
  const int B = input.x.dim(0);
  const Layout now = Layout::global(grid);
  const Tensor patches = std::visit([&](const auto& embed) { return embed(run, input.x); }, patch_embed_);
  Tensor x = position_->tokens(at_.tokens[0], grid, patches, run);
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
  Config lucidrains;
  lucidrains.head_dim = 64, lucidrains.qkv_bias = lucidrains.proj_bias = false, lucidrains.patch = "norm";
  lucidrains.act_layer = "gelu", lucidrains.norm_eps = 1e-5, lucidrains.weight_init = "torch";
  return {model_row<SimpleVit>(family, "simple_vit", {}),
          model_row<SimpleVit>(family, "simple_vit_lucidrains", lucidrains),
          model_row<SimpleVit>(family, "simple_vit_small_patch16_224",
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
