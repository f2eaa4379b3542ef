#include "tessera/models/swin_stages.h"

#include "tessera/core/ops/pad.h"
#include "tessera/core/ops/permute.h"

namespace tessera::swin {
inline namespace TESSERA_NS {

std::string block_name(int stage, int i) { return fmt::format("layers.{}.blocks.{}", stage, i); }

Layout layout_at(const Grid& map, const Window& built) {
  Window now = window_of(map, built.h, built.w, true);
  now.shift_y = std::min(now.shift_y, built.shift_y), now.shift_x = std::min(now.shift_x, built.shift_x);
  return Layout::windowed(map, now);
}

Stem::Stem(const Scope& s, const PatchEmbed::Config& c, const std::string& stem, bool with_norm) : patch_embed(s, c) {
  if (stem != "conv")
    samples.emplace(s, DeformOffsets::Config{.in = c.in_chans,
                                             .kernel = c.patch_size,
                                             .options = conv_options(c.patch_size, 0),
                                             .modulated = stem == "modulated"});
  if (with_norm) norm.emplace(s / "norm", c.dim, norm_eps);
}

Tensor Stem::operator()(const Run& run, const Tensor& image, Grid& map) const {
  map = patch_embed.grid(image);
  Tensor x;
  if (samples) {
    const auto [offset, mask] = (*samples)(run, image);
    const ConvOptions patches = conv_options(patch_embed.patch_size, 0);
    x = deform_conv2d(image, offset, mask, patch_embed.weight, patch_embed.bias, patches);
    x = x.reshape({image.dim(0), map.tokens(), -1});
  } else {
    x = patch_embed(run, image);
  }
  return norm ? (*norm)(run, x) : x;
}

Tensor neighbours(const Tensor& x, Grid& map) {
  const auto [B, N, C] = x.dims<3>();
  Tensor y = x.reshape({B, map.h, map.w, C});
  if (map.h % 2) y = pad(y, 1, 0, 1);
  if (map.w % 2) y = pad(y, 2, 0, 1);
  map = halved(map);
  // (B, h, row, w, column, C) -> (B, h, w, column, row, C): the sub-position is 2 column + row
  const Tensor four = permute(y.reshape({B, map.h, 2, map.w, 2, C}), {0, 1, 3, 4, 2, 5});
  return four.reshape({B, map.h * map.w, 4 * C});
}

// The official code puts a stage's merging after its blocks, timm and we before those of the next: the file that has one in stage 0
// counts so. Its head has no `fc`.
std::vector<Rename> stage_dialect(const std::string& prefix, const std::vector<Rename>& attention) {
  constexpr int most_stages = 8;  // check_stages() allows no more
  const std::string block = "encoder.layers.*.blocks.*.", ours = "layers.*.blocks.*.";
  std::vector<Rename> rows{{"embeddings.patch_embeddings.projection.*", "patch_embed.proj.*"},
                           {"embeddings.norm.*", "patch_embed.norm.*"},
                           {"embeddings.position_embeddings", "absolute_pos_embed"},
                           {"embeddings.mask_token", ""}};
  for (const Rename& r : attention) rows.push_back({block + r.from, ours + r.to, r.part, r.parts});
  for (const Rename& r :
       {Rename{block + "attention.self.*", ours + "attn.*"},  // what is named alike, and what is derived from it
        {block + "attention.output.dense.*", ours + "attn.proj.*"},
        {block + "intermediate.dense.*", ours + "mlp.fc1.*"},
        {block + "output.dense.*", ours + "mlp.fc2.*"},
        {block + "layernorm_before.*", ours + "norm1.*"},
        {block + "layernorm_after.*", ours + "norm2.*"},
        {block + "mlp.*", ours + "mlp.*"},
        {"layernorm.*", "norm.*"},
        {"pooler.*", ""}})
    rows.push_back(r);
  for (int s = 0; s + 1 < most_stages; ++s)
    rows.push_back({fmt::format("encoder.layers.{}.downsample.*", s), fmt::format("layers.{}.downsample.*", s + 1)});

  std::vector<Rename> all{
      {"classifier.*", "head.fc.*"}, {"head.weight", "head.fc.weight"}, {"head.bias", "head.fc.bias"}};
  for (int s = 0; s + 1 < most_stages; ++s)
    all.push_back({fmt::format("layers.{}.downsample.*", s), fmt::format("layers.{}.downsample.*", s + 1), 0, 1,
                   "layers.0.downsample.*"});
  for (const Rename& r : rows) {
    all.push_back({prefix + r.from, r.to, r.part, r.parts});
    all.push_back(r);
  }
  return all;
}

}  // namespace TESSERA_NS
}  // namespace tessera::swin
