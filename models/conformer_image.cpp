// The Conformer's blocks on the patches of an image. Ours: the paper knows only sequences of frames.
//
//   image (B, H, W, 3)
//     -> patch_embed                     tokens (B, N, C), N = H/p W/p, in raster order
//     -> cls_token, reg_token in front   (B, P + N, C)       where class_token = true, reg_tokens > 0
//     -> position.tokens, dropout
//     -> num_layers x [ position.between,
//                       block ]          conformer_block.cpp; its convolution goes along the raster, or k x k over the map
//     -> mean of the patches, or the class token   (B, C)    a block ends with a norm
//     -> dropout, head                   logits (B, K)
//
// Along the raster the last patch of a row is the neighbour of the first of the next: conv_over = raster is the literal form, map the one
// that knows the plane.
#include "tessera/models/conformer_image.h"

#include "tessera/core/ops/concat.h"
#include "tessera/core/ops/reduce.h"
#include "tessera/core/ops/slice.h"
#include "tessera/models/image.h"

namespace tessera::conformer_image {
inline namespace TESSERA_NS {

using conformer::Block;

// ---- configuration ------------------------------------------------------------------------------------------------

Fields<Config> fields() {
  static const Fields<Config> table = joined<Config>(
      {image_fields<Config>(),
       conformer::block_fields<Config>(),
       attention_fields<Config>(),
       {{"global_pool", &Config::global_pool, "avg (mean of the patches) | token (class token)",
         one_of("avg", "token")},
        {"conv_over", &Config::conv_over, "raster (the patches as a sequence) | map (k x k taps over rows and columns)",
         one_of("raster", "map")},
        {"class_token", &Config::class_token, "a learned token in front, which passes by the convolutions"},
        {"reg_tokens", &Config::reg_tokens,
         "registers: learned tokens after the class token, which no head reads (Darcet et al. 2024)",
         within(0, 1024)}}});
  return table;
}

namespace {

void check(const Config& c) {
  check_fields(c, fields(), "model.");
  if (c.img_size % c.patch_size || c.width() % c.patch_size)
    fail("conformer_image",
         "an image of {} x {} is not made of patches of {} x {}; choose a patch_size that divides both", c.img_size,
         c.width(), c.patch_size, c.patch_size);
  if (c.global_pool == "token" && !c.class_token)
    fail("conformer_image", "global_pool = token needs class_token = true; without one choose global_pool = avg");
}

Block::Config block_config(const Config& c) {
  Block::Config b = conformer::block_of(c);
  b.conv.over_map = c.conv_over == "map";
  return b;
}

std::deque<Block> blocks_of(const Scope& s, const Config& c, const Places& at) {
  std::deque<Block> blocks;
  for (int i = 0; i < c.num_layers; ++i) {
    const std::string name = conformer::block_name(i);
    blocks.emplace_back(s / name, block_config(c), at.site(name + ".self_attn"));
  }
  return blocks;
}

}  // namespace

Places places(const Config& c) {
  check(c);
  const Grid grid{c.img_size / c.patch_size, c.width() / c.patch_size, c.prefix()};
  Extents size("conformer_image", c.img_size, c.width(), c.in_chans);
  size.linear(grid.tokens(), double(c.patch_size) * c.patch_size * c.in_chans, c.embed_dim);
  Places p;
  p.tokens.push_back({0, 0, 0, c.embed_dim, grid, "pos_embed"});
  conformer::add_gaps(p, c.num_layers, c.embed_dim, grid);
  conformer::add_sites(p, size, c.num_layers, block_config(c), Layout::global(grid));
  size.linear(1, c.embed_dim, c.num_classes);
  return p;
}

// ---- model --------------------------------------------------------------------------------------------------------

ConformerImage::ConformerImage(const Scope& s, const Config& c, const MakePosition& position)
    : config_(c),
      at_(places(c)),
      cls_token_(c.class_token ? s.param("cls_token", {1, 1, c.embed_dim}, tn02(), Decay::no) : Tensor()),
      reg_token_(c.reg_tokens ? s.param("reg_token", {1, c.reg_tokens, c.embed_dim}, tn02(), Decay::no) : Tensor()),
      position_(position(s, at_)),
      patch_embed_(s / "patch_embed", {.patch_size = c.patch_size, .in_chans = c.in_chans, .dim = c.embed_dim}),
      pos_drop_(s / "pos_drop", c.pos_drop_rate),
      blocks_(blocks_of(s, c, at_)),
      head_drop_(s / "head_drop", c.drop_rate),
      head_(s / "head", c.embed_dim, c.num_classes) {}

Output ConformerImage::forward(const Run& run, const Input& input) const {
  const Grid grid = patch_embed_.grid(input.x, config_.prefix());  // of this call
  const int B = input.x.dim(0), P = grid.prefix, N = grid.tokens();
  Tensor x = patch_embed_(run, input.x);
  if (reg_token_) x = prepend(reg_token_, x);
  if (cls_token_) x = prepend(cls_token_, x);
  x = pos_drop_(run, position_->tokens(at_.tokens[0], grid, x, run));
  const conformer::Sequence at{Layout::global(grid), global_pattern(N, N), {}};
  for (const Block& block : blocks_) {
    x = position_->between(at_.gap(0, block.site.block), grid, x, run);
    x = block(run, x, at, *position_);
  }
  x = position_->between(at_.between.back(), grid, x, run);
  Output out;
  if (input.features) out.stages.push_back(slice(x, 1, P, N).reshape({B, grid.h, grid.w, -1}));
  const Tensor pooled = config_.global_pool == "token" ? select_row(x, 1, 0) : mean(P ? slice(x, 1, P, N) : x, {1});
  out.logits = head_(run, head_drop_(run, pooled));
  return out;
}

// ---- rows ---------------------------------------------------------------------------------------------------------

std::vector<ModelRow> rows() {
  const Family<Config> family{.name = "conformer_image",
                              .reference = "Gulati et al. 2020, arXiv 2005.08100, on patches",
                              .position = "conformer_shaw",
                              .fields = fields(),
                              .places = places,
                              .input = image_input<Config>,
                              .fit = fit_image};
  return {
      model_row<ConformerImage>(family, "conformer_image", {}),
      model_row<ConformerImage>(family, "conformer_image_map", {.conv_over = "map", .depthwise_conv_kernel_size = 5})};
}

}  // namespace TESSERA_NS
}  // namespace tessera::conformer_image
