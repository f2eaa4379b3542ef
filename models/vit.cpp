// The Vision Transformer.  Dosovitskiy et al. 2021, "An image is worth 16x16 words", arXiv 2010.11929; in the form and
// under the names of timm's vision_transformer.py (pre-norm, qkv packed, fc_norm after average pooling).
//
//   image (B, H, W, 3)
//     -> patch_embed                 tokens (B, N, C), N = H/p W/p            a p x p convolution of stride p, as one
//     GEMM
//     -> cls_token in front          (B, 1 + N, C)                            unless class_token = false
//     -> position.tokens, dropout
//     -> depth x [ position.between,
//                  x += drop_path(ls1(attn(norm1 x))),                        position.attend: rotation and relative
//                  terms x += drop_path(ls2(mlp(norm2 x))) ]
//     -> token: norm, row 0 | avg: mean of the patches, fc_norm | none: norm  (B, C) or (B, N, C)
//     -> dropout, head               logits (B, K)
#include "tessera/models/vit.h"

#include <algorithm>

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
        {"init_values", &Config::init_values, "initial LayerScale of both branches, 0: none",
         within(1e-12, 1000).or_zero()},
        {"class_token", &Config::class_token, "a learned token in front"},
        {"no_embed_class", &Config::no_embed_class, "add positions before the class token joins (DeiT III)",
         anything().only_with("class_token")},
        {"pos_drop_rate", &Config::pos_drop_rate, "dropout after the positions", below_one()},
        {"drop_path_rate", &Config::drop_path_rate,
         "stochastic depth of the last block; the first has 0, linear between", below_one()},
        {"weight_init", &Config::weight_init, "timm (N(0, 0.02)) | jax (Xavier, zero head)", one_of("timm", "jax")}}});
  return table;
}

namespace {

void check(const Config& c) {
  check_fields(c, fields(), "model.");
  if (c.embed_dim * c.mlp_ratio < 1) {
    fail("vit", "mlp_ratio {} makes the MLP {} wide; expected at least 1", c.mlp_ratio, c.embed_dim * c.mlp_ratio);
  }
  if (c.img_size % c.patch_size || c.width() % c.patch_size) {
    fail("vit", "an image of {} x {} is not made of patches of {} x {}; choose a patch_size that divides both",
         c.img_size, c.width(), c.patch_size, c.patch_size);
  }
  if (c.global_pool == "token" && !c.class_token) {
    fail("vit", "global_pool = token needs class_token = true; without one choose global_pool = avg");
  }
}

Attention::Config attention_of(const Config& c) {
  Attention::Config a;
  a.dim = c.embed_dim, a.num_heads = c.num_heads, a.head_dim = c.head_dim, a.qk_scale = c.qk_scale;
  a.qkv_bias = c.qkv_bias, a.attn_drop = c.attn_drop_rate, a.proj_drop = c.proj_drop_rate;
  if (c.weight_init == "jax") {
    const int inner = a.inner();
    a.qkv_init.weight = xavier_uniform(c.embed_dim, 3 * inner);
    a.proj_init.weight = xavier_uniform(inner, c.embed_dim);
  }
  return a;
}

Mlp::Config mlp_of(const Config& c) {
  Mlp::Config m;
  m.dim = c.embed_dim, m.hidden = static_cast<int>(c.embed_dim * c.mlp_ratio);
  m.act = activation(c.act_layer), m.drop = c.proj_drop_rate;
  if (c.weight_init == "jax") m.init1 = m.init2 = {xavier_uniform(m.dim, m.hidden), normal(1e-6)};
  return m;
}

PatchEmbed::Config patches_of(const Config& c) {
  PatchEmbed::Config p{.patch_size = c.patch_size, .in_chans = c.in_chans, .dim = c.embed_dim};
  if (c.weight_init == "jax") p.init = {lecun_normal(c.in_chans * c.patch_size * c.patch_size), constant(0)};
  return p;
}

LinearInit head_init(const Config& c) {
  return c.weight_init == "jax" ? LinearInit{constant(0), constant(0)} : LinearInit{};
}

std::string block_name(int i) { return "blocks." + std::to_string(i); }

}  // namespace

Places places(const Config& c) {
  check(c);
  const Attention::Config a = attention_of(c);
  const Grid grid{c.img_size / c.patch_size, c.width() / c.patch_size, c.prefix()};
  Extents size("vit", c.img_size, c.width(), c.in_chans);
  size.linear(grid.tokens(), double(c.patch_size) * c.patch_size * c.in_chans, c.embed_dim);
  for (int i = 0; i < c.depth; ++i) size.block(grid.tokens(), grid.tokens(), a.dim, a.inner(), c.mlp_ratio);
  size.linear(1, c.embed_dim, c.num_classes);
  Grid embedded = grid;
  if (c.no_embed_class) embedded.prefix = 0;
  Places p;
  p.tokens.push_back({0, 0, 0, c.embed_dim, embedded, "pos_embed"});
  for (int i = 0; i <= c.depth; ++i)
    p.between.push_back({i, 0, i, c.embed_dim, grid, "pos_block." + std::to_string(i)});
  for (int i = 0; i < c.depth; ++i) {
    p.sites.push_back({i, 0, i, c.embed_dim, c.num_heads, a.width_of_head(), a.scale(), Layout::global(grid),
                       block_name(i) + ".attn"});
  }
  return p;
}

// ---- block --------------------------------------------------------------------------------------------------------

Block::Block(const Scope& s, const Config& c, const Site& at)
    : norm1(s / "norm1", c.attn.dim, c.norm_eps),
      attn(s / "attn", c.attn),
      ls1(s / "ls1", c.attn.dim, c.init_values),
      drop_path1(s / "drop_path1", c.drop_path),
      norm2(s / "norm2", c.attn.dim, c.norm_eps),
      mlp(s / "mlp", c.mlp),
      ls2(s / "ls2", c.attn.dim, c.init_values),
      drop_path2(s / "drop_path2", c.drop_path),
      site(at),
      name(s.path()) {}

Tensor Block::operator()(const Run& run, const Tensor& x, const PositionEncoding& position, const Layout& now) const {
  const Crumb here(name);
  const Pattern all = global_pattern(now.q.tokens(), now.k.tokens());
  const Tensor mixed = attn.mix(run, norm1(run, x), all, position, site, now);
  const Tensor y = add_branch(run, x, mixed, attn.proj, attn.proj_drop, ls1, drop_path1);
  return add_branch(run, y, mlp.hidden(run, norm2(run, y)), mlp.fc2, mlp.drop2, ls2, drop_path2);
}

namespace {

std::deque<Block> blocks_of(const Scope& s, const Config& c, const Places& at) {
  std::deque<Block> blocks;
  for (int i = 0; i < c.depth; ++i) {
    const double drop_path = c.drop_path_rate * i / std::max(1, c.depth - 1);
    blocks.emplace_back(s / block_name(i),
                        Block::Config{attention_of(c), mlp_of(c), c.norm_eps, c.init_values, drop_path},
                        at.site(block_name(i) + ".attn"));
  }
  return blocks;
}

}  // namespace

// ---- model --------------------------------------------------------------------------------------------------------

Vit::Vit(const Scope& s, const Config& c, const MakePosition& position)
    : config_(c),
      at_(places(c)),
      cls_token_(c.class_token ? s.param("cls_token", {1, 1, c.embed_dim}, normal(1e-6), Decay::no) : Tensor()),
      position_(position(s, at_)),
      patch_embed_(s / "patch_embed", patches_of(c)),
      pos_drop_(s / "pos_drop", c.pos_drop_rate),
      blocks_(blocks_of(s, c, at_)),
      norm_(s / (c.global_pool == "avg" ? "fc_norm" : "norm"), c.embed_dim, c.norm_eps),
      head_drop_(s / "head_drop", c.drop_rate),
      head_(s / "head", c.embed_dim, c.num_classes, head_init(c)) {}

Tensor Vit::embed(const Run& run, const Tensor& image, const Grid& grid) const {
  Tensor x = patch_embed_(run, image);
  const Spot& spot = at_.tokens[0];
  if (config_.no_embed_class) x = position_->tokens(spot, {grid.h, grid.w, 0}, x, run);
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
  const Grid grid = patch_embed_.grid(input.x, config_.prefix());  // of this call
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
  };
}

}  // namespace TESSERA_NS
}  // namespace tessera::vit
