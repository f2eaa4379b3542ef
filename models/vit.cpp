// The Vision Transformer.  Dosovitskiy et al. 2021, "An image is worth 16x16 words", arXiv 2010.11929; in the form and
// under the names of timm's vision_transformer.py (pre-norm, qkv packed, fc_norm after average pooling).
//
//   image (B, H, W, 3)
//     -> patch_embed                 tokens (B, N, C), N = H/p W/p            a p x p convolution of stride p, as one GEMM; or spt
//     -> cls_token, reg_token        (B, P + N, C), P = 1 + reg_tokens        unless class_token = false
//     -> position.tokens, dropout
//     -> depth x [ position.between,
//                  x += drop_path(ls1(attn(norm1 x))),                        position.attend: rotation and relative terms
//                  x += drop_path(ls2(mlp(norm2 x))) ]                        models/vit_block.h
//     -> token: norm, row 0 | avg: mean of the patches, fc_norm | none: norm  (B, C) or (B, P + N, C)
//     -> dropout, head               logits (B, K)
#include "tessera/models/vit.h"

#include <algorithm>
#include <cmath>

#include "tessera/core/ops/concat.h"
#include "tessera/core/ops/reduce.h"
#include "tessera/core/ops/slice.h"
#include "tessera/models/image.h"

namespace tessera::vit {
inline namespace TESSERA_NS {

// ---- configuration ------------------------------------------------------------------------------------------------

Fields<Config> fields() {
  static const Fields<Config> table = joined<Config>(
      {image_fields<Config>(),
       block_fields<Config>(),
       attention_fields<Config>(),
       drop_fields<Config>(),
       {{"global_pool", &Config::global_pool,
         "token (class token) | avg (mean of the patches, then fc_norm) | none (logits per token)",
         one_of("token", "avg", "none")},
        {"head_dim", &Config::head_dim, "width of a head, 0: embed_dim / num_heads", within(0, most_width)},
        {"reg_tokens", &Config::reg_tokens,
         "registers: learned tokens after the class token, which no head reads (Darcet et al. 2024)", within(0, 1024)},
        {"patch", &Config::patch, "conv | spt (with four diagonal shifts, LayerNorm, Linear)", one_of("conv", "spt")},
        {"attention", &Config::attention,
         "softmax | elu | taylor (linear attention; encodings of tokens, rotary ones and convolutions work with it)",
         one_of("softmax", "elu", "taylor")},
        {"qk_norm", &Config::qk_norm, "LayerNorm of queries and keys over the head's width"},
        {"lsa", &Config::lsa, "a learned temperature per head, and no token sees itself (locality self-attention)",
         anything().only_with("attention", "softmax")},
        {"lepe", &Config::lepe, "kernel of a depthwise convolution of the values, added inside of attention, 0: none",
         such_that(
             [](const Value& v) {
               return std::get<int>(v) >= 0 && std::get<int>(v) < 32 && (std::get<int>(v) == 0 || std::get<int>(v) % 2);
             },
             "0 or an odd number below 32")},
        {"mlp", &Config::mlp,
         "mlp | mix_ffn (PVT v2) | conv_ff | local (LocalViT): with a depthwise 3 x 3 convolution between its layers",
         one_of("mlp", "mix_ffn", "conv_ff", "local")},
        {"extra_pointwise", &Config::extra_pointwise, "another pointwise convolution after conv_ff's depthwise one",
         anything().only_with("mlp", "conv_ff")},
        {"se_reduction", &Config::se_reduction,
         "squeeze-and-excitation in local, with its hidden width over this many units (the paper: 4); 0: none",
         within(0, 65536).only_with("mlp", "local")},
        {"mlp_act_out", &Config::mlp_act_out, "the nonlinearity after the MLP's second layer, too (omihub's ViT-CIFAR)",
         anything().only_with("mlp", "mlp")},
        {"init_values", &Config::init_values, "initial LayerScale of both branches, 0: none",
         within(1e-12, 1000).or_zero()},
        {"class_token", &Config::class_token, "a learned token in front"},
        {"no_embed_class", &Config::no_embed_class, "add positions before the class token joins (DeiT III)"},
        {"pos_drop_rate", &Config::pos_drop_rate, "dropout after the positions", below_one()},
        {"drop_path_rate", &Config::drop_path_rate,
         "stochastic depth of the last block; the first has 0, linear between", below_one()},
        {"weight_init", &Config::weight_init,
         "timm (N(0, 0.02)) | jax (Xavier, zero head) | torch (its defaults, N(0, 1) tokens) | xavier_normal (N(0, 1) "
         "tokens) | normal (N(0, 0.02), patches and tokens, too)",
         one_of("timm", "jax", "torch", "xavier_normal", "normal")}}});
  return table;
}

namespace {

void check(const Config& c) {
  check_fields(c, fields(), "model.");
  if (c.no_embed_class && !c.prefix())
    fail("vit", "no_embed_class is true but does nothing without class_token or reg_tokens: leave it out");
  if (c.embed_dim * c.mlp_ratio < 1) {
    fail("vit", "mlp_ratio {} makes the MLP {} wide; expected at least 1", c.mlp_ratio, c.embed_dim * c.mlp_ratio);
  }
  if (c.img_size % c.patch_size || c.width() % c.patch_size) {
    fail("vit", "an image of {} x {} is not made of patches of {} x {}; choose a patch_size that divides both",
         c.img_size, c.width(), c.patch_size, c.patch_size);
  }
  if (c.se_reduction > static_cast<int>(c.embed_dim * c.mlp_ratio))
    fail("vit", "se_reduction {} leaves none of the {} hidden channels; expected at most as many", c.se_reduction,
         static_cast<int>(c.embed_dim * c.mlp_ratio));
  if (c.global_pool == "token" && !c.class_token) {
    fail("vit", "global_pool = token needs class_token = true; without one choose global_pool = avg");
  }
  if (c.patch == "spt" && c.patch_size < 2)
    fail("vit",
         "patch = spt shifts by half a patch, and patches of one pixel have none; choose patch_size = 2 or more");
  if (c.attention != "softmax" && (c.attn_drop_rate != 0 || c.qk_scale != 0))
    fail("vit", "attention = {} has no weights to drop and no logits to scale; leave attn_drop_rate and qk_scale out",
         c.attention);
  if (c.lsa && c.img_size == c.patch_size && c.width() == c.patch_size && c.prefix() == 0)
    fail("vit", "lsa hides each token from itself, and this model has but one token");
  if ((c.mlp == "conv_ff" || c.mlp == "local") && c.act_layer != "gelu")
    fail("vit", "act_layer is {} but does nothing with mlp = {}, whose nonlinearity is hardswish; leave it out",
         c.act_layer, c.mlp);
}

/// How a linear map starts; `jax` has its own rule for each, given by who asks.
LinearInit init_of(const Config& c, int in, int out, const LinearInit& jax) {
  if (c.weight_init == "jax") return jax;
  if (c.weight_init == "torch") return torch_init(in);
  if (c.weight_init == "xavier_normal") return {normal(std::sqrt(2.0 / (in + out))), constant(0)};
  return {};
}
/// Of class token and registers.
Init token_init(const Config& c) {
  if (c.weight_init == "normal") return tn02();
  return normal(c.weight_init == "timm" || c.weight_init == "jax" ? 1e-6 : 1);
}

SelfAttention::Config attention_of(const Config& c) {
  SelfAttention::Config a;
  a.dim = c.embed_dim, a.num_heads = c.num_heads, a.head_dim = c.head_dim, a.qk_scale = c.qk_scale;
  a.qkv_bias = c.qkv_bias, a.attn_drop = c.attn_drop_rate, a.proj_drop = c.proj_drop_rate;
  a.qk_norm = c.qk_norm, a.norm_eps = c.norm_eps, a.lsa = c.lsa, a.lepe = c.lepe, a.attention = c.attention;
  const int dim = c.embed_dim, inner = a.inner();
  a.qkv_init = init_of(c, dim, 3 * inner, {xavier_uniform(dim, 3 * inner), constant(0)});
  a.proj_init = init_of(c, inner, dim, {xavier_uniform(inner, dim), constant(0)});
  return a;
}

Mlp::Config mlp_of(const Config& c) {
  Mlp::Config m;
  m.dim = c.embed_dim, m.hidden = static_cast<int>(c.embed_dim * c.mlp_ratio);
  m.act = activation(c.act_layer), m.drop = c.proj_drop_rate;
  const LinearInit jax{xavier_uniform(m.dim, m.hidden), normal(1e-6)};
  m.init1 = init_of(c, m.dim, m.hidden, jax), m.init2 = init_of(c, m.hidden, m.dim, jax);
  return m;
}

std::variant<PatchEmbed, FlatPatches> patches_of(const Scope& s, const Config& c) {
  const int pixels = c.in_chans * c.patch_size * c.patch_size;
  if (c.patch == "spt")
    return FlatPatches(s, {.patch_size = c.patch_size,
                           .in_chans = c.in_chans,
                           .dim = c.embed_dim,
                           .shifted = true,
                           .init = init_of(c, 5 * pixels, c.embed_dim, {lecun_normal(5 * pixels), constant(0)})});
  PatchEmbed::Config p{.patch_size = c.patch_size, .in_chans = c.in_chans, .dim = c.embed_dim};
  if (c.weight_init != "timm") p.init = init_of(c, pixels, c.embed_dim, {lecun_normal(pixels), constant(0)});
  return PatchEmbed(s, p);
}

LinearInit head_init(const Config& c) { return init_of(c, c.embed_dim, c.num_classes, {constant(0), constant(0)}); }

std::string block_name(int i) { return "blocks." + std::to_string(i); }

}  // namespace

Places places(const Config& c) {
  check(c);
  const SelfAttention::Config a = attention_of(c);
  const Grid grid{c.img_size / c.patch_size, c.width() / c.patch_size, c.prefix()};
  Extents size("vit", c.img_size, c.width(), c.in_chans);
  size.linear(grid.tokens(), double(c.patch_size) * c.patch_size * c.in_chans * (c.patch == "spt" ? 5 : 1),
              c.embed_dim);
  const double hidden = c.embed_dim * c.mlp_ratio, keys = a.linear() ? a.width_of_head() : grid.tokens();
  for (int i = 0; i < c.depth; ++i) {
    size.block(grid.tokens(), keys, a.dim, a.inner(), c.mlp_ratio);
    if (c.mlp != "mlp") size.linear(grid.tokens(), 9, hidden);
    if (c.extra_pointwise) size.linear(grid.tokens(), hidden, hidden);
    if (c.lepe) size.linear(grid.tokens(), double(c.lepe) * c.lepe, a.inner());
  }
  size.linear(c.global_pool == "none" ? grid.tokens() : 1, c.embed_dim, c.num_classes);
  Grid embedded = grid;
  if (c.no_embed_class) embedded.prefix = 0;
  Places p;
  p.tokens.push_back({0, 0, 0, c.embed_dim, embedded, "pos_embed"});
  for (int i = 0; i <= c.depth; ++i)
    p.between.push_back({i, 0, i, c.embed_dim, grid, "pos_block." + std::to_string(i)});
  for (int i = 0; i < c.depth; ++i) {
    p.sites.push_back({i, 0, i, c.embed_dim, c.num_heads, a.width_of_head(), a.scale_of_logits(), Layout::global(grid),
                       block_name(i) + ".attn", false, c.lsa});
  }
  return p;
}

// ---- model --------------------------------------------------------------------------------------------------------

namespace {

std::deque<Block> blocks_of(const Scope& s, const Config& c, const Places& at) {
  std::deque<Block> blocks;
  for (int i = 0; i < c.depth; ++i) {
    const double drop_path = c.drop_path_rate * i / std::max(1, c.depth - 1);
    const Block::Config block{attention_of(c), mlp_of(c),         c.norm_eps,    c.init_values, drop_path,
                              c.mlp,           c.extra_pointwise, c.mlp_act_out, c.se_reduction};
    blocks.emplace_back(s / block_name(i), block, at.site(block_name(i) + ".attn"));
  }
  return blocks;
}

}  // namespace

Vit::Vit(const Scope& s, const Config& c, const MakePosition& position)
    : config_(c),
      at_(places(c)),
      cls_token_(c.class_token ? s.param("cls_token", {1, 1, c.embed_dim}, token_init(c), Decay::no) : Tensor()),
      reg_token_(c.reg_tokens ? s.param("reg_token", {1, c.reg_tokens, c.embed_dim}, token_init(c), Decay::no)
                              : Tensor()),
      position_(position(s, at_)),
      patch_embed_(patches_of(s / "patch_embed", c)),
      pos_drop_(s / "pos_drop", c.pos_drop_rate),
      blocks_(blocks_of(s, c, at_)),
      norm_(s / (c.global_pool == "avg" ? "fc_norm" : "norm"), c.embed_dim, c.norm_eps),
      head_drop_(s / "head_drop", c.drop_rate),
      head_(s / "head", c.embed_dim, c.num_classes, head_init(c)) {}

Tensor Vit::embed(const Run& run, const Tensor& image, const Grid& grid) const {
  Tensor x = std::visit([&](const auto& patches) { return patches(run, image); }, patch_embed_);
  const Spot& spot = at_.tokens[0];
  if (config_.no_embed_class) x = position_->tokens(spot, {grid.h, grid.w, 0}, x, run);
  if (reg_token_) x = prepend(reg_token_, x);
  if (cls_token_) x = prepend(cls_token_, x);
  if (!config_.no_embed_class) x = position_->tokens(spot, grid, x, run);
  return pos_drop_(run, x);
}

Tensor Vit::head_of(const Run& run, const Tensor& x) const {
  // A norm acts on each token alone, so the class token's row is taken first: the same numbers, less work.
  Tensor y = x;
  if (config_.global_pool == "token") y = select_row(x, 1, 0);
  if (config_.global_pool == "avg") y = mean(config_.prefix() ? slice(x, 1, config_.prefix(), x.dim(1)) : x, {1});
  return head_(run, head_drop_(run, norm_(run, y)));
}

Output Vit::forward(const Run& run, const Input& input) const {
  const int B = input.x.rank() ? input.x.dim(0) : 0;
  const Grid grid =  // of this call
      std::visit([&](const auto& patches) { return patches.grid(input.x, config_.prefix()); }, patch_embed_);
  const Layout now = Layout::global(grid);
  Tensor x = embed(run, input.x, grid);
  for (const Block& block : blocks_) {
    x = position_->between(at_.gap(0, block.site.block), grid, x, run);
    x = block(run, x, *position_, now);
  }
  x = position_->between(at_.between.back(), grid, x, run);
  Output out;
  if (input.features) out.stages.push_back(slice(x, 1, grid.prefix, grid.tokens()).reshape({B, grid.h, grid.w, -1}));
  out.logits = head_of(run, x);
  return out;
}

// ---- names of other programs --------------------------------------------------------------------------------------

// transformers: what version 4 has in memory and all versions save, then what version 5 has in memory. Headless models have no prefix.
std::vector<Rename> dialect() {
  const Rename rows[] = {{"embeddings.cls_token", "cls_token"},
                         {"embeddings.position_embeddings", "pos_embed"},
                         {"embeddings.patch_embeddings.projection.*", "patch_embed.proj.*"},
                         {"embeddings.mask_token", ""},
                         {"encoder.layer.*.attention.attention.query.*", "blocks.*.attn.qkv.*", 0, 3},
                         {"encoder.layer.*.attention.attention.key.*", "blocks.*.attn.qkv.*", 1, 3},
                         {"encoder.layer.*.attention.attention.value.*", "blocks.*.attn.qkv.*", 2, 3},
                         {"encoder.layer.*.attention.output.dense.*", "blocks.*.attn.proj.*"},
                         {"encoder.layer.*.intermediate.dense.*", "blocks.*.mlp.fc1.*"},
                         {"encoder.layer.*.output.dense.*", "blocks.*.mlp.fc2.*"},
                         {"encoder.layer.*.layernorm_before.*", "blocks.*.norm1.*"},
                         {"encoder.layer.*.layernorm_after.*", "blocks.*.norm2.*"},
                         {"layers.*.attention.q_proj.*", "blocks.*.attn.qkv.*", 0, 3},
                         {"layers.*.attention.k_proj.*", "blocks.*.attn.qkv.*", 1, 3},
                         {"layers.*.attention.v_proj.*", "blocks.*.attn.qkv.*", 2, 3},
                         {"layers.*.attention.o_proj.*", "blocks.*.attn.proj.*"},
                         {"layers.*.mlp.*", "blocks.*.mlp.*"},
                         {"layers.*.layernorm_before.*", "blocks.*.norm1.*"},
                         {"layers.*.layernorm_after.*", "blocks.*.norm2.*"},
                         {"layernorm.*", "norm.*"},
                         {"pooler.*", ""}};
  std::vector<Rename> all{{"classifier.*", "head.*"}};
  for (const Rename& r : rows) {
    all.push_back({"vit." + r.from, r.to, r.part, r.parts});
    all.push_back(r);
  }
  return all;
}

// ---- rows ---------------------------------------------------------------------------------------------------------

namespace {

/// The paper's shape: 224 x 224 images, patches of 16, MLP four times as wide, 1000 classes.
Config imagenet(int embed_dim, int num_heads) {
  return {.img_size = 224,
          .patch_size = 16,
          .num_classes = 1000,
          .embed_dim = embed_dim,
          .depth = 12,
          .num_heads = num_heads,
          .mlp_ratio = 4};
}

Config spt_lsa(const char* patch, bool lsa) {
  return {.embed_dim = 192,
          .depth = 9,
          .num_heads = 12,
          .mlp_ratio = 2,
          .qkv_bias = false,
          .norm_eps = 1e-5,
          .weight_init = "xavier_normal",
          .patch = patch,
          .lsa = lsa};
}

}  // namespace

std::vector<ModelRow> rows() {
  const Family<Config> family{.name = "vit",
                              .reference = "Dosovitskiy et al. 2021, arXiv 2010.11929",
                              .position = "learned",
                              .fields = fields(),
                              .places = places,
                              .input = image_input<Config>,
                              .fit = fit_image,
                              .dialect = dialect()};
  return {
      model_row<Vit>(family, "vit", {}),
      model_row<Vit>(family, "vit_cifar_small", {.embed_dim = 128, .depth = 6, .num_heads = 4, .mlp_ratio = 2}),
      model_row<Vit>(family, "vit_tiny_patch4_32", {.embed_dim = 192, .depth = 12, .num_heads = 3, .mlp_ratio = 4}),
      model_row<Vit>(family, "vit_tiny_patch16_224", imagenet(192, 3)),
      model_row<Vit>(family, "vit_small_patch16_224", imagenet(384, 6)),
      model_row<Vit>(family, "vit_base_patch16_224", imagenet(768, 12)),
      // as repositories of ViTs for CIFAR build them
      model_row<Vit>(family, "vit_cifar_spt",
                     spt_lsa("conv", false)),  // aanna0701/SPT_LSA_ViT, without its two additions
      model_row<Vit>(family, "vit_cifar_spt_lsa", spt_lsa("spt", true)),
      model_row<Vit>(family, "vit_cifar_omihub",  // omihub777/ViT-CIFAR: logits over sqrt(C), GELU twice in the MLP
                     {.embed_dim = 384,
                      .depth = 7,
                      .num_heads = 12,
                      .mlp_ratio = 1,
                      .qk_scale = 1 / std::sqrt(384.0),
                      .norm_eps = 1e-5,
                      .weight_init = "torch",
                      .mlp_act_out = true}),
      model_row<Vit>(family, "vit_cifar_kentaroy47",  // kentaroy47/vision-transformers-cifar10
                     {.embed_dim = 512,
                      .depth = 6,
                      .num_heads = 8,
                      .head_dim = 64,
                      .mlp_ratio = 1,
                      .qkv_bias = false,
                      .norm_eps = 1e-5,
                      .weight_init = "torch"}),
      model_row<Vit>(
          family, "vit_cifar_schh",  // s-chh/2D-Positional-Encoding-Vision-Transformer: no position for the class token
          {.embed_dim = 128,
           .depth = 6,
           .num_heads = 4,
           .mlp_ratio = 2,
           .no_embed_class = true,
           .norm_eps = 1e-5,
           .weight_init = "normal"}),
  };
}

}  // namespace TESSERA_NS
}  // namespace tessera::vit
