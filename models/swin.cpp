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
// Shifting, cutting and undoing both are one index list, the mask a label per token: nn/windows.h.
#include "tessera/models/swin.h"

#include <algorithm>

#include "tessera/core/ops/pad.h"
#include "tessera/core/ops/permute.h"
#include "tessera/core/ops/reduce.h"
#include "tessera/models/image.h"
#include "tessera/nn/windows.h"

namespace tessera::swin {
inline namespace TESSERA_NS {

// ---- configuration ---------------------------------------------------------------------------------------------------

Fields<Config> fields() {
  static const Fields<Config> table = joined<Config>(
      {image_fields<Config>(),
       attention_fields<Config>(),
       drop_fields<Config>(),
       {{"global_pool", &Config::global_pool, "avg (mean of the last map): it has no class token", one_of("avg")},
        {"embed_dim", &Config::embed_dim, "width of the first stage; it doubles in every further one",
         within(1, most_width)},
        {"depths", &Config::depths, "blocks of each stage", within(1, most_depth)},
        {"num_heads", &Config::num_heads, "attention heads of each stage", within(1, most_heads)},
        {"window_size", &Config::window_size, "side of a window; a smaller map is one window", within(1, most_side)},
        {"mlp_ratio", &Config::mlp_ratio, "hidden width of the MLP over the stage's width", positive(1000)},
        {"patch_norm", &Config::patch_norm, "layer norm after the patch embedding"},
        {"pos_drop_rate", &Config::pos_drop_rate, "dropout after the patch embedding", below_one()},
        {"drop_path_rate", &Config::drop_path_rate,
         "stochastic depth of the last block; the first has 0, linear over all stages", below_one()},
        {"mask_value", &Config::mask_value,
         "0: pairs of different regions are skipped | -100: added to their logits, as the official code",
         within(-1e6, 0)}}});
  return table;
}

namespace {

constexpr double norm_eps = 1e-5;

void check(const Config& c) {
  check_fields(c, fields(), "model.");
  if (c.depths.empty() || c.depths.size() > 8 || c.depths.size() != c.num_heads.size())
    fail("swin", "depths has {} stages and num_heads {}; both need one entry a stage, at most 8", c.depths.size(),
         c.num_heads.size());
  for (int s = 0; s < c.stages(); ++s) {
    const auto i = static_cast<size_t>(s);
    if (c.embed_dim > most_width >> s)
      fail("swin", "stage {} is {} x 2^{} wide, expected at most {}", s, c.embed_dim, s, most_width);
    if (c.dim(s) % c.num_heads[i])
      fail("swin", "stage {}: {} blocks of width {} with {} heads; the heads must divide the width", s, c.depths[i],
           c.dim(s), c.num_heads[i]);
    if (c.dim(s) * c.mlp_ratio < 1)
      fail("swin", "mlp_ratio {} makes the MLP of stage {} {} wide; expected at least 1", c.mlp_ratio, s,
           c.dim(s) * c.mlp_ratio);
  }
  if (c.img_size % c.patch_size || c.width() % c.patch_size)
    fail("swin", "an image of {} x {} is not made of patches of {} x {}", c.img_size, c.width(), c.patch_size,
         c.patch_size);
}

std::string block_name(int stage, int i) { return fmt::format("layers.{}.blocks.{}", stage, i); }
Grid halved(const Grid& g) { return {(g.h + 1) / 2, (g.w + 1) / 2, g.prefix}; }
Layout layout_of(const Grid& map, const Config& c, int block) {
  return Layout::windowed(map, window_of(map, c.window_size, block % 2));
}

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
  check(c);
  Places p;
  Grid map{c.img_size / c.patch_size, c.width() / c.patch_size, 0};
  Extents size("swin", c.img_size, c.width(), c.in_chans);
  size.linear(map.tokens(), double(c.patch_size) * c.patch_size * c.in_chans, c.embed_dim);
  p.tokens.push_back({0, 0, 0, c.embed_dim, map, "absolute_pos_embed"});
  for (int s = 0; s < c.stages(); ++s) {
    if (s) map = halved(map), size.linear(map.tokens(), 4.0 * c.dim(s - 1), c.dim(s));
    const Attention::Config a = attention_of(c, s);
    for (int i = 0; i <= c.depths[static_cast<size_t>(s)]; ++i) {
      p.between.push_back(
          {static_cast<int>(p.between.size()), s, i, c.dim(s), map, fmt::format("pos_block.{}.{}", s, i)});
      if (i == c.depths[static_cast<size_t>(s)]) continue;
      const Window window = layout_of(map, c, i).window;
      size.block(map.tokens(), double(window.h) * window.w, a.dim, a.dim, c.mlp_ratio);
      p.sites.push_back({static_cast<int>(p.sites.size()), s, i, c.dim(s), a.num_heads, a.width_of_head(), a.scale(),
                         layout_of(map, c, i), block_name(s, i) + ".attn"});
    }
  }
  size.linear(1, c.dim(c.stages() - 1), c.num_classes);
  return p;
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
  const auto [B, N, C] = x.dims<3>();
  Tensor y = x.reshape({B, map.h, map.w, C});
  if (map.h % 2) y = pad(y, 1, 0, 1);
  if (map.w % 2) y = pad(y, 2, 0, 1);
  map = halved(map);
  // (B, h, row, w, column, C) -> (B, h, w, column, row, C): the sub-position is 2 column + row
  const Tensor four = permute(y.reshape({B, map.h, 2, map.w, 2, C}), {0, 1, 3, 4, 2, 5});
  return reduction(run, norm(run, four.reshape({B, map.h * map.w, 4 * C})));
}

// ---- model -------------------------------------------------------------------------------------------------------------

std::deque<Swin::Stage> Swin::build(const Scope& s, const Config& c, const Places& at) {
  int blocks = 0, before = 0;
  for (int d : c.depths) blocks += d;
  std::deque<Stage> stages;
  for (int stage = 0; stage < c.stages(); ++stage) {
    Stage& now = stages.emplace_back();
    if (stage) now.downsample.emplace(s / "layers" / stage / "downsample", c.dim(stage - 1));
    for (int i = 0; i < c.depths[static_cast<size_t>(stage)]; ++i, ++before)
      now.blocks.emplace_back(s / block_name(stage, i), c, stage, c.drop_path_rate * before / std::max(1, blocks - 1),
                              at.site(block_name(stage, i) + ".attn"));
  }
  return stages;
}

Swin::Swin(const Scope& s, const Config& c, const MakePosition& position)
    : config_(c),
      at_(places(c)),
      patch_embed_(s / "patch_embed", {.patch_size = c.patch_size, .in_chans = c.in_chans, .dim = c.embed_dim}),
      patch_norm_(c.patch_norm
                      ? std::optional<LayerNorm>(std::in_place, s / "patch_embed" / "norm", c.embed_dim, norm_eps)
                      : std::nullopt),
      position_(position(s, at_)),
      pos_drop_(s / "pos_drop", c.pos_drop_rate),
      layers_(build(s, c, at_)),
      norm_(s / "norm", c.dim(c.stages() - 1), norm_eps),
      head_drop_(s / "head_drop", c.drop_rate),
      head_(s / "head" / "fc", c.dim(c.stages() - 1), c.num_classes) {}

Output Swin::forward(const Run& run, const Input& input) const {
  Grid map = patch_embed_.grid(input.x);
  const int B = input.x.dim(0);
  Output out;
  Tensor x = patch_embed_(run, input.x);
  if (patch_norm_) x = (*patch_norm_)(run, x);
  x = pos_drop_(run, position_->tokens(at_.tokens[0], map, x, run));
  int s = 0;
  for (const Stage& stage : layers_) {
    if (stage.downsample) x = (*stage.downsample)(run, x, map);
    for (const Block& block : stage.blocks) {
      x = position_->between(at_.gap(s, block.site.block), map, x, run);
      x = block(run, x, *position_, layout_of(map, config_, block.site.block), static_cast<float>(config_.mask_value));
    }
    x = position_->between(at_.gap(s++, static_cast<int>(stage.blocks.size())), map, x, run);
    if (input.features) out.stages.push_back(x.reshape({B, map.h, map.w, -1}));
  }
  out.logits = head_(run, head_drop_(run, mean(norm_(run, x), {1})));
  return out;
}

// ---- names of other programs ---------------------------------------------------------------------------------------------

// The official code (and timm before 0.9) puts a stage's merging after its blocks, timm and we before those of the next: the file that
// has one in stage 0 counts so. Its head has no `fc`. transformers: what version 4 has in memory and all versions save, then what
// version 5 has in memory.
std::vector<Rename> dialect() {
  const std::string block = "encoder.layers.*.blocks.*.", ours = "layers.*.blocks.*.";
  std::vector<Rename> rows{{"embeddings.patch_embeddings.projection.*", "patch_embed.proj.*"},
                           {"embeddings.norm.*", "patch_embed.norm.*"},
                           {"embeddings.position_embeddings", "absolute_pos_embed"},
                           {"embeddings.mask_token", ""},
                           {block + "attention.self.query.*", ours + "attn.qkv.*", 0, 3},
                           {block + "attention.self.key.*", ours + "attn.qkv.*", 1, 3},
                           {block + "attention.self.value.*", ours + "attn.qkv.*", 2, 3},
                           {block + "attention.self.*", ours + "attn.*"},  // the bias table and what is derived from it
                           {block + "attention.output.dense.*", ours + "attn.proj.*"},
                           {block + "intermediate.dense.*", ours + "mlp.fc1.*"},
                           {block + "output.dense.*", ours + "mlp.fc2.*"},
                           {block + "layernorm_before.*", ours + "norm1.*"},
                           {block + "layernorm_after.*", ours + "norm2.*"},
                           {block + "attention.q_proj.*", ours + "attn.qkv.*", 0, 3},
                           {block + "attention.k_proj.*", ours + "attn.qkv.*", 1, 3},
                           {block + "attention.v_proj.*", ours + "attn.qkv.*", 2, 3},
                           {block + "attention.o_proj.*", ours + "attn.proj.*"},
                           {block + "attention.relative_position_bias.*", ours + "attn.*"},
                           {block + "mlp.*", ours + "mlp.*"},
                           {"layernorm.*", "norm.*"},
                           {"pooler.*", ""}};
  constexpr int most_stages = 8;  // check() allows no more
  for (int s = 0; s + 1 < most_stages; ++s)
    rows.push_back({fmt::format("encoder.layers.{}.downsample.*", s), fmt::format("layers.{}.downsample.*", s + 1)});
  std::vector<Rename> all{
      {"classifier.*", "head.fc.*"}, {"head.weight", "head.fc.weight"}, {"head.bias", "head.fc.bias"}};
  for (int s = 0; s + 1 < most_stages; ++s)
    all.push_back({fmt::format("layers.{}.downsample.*", s), fmt::format("layers.{}.downsample.*", s + 1), 0, 1,
                   "layers.0.downsample.*"});
  for (const Rename& r : rows) {
    all.push_back({"swin." + r.from, r.to, r.part, r.parts});
    all.push_back(r);
  }
  return all;
}

// ---- rows ----------------------------------------------------------------------------------------------------------------

std::vector<ModelRow> rows() {
  const Family<Config> family{.name = "swin",
                              .reference = "Liu et al. 2021, arXiv 2103.14030",
                              .position = "relative_position_bias",
                              .fields = fields(),
                              .places = places,
                              .input = image_input<Config>,
                              .fit = fit_image,
                              .dialect = dialect()};
  return {model_row<Swin>(family, "swin", {}),
          model_row<Swin>(family, "swin_cifar_small",
                          {.embed_dim = 48, .depths = {2, 4}, .num_heads = {3, 6}, .window_size = 4}),
          model_row<Swin>(family, "swin_tiny_patch4_window7_224",
                          {.img_size = 224,
                           .patch_size = 4,
                           .num_classes = 1000,
                           .embed_dim = 96,
                           .depths = {2, 2, 6, 2},
                           .num_heads = {3, 6, 12, 24},
                           .window_size = 7,
                           .mlp_ratio = 4})};
}

}  // namespace TESSERA_NS
}  // namespace tessera::swin
