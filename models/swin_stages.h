#pragma once
// What Swin and Swin v2 share: the options, where their attentions stand, the stem, the walk through stages, and names of other programs.
// What makes them two, the block and the order inside of the merging, stands in models/swin.cpp and models/swin_v2.cpp.
#include <algorithm>
#include <deque>
#include <optional>

#include "tessera/models/image.h"
#include "tessera/models/model.h"
#include "tessera/nn/deform_conv.h"
#include "tessera/nn/windows.h"

namespace tessera::swin {
inline namespace TESSERA_NS {

constexpr double norm_eps = 1e-5;

// ---- options: C is swin::Config or swin_v2::Config -------------------------------------------------------------------------

template <class C>
std::vector<Field<C>> stage_fields() {
  return {
      {"global_pool", &C::global_pool, "avg (mean of the last map): it has no class token", one_of("avg")},
      {"embed_dim", &C::embed_dim, "width of the first stage; it doubles in every further one", within(1, most_width)},
      {"depths", &C::depths, "blocks of each stage", within(1, most_depth)},
      {"num_heads", &C::num_heads, "attention heads of each stage", within(1, most_heads)},
      {"window_size", &C::window_size,
       "height of a window, and its width unless window_width is set; a smaller map is one window",
       within(1, most_side)},
      {"window_width", &C::window_width, "width of a window, 0: window_size", within(0, most_side)},
      {"mlp_ratio", &C::mlp_ratio, "hidden width of the MLP over the stage's width", positive(1000)},
      {"pos_drop_rate", &C::pos_drop_rate, "dropout after the patch embedding", below_one()},
      {"drop_path_rate", &C::drop_path_rate,
       "stochastic depth of the last block; the first has 0, linear over all stages", below_one()},
      {"mask_value", &C::mask_value,
       "0: pairs of different regions are skipped | -100: added to their logits, as the official code",
       within(-1e6, 0)},
      {"stem", &C::stem,
       "conv | for ablations, no Swin has it: deformable (patches sampled at learned offsets) | modulated (and "
       "with a mask)",
       one_of("conv", "deformable", "modulated")}};
}

/// Of the shape alone; the values of single fields are looked at before.
template <class C>
void check_stages(const char* model, const C& c) {
  if (c.depths.empty() || c.depths.size() > 8 || c.depths.size() != c.num_heads.size())
    fail(model, "depths has {} stages and num_heads {}; both need one entry a stage, at most 8", c.depths.size(),
         c.num_heads.size());
  for (int s = 0; s < c.stages(); ++s) {
    const auto i = static_cast<size_t>(s);
    if (c.embed_dim > most_width >> s)
      fail(model, "stage {} is {} x 2^{} wide, expected at most {}", s, c.embed_dim, s, most_width);
    if (c.dim(s) % c.num_heads[i])
      fail(model, "stage {}: {} blocks of width {} with {} heads; the heads must divide the width", s, c.depths[i],
           c.dim(s), c.num_heads[i]);
    if (c.dim(s) * c.mlp_ratio < 1)
      fail(model, "mlp_ratio {} makes the MLP of stage {} {} wide; expected at least 1", c.mlp_ratio, s,
           c.dim(s) * c.mlp_ratio);
  }
  if (c.img_size % c.patch_size || c.width() % c.patch_size)
    fail(model, "an image of {} x {} is not made of patches of {} x {}", c.img_size, c.width(), c.patch_size,
         c.patch_size);
}

// ---- geometry ------------------------------------------------------------------------------------------------------------

std::string block_name(int stage, int i);
/// The map after a merging.
inline Grid halved(const Grid& g) { return {(g.h + 1) / 2, (g.w + 1) / 2, g.prefix}; }

/// As a block is built: every second one of a stage is shifted.
template <class C>
Layout layout_of(const Grid& map, const C& c, int block) {
  const int w = c.window_width ? c.window_width : c.window_size;
  return Layout::windowed(map, window_of(map, c.window_size, w, block % 2));
}

/// At a call. Window and shift are those that the block was built with, as in timm, also where its window covered a whole map then; a map
/// that it covers now is one window and is not shifted.
Layout layout_at(const Grid& map, const Window& built);

/// `scale` is that of a stage's attention, scale(stage).
template <class C, class Scale>
Places stage_places(const char* model, const C& c, Scale scale) {
  Places p;
  Grid map{c.img_size / c.patch_size, c.width() / c.patch_size, 0};
  Extents size(model, c.img_size, c.width(), c.in_chans);
  const double patch = double(c.patch_size) * c.patch_size;
  size.linear(map.tokens(), patch * c.in_chans, c.embed_dim);
  if (c.stem != "conv") size.linear(map.tokens(), patch * c.in_chans, 3 * patch);
  p.tokens.push_back({0, 0, 0, c.embed_dim, map, "absolute_pos_embed"});
  for (int s = 0; s < c.stages(); ++s) {
    if (s) map = halved(map), size.linear(map.tokens(), 4.0 * c.dim(s - 1), c.dim(s));
    const int blocks = c.depths[static_cast<size_t>(s)], heads = c.num_heads[static_cast<size_t>(s)];
    for (int i = 0; i <= blocks; ++i) {
      p.between.push_back(
          {static_cast<int>(p.between.size()), s, i, c.dim(s), map, fmt::format("pos_block.{}.{}", s, i)});
      if (i == blocks) continue;
      const Layout at = layout_of(map, c, i);
      size.block(map.tokens(), double(at.window.h) * at.window.w, c.dim(s), c.dim(s), c.mlp_ratio);
      p.sites.push_back({static_cast<int>(p.sites.size()), s, i, c.dim(s), heads, c.dim(s) / heads, scale(s), at,
                         block_name(s, i) + ".attn"});
    }
  }
  size.linear(1, c.dim(c.stages() - 1), c.num_classes);
  return p;
}

// ---- parts -----------------------------------------------------------------------------------------------------------------

/// (B, H, W, in_chans) -> tokens (B, h w, dim): a convolution whose kernel is its stride, and a layer norm. With offsets, an ablation that
/// no Swin has, that convolution is deformable: plain at the start, or half of it where it is modulated (its mask starts at 1/2).
struct Stem {
  PatchEmbed patch_embed;
  std::optional<DeformOffsets> samples;
  std::optional<LayerNorm> norm;
  Stem(const Scope& s, const PatchEmbed::Config& c, const std::string& stem, bool with_norm);
  /// `map` becomes that of the tokens.
  Tensor operator()(const Run& run, const Tensor& image, Grid& map) const;
};

/// Four neighbours side by side: x (B, h w, C) on `map`, which is halved -> (B, h/2 w/2, 4C), in the order (0,0), (1,0), (0,1), (1,1) of
/// (row, column). An odd map is padded with zeros right and below.
Tensor neighbours(const Tensor& x, Grid& map);

/// Before each stage but the first a Merging, m(run, x, map); then its blocks, b(run, x, position, layout, mask_value).
template <class Block, class Merging>
class Stages {
 public:
  template <class C>
  Stages(const Scope& s, const C& c, const Places& at) {
    int blocks = 0, before = 0;
    for (int d : c.depths) blocks += d;
    for (int stage = 0; stage < c.stages(); ++stage) {
      Stage& now = stages_.emplace_back();
      if (stage) now.downsample.emplace(s / "layers" / stage / "downsample", c.dim(stage - 1));
      for (int i = 0; i < c.depths[static_cast<size_t>(stage)]; ++i, ++before)
        now.blocks.emplace_back(s / block_name(stage, i), c, stage, c.drop_path_rate * before / std::max(1, blocks - 1),
                                at.site(block_name(stage, i) + ".attn"));
    }
  }

  /// x (B, h w, C) on `map` -> tokens of the last stage; each stage's map goes into `maps`, if somebody asks.
  template <class C>
  Tensor operator()(const Run& run, Tensor x, Grid map, const C& c, const Places& at, const PositionEncoding& position,
                    std::vector<Tensor>* maps) const {
    int s = 0;
    for (const Stage& stage : stages_) {
      if (stage.downsample) x = (*stage.downsample)(run, x, map);
      for (const Block& block : stage.blocks) {
        x = position.between(at.gap(s, block.site.block), map, x, run);
        const Layout now = layout_at(map, block.site.trained.window);
        x = block(run, x, position, now, static_cast<float>(c.mask_value));
      }
      x = position.between(at.gap(s++, static_cast<int>(stage.blocks.size())), map, x, run);
      if (maps) maps->push_back(x.reshape({x.dim(0), map.h, map.w, -1}));
    }
    return x;
  }

 private:
  struct Stage {
    std::optional<Merging> downsample;
    std::deque<Block> blocks;
  };
  std::deque<Stage> stages_;
};

/// Names of the official code (and of timm before 0.9), and of transformers below `prefix` ("swin."). `attention` renames what is below
/// "encoder.layers.*.blocks.*." in transformers' attention, to names below "layers.*.blocks.*.".
std::vector<Rename> stage_dialect(const std::string& prefix, const std::vector<Rename>& attention);

}  // namespace TESSERA_NS
}  // namespace tessera::swin
