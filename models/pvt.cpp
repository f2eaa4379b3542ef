// Pyramid Vision Transformer.  Wang et al. 2021, "Pyramid Vision Transformer", arXiv 2102.12122; names of the official pvt.py.
//
//   image (B, H, W, 3)
//     -> stage s = 1..S, on a map h x w of width C_s:
//          patch_embed_s, norm                 tokens (B, h w, C), h = H/p in stage 1, half of the last map's in the others
//          last stage: cls_token, reg_token    (B, P + h w, C)           with global_pool = token, reg_tokens > 0
//          position.tokens, dropout            a learned table for each stage
//          depths[s] x [ position.between,
//                        x += drop_path(attn(norm1 x)),                  keys of a map R_s times smaller a side: nn/reduced_attention.h
//                        x += drop_path(mlp(norm2 x)) ]
//          back to a map                       (B, h, w, C)
//     -> token: norm, row 0 | avg: norm, mean  (B, C)
//     -> dropout, head                         logits (B, K)
//
// Only the last stage has a class token and registers: before, a convolution would have no place for them. So its R must be 1.
#include "tessera/models/pvt.h"

#include <algorithm>

#include "tessera/core/ops/concat.h"
#include "tessera/core/ops/reduce.h"
#include "tessera/core/ops/slice.h"

namespace tessera::pvt {
inline namespace TESSERA_NS {

// ---- configuration ---------------------------------------------------------------------------------------------------

Fields<Config> fields() {
  static const Fields<Config> table = joined<Config>(
      {image_fields<Config>(),
       attention_fields<Config>(),
       drop_fields<Config>(),
       pyramid::stage_fields<Config>(),
       {{"global_pool", &Config::global_pool, "token (class token of the last stage) | avg (mean of the last map)",
         one_of("token", "avg")},
        {"reg_tokens", &Config::reg_tokens,
         "registers: further learned tokens in front of the last stage, which no head reads", within(0, 1024)}}});
  return table;
}

namespace {

std::vector<pyramid::Stage> checked(const Config& c) {
  check_fields(c, fields(), "model.");
  const auto stages = pyramid::stages_of("pvt", c);
  if (c.prefix() && stages.back().sr_ratio != 1)
    fail("pvt",
         "the last stage's sr_ratio is {} but must be 1: its class token and registers have no place on a map; or "
         "choose global_pool = avg and reg_tokens = 0",
         stages.back().sr_ratio);
  return stages;
}

// Stages count from 1 in the names, as in the official code.
std::string block_name(int stage, int i) { return fmt::format("block{}.{}", stage + 1, i); }

ReducedAttention::Config attention_of(const Config& c, const pyramid::Stage& stage) {
  return {.dim = stage.dim,
          .num_heads = stage.num_heads,
          .sr_ratio = stage.sr_ratio,
          .qk_scale = c.qk_scale,
          .qkv_bias = c.qkv_bias,
          .attn_drop = c.attn_drop_rate,
          .proj_drop = c.proj_drop_rate};
}

}  // namespace

Places places(const Config& c) {
  const auto stages = checked(c);
  const auto maps = pyramid::maps_of("pvt", stages, c.img_size, c.width());
  Extents size("pvt", c.img_size, c.width(), c.in_chans);
  Places p;
  const int S = static_cast<int>(stages.size());
  for (int s = 0; s < S; ++s) {
    const pyramid::Stage& stage = stages[static_cast<size_t>(s)];
    Grid map = maps[static_cast<size_t>(s)];
    if (s == S - 1) map.prefix = c.prefix();
    pyramid::count_embedding(size, stage, map);
    for (int i = 0; i < stage.depth; ++i) pyramid::count_block(size, stage, map);
    const ReducedAttention::Config a = attention_of(c, stage);
    p.tokens.push_back({s, s, 0, stage.dim, map, fmt::format("pos_embed{}", s + 1)});
    for (int i = 0; i <= stage.depth; ++i) {
      p.between.push_back(
          {static_cast<int>(p.between.size()), s, i, stage.dim, map, fmt::format("pos_block{}.{}", s + 1, i)});
      if (i < stage.depth)
        p.sites.push_back({static_cast<int>(p.sites.size()), s, i, stage.dim, a.num_heads, a.width_of_head(), a.scale(),
                           ReducedAttention::layout(map, stage.sr_ratio), block_name(s, i) + ".attn"});
    }
  }
  size.linear(1, stages.back().dim, c.num_classes);
  return p;
}

// ---- model -----------------------------------------------------------------------------------------------------------

std::deque<Pvt::Stage> Pvt::build(const Scope& s, const Config& c, const Places& at) {
  const auto stages = checked(c);
  const int blocks = static_cast<int>(at.sites.size());
  std::deque<Stage> built;
  for (int i = 0, index = 0; i < static_cast<int>(stages.size()); ++i) {
    const pyramid::Stage& stage = stages[static_cast<size_t>(i)];
    Stage& now = built.emplace_back(Stage{
        {s / fmt::format("patch_embed{}", i + 1), stage}, {s / fmt::format("pos_drop{}", i + 1), c.pos_drop_rate}, {}});
    for (int b = 0; b < stage.depth; ++b, ++index)
      now.blocks.emplace_back(
          s / block_name(i, b),
          pyramid::Block<ReducedAttention>::Config{attention_of(c, stage), stage.mlp_ratio, c.proj_drop_rate,
                                                   pyramid::drop_path(c.drop_path_rate, index, blocks)},
          at.site(block_name(i, b) + ".attn"));
  }
  return built;
}

Pvt::Pvt(const Scope& s, const Config& c, const MakePosition& position)
    : at_(places(c)),
      stages_(build(s, c, at_)),
      cls_token_(c.class_token() ? s.param("cls_token", {1, 1, c.embed_dims.back()}, tn02(), Decay::no) : Tensor()),
      reg_token_(c.reg_tokens ? s.param("reg_token", {1, c.reg_tokens, c.embed_dims.back()}, tn02(), Decay::no)
                              : Tensor()),
      position_(position(s, at_)),
      norm_(s / "norm", c.embed_dims.back(), pyramid::block_eps),
      head_drop_(s / "head_drop", c.drop_rate),
      head_(s / "head", c.embed_dims.back(), c.num_classes) {}

Output Pvt::forward(const Run& run, const Input& input) const {
  const int last = static_cast<int>(stages_.size()) - 1;
  Output out;
  Tensor x = input.x;
  for (int s = 0; s <= last; ++s) {
    const Stage& stage = stages_[static_cast<size_t>(s)];
    Grid now;
    x = stage.embed(run, x, now);
    const int B = x.dim(0);
    if (s == last && reg_token_) x = prepend(reg_token_, x), now.prefix += reg_token_.dim(1);
    if (s == last && cls_token_) x = prepend(cls_token_, x), now.prefix += 1;
    x = stage.pos_drop(run, position_->tokens(at_.tokens[static_cast<size_t>(s)], now, x, run));
    int i = 0;
    for (const auto& block : stage.blocks) {
      x = position_->between(at_.gap(s, i++), now, x, run);
      x = block(run, x, now, *position_);
    }
    x = position_->between(at_.gap(s, i), now, x, run);
    const auto map = [&] {
      return (now.prefix ? slice(x, 1, now.prefix, now.tokens()) : x).reshape({B, now.h, now.w, -1});
    };
    if (input.features) out.stages.push_back(map());
    if (s < last) x = map();
  }
  // A norm acts on each token alone, so the class token's row is taken first.
  const Tensor cells = reg_token_ && !cls_token_ ? slice(x, 1, reg_token_.dim(1), x.dim(1)) : x;
  const Tensor y = cls_token_ ? norm_(run, select_row(x, 1, 0)) : mean(norm_(run, cells), {1});
  out.logits = head_(run, head_drop_(run, y));
  return out;
}

// ---- names of other programs -----------------------------------------------------------------------------------------

// transformers counts stages from 0, and packs nothing.
std::vector<Rename> dialect() {
  std::vector<Rename> rows;
  constexpr int most_stages = 8;  // pyramid::stages_of allows no more
  for (int s = 0; s < most_stages; ++s) {
    const std::string embed = fmt::format("encoder.patch_embeddings.{}.", s),
                      block = fmt::format("encoder.block.{}.*.", s);
    const std::string ours = fmt::format("block{}.*.", s + 1), patch = fmt::format("patch_embed{}.", s + 1);
    const Rename stage[] = {{embed + "position_embeddings", fmt::format("pos_embed{}", s + 1)},
                            {embed + "cls_token", "cls_token"},
                            {embed + "projection.*", patch + "proj.*"},
                            {embed + "layer_norm.*", patch + "norm.*"},
                            {block + "layer_norm_1.*", ours + "norm1.*"},
                            {block + "layer_norm_2.*", ours + "norm2.*"},
                            {block + "attention.self.query.*", ours + "attn.q.*"},
                            {block + "attention.self.key.*", ours + "attn.kv.*", 0, 2},
                            {block + "attention.self.value.*", ours + "attn.kv.*", 1, 2},
                            {block + "attention.self.sequence_reduction.*", ours + "attn.sr.*"},
                            {block + "attention.self.layer_norm.*", ours + "attn.norm.*"},
                            {block + "attention.output.dense.*", ours + "attn.proj.*"},
                            {block + "mlp.dense1.*", ours + "mlp.fc1.*"},
                            {block + "mlp.dense2.*", ours + "mlp.fc2.*"}};
    rows.insert(rows.end(), std::begin(stage), std::end(stage));
  }
  rows.push_back({"encoder.layer_norm.*", "norm.*"});
  std::vector<Rename> all{{"classifier.*", "head.*"}};
  for (const Rename& r : rows) {
    all.push_back({"pvt." + r.from, r.to, r.part, r.parts});
    all.push_back(r);
  }
  return all;
}

// ---- rows ------------------------------------------------------------------------------------------------------------

namespace {

/// The released configurations, which differ in depth alone. (The class's own defaults in pvt.py are others, and none of the paper's.)
Config imagenet(std::vector<int> depths) {
  return {.img_size = 224,
          .patch_size = 4,
          .num_classes = 1000,
          .embed_dims = {64, 128, 320, 512},
          .depths = std::move(depths),
          .num_heads = {1, 2, 5, 8},
          .mlp_ratios = {8, 8, 4, 4},
          .sr_ratios = {8, 4, 2, 1}};
}

}  // namespace

std::vector<ModelRow> rows() {
  const Family<Config> family{.name = "pvt",
                              .reference = "Wang et al. 2021, arXiv 2102.12122",
                              .position = "pvt",
                              .fields = fields(),
                              .places = places,
                              .input = image_input<Config>,
                              .fit = fit_image,
                              .dialect = dialect()};
  return {model_row<Pvt>(family, "pvt", {}), model_row<Pvt>(family, "pvt_tiny", imagenet({2, 2, 2, 2})),
          model_row<Pvt>(family, "pvt_small", imagenet({3, 4, 6, 3})),
          model_row<Pvt>(family, "pvt_medium", imagenet({3, 4, 18, 3})),
          model_row<Pvt>(family, "pvt_large", imagenet({3, 8, 27, 3}))};
}

}  // namespace TESSERA_NS
}  // namespace tessera::pvt
