// Twins.  Chu et al. 2021, "Twins: Revisiting the Design of Spatial Attention in Vision Transformers", arXiv 2104.13840; names of timm's
// twins.py, which are the official code's.
//
//   image (B, H, W, 3)
//     -> stage s, on a map h x w of width C_s:
//          patch_embeds.s, norm           tokens (B, h w, C), h = H/p in the first stage, half of the last map's in the others
//          position.tokens, dropout       (nothing by default)
//          depths[s] x [ position.between,                        by default PEG, after the first block of every stage
//                        x += drop_path(attn(norm1 x)),           even blocks: inside windows (LSA); odd ones: keys of a map R_s times
//                                                                 smaller a side (GSA)       wss[s] = 1: all of them GSA, as in PCPVT
//                        x += drop_path(mlp(norm2 x)) ]
//          back to a map                  (B, h, w, C)
//     -> norm, mean over tokens, dropout, head                    logits (B, K)
#include "tessera/models/twins.h"

#include <algorithm>
#include <cmath>

#include "tessera/core/ops/reduce.h"
#include "tessera/nn/windows.h"

namespace tessera::twins {
inline namespace TESSERA_NS {

// ---- configuration ---------------------------------------------------------------------------------------------------

Fields<Config> fields() {
  static const Fields<Config> table = joined<Config>(
      {image_fields<Config>(),
       attention_fields<Config>(),
       drop_fields<Config>(),
       pyramid::stage_fields<Config>(),
       {{"wss", &Config::wss, "side of the windows of each stage's even blocks; 1: all blocks attend globally",
         within(1, most_side)},
        {"global_pool", &Config::global_pool, "avg (mean of the last map): it has no class token", one_of("avg")}}});
  return table;
}

namespace {

std::vector<pyramid::Stage> checked(const Config& c) {
  check_fields(c, fields(), "model.");
  const auto stages = pyramid::stages_of("twins", c);
  if (c.wss.size() != stages.size())
    fail("twins", "depths has {} stages and wss {}; every list needs one entry a stage", stages.size(), c.wss.size());
  return stages;
}

std::string block_name(int stage, int i) { return fmt::format("blocks.{}.{}", stage, i); }

/// timm gives PEG the name of its stage, since it stands after the first block; other places are ours to name.
std::string gap_name(int stage, int i) {
  return i == 1 ? fmt::format("pos_block.{}", stage) : fmt::format("pos_block.{}.{}", stage, i);
}

bool local(const Config& c, int stage, int i) { return i % 2 == 0 && c.wss[static_cast<size_t>(stage)] > 1; }

/// N(0, 2 / fan_out), as the official code draws every convolution.
LinearInit conv_init(int kernel, int out) {
  return {normal(std::sqrt(2.0 / (static_cast<double>(kernel) * kernel * out))), constant(0)};
}

ReducedAttention::Config global_attention(const Config& c, const pyramid::Stage& stage) {
  return {.dim = stage.dim,
          .num_heads = stage.num_heads,
          .sr_ratio = stage.sr_ratio,
          .qk_scale = c.qk_scale,
          .qkv_bias = c.qkv_bias,
          .attn_drop = c.attn_drop_rate,
          .proj_drop = c.proj_drop_rate,
          .sr_init = conv_init(stage.sr_ratio, stage.dim)};
}

LocalAttention::Config local_attention(const Config& c, const pyramid::Stage& stage, int window) {
  LocalAttention::Config a;
  a.dim = stage.dim, a.num_heads = stage.num_heads, a.qkv_bias = c.qkv_bias, a.qk_scale = c.qk_scale;
  a.attn_drop = c.attn_drop_rate, a.proj_drop = c.proj_drop_rate, a.window = window;
  return a;
}

}  // namespace

Places places(const Config& c) {
  const auto stages = checked(c);
  const auto maps = pyramid::maps_of("twins", stages, c.img_size, c.width());
  Extents size("twins", c.img_size, c.width(), c.in_chans);
  Places p;
  for (int s = 0; s < static_cast<int>(stages.size()); ++s) {
    const pyramid::Stage& stage = stages[static_cast<size_t>(s)];
    const Grid& map = maps[static_cast<size_t>(s)];
    const Layout windowed = LocalAttention::layout(map, c.wss[static_cast<size_t>(s)]);
    const LocalAttention::Config a = local_attention(c, stage, 1);
    pyramid::count_embedding(size, stage, map);
    p.tokens.push_back({s, s, 0, stage.dim, map, fmt::format("pos_embeds.{}", s)});
    for (int i = 0; i <= stage.depth; ++i) {
      p.between.push_back({static_cast<int>(p.between.size()), s, i, stage.dim, map, gap_name(s, i)});
      if (i == stage.depth) continue;
      if (local(c, s, i)) {
        size.block(map.tokens(), double(windowed.window.h) * windowed.window.w, a.dim, a.dim, stage.mlp_ratio);
      } else {
        pyramid::count_block(size, stage, map);
      }
      p.sites.push_back({static_cast<int>(p.sites.size()), s, i, stage.dim, a.num_heads, a.width_of_head(), a.scale(),
                         local(c, s, i) ? windowed : ReducedAttention::layout(map, stage.sr_ratio),
                         block_name(s, i) + ".attn"});
    }
  }
  size.linear(1, stages.back().dim, c.num_classes);
  return p;
}

// ---- locally-grouped attention ---------------------------------------------------------------------------------------

LocalAttention::LocalAttention(const Scope& s, const Config& c, const Site& at)
    : Attention(s, c), window(c.window), site(at) {}

Layout LocalAttention::layout(const Grid& map, int window) {
  return Layout::windowed(map, window_of(map, window, false));
}

Tensor LocalAttention::mix(const Run& run, const Tensor& x, const Grid& map, const PositionEncoding& position) const {
  const Layout now = layout(map, window);
  return Attention::mix(run, x, windows(map, now.window), position, site, now);
}

// ---- model -----------------------------------------------------------------------------------------------------------

std::deque<Twins::Stage> Twins::build(const Scope& s, const Config& c, const Places& at) {
  const auto stages = checked(c);
  const int blocks = static_cast<int>(at.sites.size());
  std::deque<Stage> built;
  for (int i = 0, index = 0; i < static_cast<int>(stages.size()); ++i) {
    const pyramid::Stage& stage = stages[static_cast<size_t>(i)];
    Stage& now = built.emplace_back(Stage{{s / "patch_embeds" / i, stage, conv_init(stage.patch_size, stage.dim)},
                                          {s / "pos_drops" / i, c.pos_drop_rate},
                                          {}});
    for (int b = 0; b < stage.depth; ++b, ++index) {
      const auto add = [&]<class A>(std::in_place_type_t<pyramid::Block<A>> type, const typename A::Config& attn) {
        const typename pyramid::Block<A>::Config config{attn, stage.mlp_ratio, c.proj_drop_rate,
                                                        pyramid::drop_path(c.drop_path_rate, index, blocks)};
        now.blocks.emplace_back(type, s / block_name(i, b), config, at.site(block_name(i, b) + ".attn"));
      };
      if (local(c, i, b)) {
        add(std::in_place_type<pyramid::Block<LocalAttention>>,
            local_attention(c, stage, c.wss[static_cast<size_t>(i)]));
      } else {
        add(std::in_place_type<pyramid::Block<ReducedAttention>>, global_attention(c, stage));
      }
    }
  }
  return built;
}

Twins::Twins(const Scope& s, const Config& c, const MakePosition& position)
    : at_(places(c)),
      stages_(build(s, c, at_)),
      position_(position(s, at_)),
      norm_(s / "norm", c.embed_dims.back(), pyramid::block_eps),
      head_drop_(s / "head_drop", c.drop_rate),
      head_(s / "head", c.embed_dims.back(), c.num_classes) {}

Output Twins::forward(const Run& run, const Input& input) const {
  const int S = static_cast<int>(stages_.size());
  Output out;
  Tensor x = input.x;
  for (int s = 0; s < S; ++s) {
    const Stage& stage = stages_[static_cast<size_t>(s)];
    Grid map;
    x = stage.embed(run, x, map);
    const int B = x.dim(0);
    x = stage.pos_drop(run, position_->tokens(at_.tokens[static_cast<size_t>(s)], map, x, run));
    int i = 0;
    for (const Block& block : stage.blocks) {
      x = position_->between(at_.gap(s, i++), map, x, run);
      x = std::visit([&](const auto& b) { return b(run, x, map, *position_); }, block);
    }
    x = position_->between(at_.gap(s, i), map, x, run);
    const Tensor whole = x.reshape({B, map.h, map.w, -1});
    if (input.features) out.stages.push_back(whole);
    if (s < S - 1) x = whole;
  }
  out.logits = head_(run, head_drop_(run, mean(norm_(run, x), {1})));
  return out;
}

// ---- rows ------------------------------------------------------------------------------------------------------------

namespace {

Config imagenet(std::vector<int> embed_dims, std::vector<int> depths, std::vector<int> num_heads,
                std::vector<double> mlp_ratios, int window) {
  return {.img_size = 224,
          .patch_size = 4,
          .num_classes = 1000,
          .embed_dims = std::move(embed_dims),
          .depths = std::move(depths),
          .num_heads = std::move(num_heads),
          .mlp_ratios = std::move(mlp_ratios),
          .sr_ratios = {8, 4, 2, 1},
          .wss = {window, window, window, window}};
}
Config pcpvt(std::vector<int> depths) {
  return imagenet({64, 128, 320, 512}, std::move(depths), {1, 2, 5, 8}, {8, 8, 4, 4}, 1);
}
/// Heads are 32 wide in every stage.
Config svt(int dim, std::vector<int> depths) {
  const int h = dim / 32;
  return imagenet({dim, 2 * dim, 4 * dim, 8 * dim}, std::move(depths), {h, 2 * h, 4 * h, 8 * h}, {4, 4, 4, 4}, 7);
}

}  // namespace

std::vector<ModelRow> rows() {
  const Family<Config> family{.name = "twins",
                              .reference = "Chu et al. 2021, arXiv 2104.13840",
                              .position = "peg",
                              .fields = fields(),
                              .places = places,
                              .input = image_input<Config>,
                              .fit = fit_image};
  return {model_row<Twins>(family, "twins", {}),
          model_row<Twins>(family, "twins_pcpvt_small", pcpvt({3, 4, 6, 3})),
          model_row<Twins>(family, "twins_pcpvt_base", pcpvt({3, 4, 18, 3})),
          model_row<Twins>(family, "twins_pcpvt_large", pcpvt({3, 8, 27, 3})),
          model_row<Twins>(family, "twins_svt_small", svt(64, {2, 2, 10, 4})),
          model_row<Twins>(family, "twins_svt_base", svt(96, {2, 2, 18, 2})),
          model_row<Twins>(family, "twins_svt_large", svt(128, {2, 2, 18, 2}))};
}

}  // namespace TESSERA_NS
}  // namespace tessera::twins
