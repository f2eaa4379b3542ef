// Swin Transformer.  Liu et al. 2021, arXiv 2103.14030; names of timm's swin_transformer.py.
//
//   image (B, H, W, 3)
//     -> patch_embed, norm                tokens (B, h w, C), h = H/p
//     -> position.tokens, dropout         (nothing by default: Swin has no absolute encoding)
//     -> stage s, width C 2^s:
//          s > 0: downsample              h, w halved, width doubled
//          depths[s] x [ position.between,
//                        x += drop_path(attn(norm1 x)),       windows of M x M, shifted by M/2 in every second block
//                        x += drop_path(mlp(norm2 x)) ]
//     -> norm, mean over tokens, head.fc  logits (B, K)
//
// Shifting, cutting and undoing both are one index list, the mask a label per token: nn/windows.h. The walk through the stages is that of
// Swin v2, too: models/swin_stages.h.
#include "tessera/models/swin.h"

#include "tessera/core/ops/reduce.h"

namespace tessera::swin {
inline namespace TESSERA_NS {

// ---- configuration ---------------------------------------------------------------------------------------------------

Fields<Config> fields() {
  static const Fields<Config> table =
      joined<Config>({image_fields<Config>(),
                      attention_fields<Config>(),
                      drop_fields<Config>(),
                      stage_fields<Config>(),
                      {{"patch_norm", &Config::patch_norm, "layer norm after the patch embedding"}}});
  return table;
}

namespace {

Attention::Config attention_of(const Config& c, int stage) {
  Attention::Config a;
  a.dim = c.dim(stage), a.num_heads = c.num_heads[static_cast<size_t>(stage)], a.qkv_bias = c.qkv_bias;
  a.qk_scale = c.qk_scale, a.attn_drop = c.attn_drop_rate, a.proj_drop = c.proj_drop_rate;
  return a;
}

Mlp::Config mlp_of(const Config& c, int stage) {
  Mlp::Config m;
  m.dim = c.dim(stage), m.hidden = static_cast<int>(c.dim(stage) * c.mlp_ratio), m.drop = c.proj_drop_rate;
  return m;
}

}  // namespace

Places places(const Config& c) {
  check_fields(c, fields(), "model.");
  check_stages("swin", c);
  return stage_places("swin", c, [&](int stage) { return attention_of(c, stage).scale(); });
}

// ---- parts -------------------------------------------------------------------------------------------------------------

Block::Block(const Scope& s, const Config& c, int stage, double drop_path, const Site& at)
    : norm1(s / "norm1", c.dim(stage), norm_eps),
      attn(s / "attn", attention_of(c, stage)),
      drop_path1(s / "drop_path1", drop_path),
      norm2(s / "norm2", c.dim(stage), norm_eps),
      mlp(s / "mlp", mlp_of(c, stage)),
      drop_path2(s / "drop_path2", drop_path),
      site(at),
      name(s.path()) {}

Tensor Block::operator()(const Run& run, const Tensor& x, const PositionEncoding& position, const Layout& now,
                         float mask_value) const {
  const Crumb here(name);
  const Pattern who = windows(now.q, now.window, mask_value);
  const Tensor mixed = attn.mix(run, norm1(run, x), who, position, site, now);
  const Tensor y = add_branch(run, x, mixed, attn.proj, attn.proj_drop, {}, drop_path1);
  return add_branch(run, y, mlp.hidden(run, norm2(run, y)), mlp.fc2, mlp.drop2, {}, drop_path2);
}

PatchMerging::PatchMerging(const Scope& s, int dim)
    : norm(s / "norm", 4 * dim, norm_eps), reduction(s / "reduction", 4 * dim, 2 * dim, false) {}

Tensor PatchMerging::operator()(const Run& run, const Tensor& x, Grid& map) const {
  return reduction(run, norm(run, neighbours(x, map)));
}

// ---- model -------------------------------------------------------------------------------------------------------------

Swin::Swin(const Scope& s, const Config& c, const MakePosition& position)
    : config_(c),
      at_(places(c)),
      stem_(s / "patch_embed", {.patch_size = c.patch_size, .in_chans = c.in_chans, .dim = c.embed_dim}, c.stem,
            c.patch_norm),
      position_(position(s, at_)),
      pos_drop_(s / "pos_drop", c.pos_drop_rate),
      stages_(s, c, at_),
      norm_(s / "norm", c.dim(c.stages() - 1), norm_eps),
      head_drop_(s / "head_drop", c.drop_rate),
      head_(s / "head" / "fc", c.dim(c.stages() - 1), c.num_classes) {}

Output Swin::forward(const Run& run, const Input& input) const {
  Grid map;
  Tensor x = stem_(run, input.x, map);
  x = pos_drop_(run, position_->tokens(at_.tokens[0], map, x, run));
  Output out;
  x = stages_(run, x, map, config_, at_, *position_, input.features ? &out.stages : nullptr);
  out.logits = head_(run, head_drop_(run, mean(norm_(run, x), {1})));
  return out;
}

// ---- names of other programs ---------------------------------------------------------------------------------------------

// transformers: what version 4 has in memory and all versions save, then what version 5 has in memory.
std::vector<Rename> dialect() {
  return stage_dialect("swin.", {{"attention.self.query.*", "attn.qkv.*", 0, 3},
                                 {"attention.self.key.*", "attn.qkv.*", 1, 3},
                                 {"attention.self.value.*", "attn.qkv.*", 2, 3},
                                 {"attention.q_proj.*", "attn.qkv.*", 0, 3},
                                 {"attention.k_proj.*", "attn.qkv.*", 1, 3},
                                 {"attention.v_proj.*", "attn.qkv.*", 2, 3},
                                 {"attention.o_proj.*", "attn.proj.*"},
                                 {"attention.relative_position_bias.*", "attn.*"}});
}

// ---- rows ----------------------------------------------------------------------------------------------------------------

namespace {

/// The paper's shape: 224 x 224 images, patches of 4, windows of 7, MLP four times as wide, 1000 classes.
Config imagenet(int embed_dim, const std::vector<int>& depths, const std::vector<int>& num_heads) {
  return {.img_size = 224,
          .patch_size = 4,
          .num_classes = 1000,
          .embed_dim = embed_dim,
          .depths = depths,
          .num_heads = num_heads,
          .window_size = 7,
          .mlp_ratio = 4};
}

}  // namespace

std::vector<ModelRow> rows() {
  const Family<Config> family{.name = "swin",
                              .reference = "Liu et al. 2021, arXiv 2103.14030",
                              .position = "relative_position_bias",
                              .fields = fields(),
                              .places = places,
                              .input = image_input<Config>,
                              .fit = fit_image,
                              .dialect = dialect()};
  return {
      model_row<Swin>(family, "swin", {}),
      model_row<Swin>(family, "swin_cifar_small",
                      {.embed_dim = 48, .depths = {2, 4}, .num_heads = {3, 6}, .window_size = 4}),
      model_row<Swin>(family, "swin_tiny_patch4_window7_224", imagenet(96, {2, 2, 6, 2}, {3, 6, 12, 24})),
      model_row<Swin>(family, "swin_small_patch4_window7_224", imagenet(96, {2, 2, 18, 2}, {3, 6, 12, 24})),
      model_row<Swin>(family, "swin_base_patch4_window7_224", imagenet(128, {2, 2, 18, 2}, {4, 8, 16, 32})),
  };
}

}  // namespace TESSERA_NS
}  // namespace tessera::swin
