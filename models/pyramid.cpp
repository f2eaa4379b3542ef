#include "tessera/models/pyramid.h"

#include "tessera/core/ops/slice.h"

namespace tessera::pyramid {
inline namespace TESSERA_NS {

std::vector<Stage> stages_of(const char* model, int in_chans, int patch_size, const std::vector<int>& embed_dims,
                             const std::vector<int>& depths, const std::vector<int>& num_heads,
                             const std::vector<double>& mlp_ratios, const std::vector<int>& sr_ratios) {
  constexpr size_t most_stages = 8;
  const size_t n = depths.size();
  for (const auto& [name, entries] : {std::pair("embed_dims", embed_dims.size()),
                                      {"num_heads", num_heads.size()},
                                      {"mlp_ratios", mlp_ratios.size()},
                                      {"sr_ratios", sr_ratios.size()}})
    if (n == 0 || n > most_stages || entries != n)
      fail(model, "depths has {} stages and {} {}; every list needs one entry a stage, at most {}", n, name, entries,
           most_stages);
  std::vector<Stage> stages;
  for (size_t i = 0; i < n; ++i) {
    const Stage s{.depth = depths[i],
                  .dim = embed_dims[i],
                  .num_heads = num_heads[i],
                  .mlp_ratio = mlp_ratios[i],
                  .sr_ratio = sr_ratios[i],
                  .patch_size = i ? 2 : patch_size,
                  .in_chans = i ? embed_dims[i - 1] : in_chans};
    if (s.dim % s.num_heads) fail(model, "stage {}: {} heads do not divide the width {}", i + 1, s.num_heads, s.dim);
    if (s.dim * s.mlp_ratio < 1)
      fail(model, "stage {}: mlp_ratio {} makes the MLP {} wide; expected at least 1", i + 1, s.mlp_ratio,
           s.dim * s.mlp_ratio);
    stages.push_back(s);
  }
  return stages;
}

std::vector<Grid> maps_of(const char* model, const std::vector<Stage>& stages, int height, int width) {
  std::vector<Grid> maps;
  Grid from{height, width, 0};
  for (const Stage& s : stages) {
    const Grid map{from.h / s.patch_size, from.w / s.patch_size, 0};
    if (map.h < 1 || map.w < 1)
      fail(model,
           "stage {} cuts a map of {} x {} into patches of {} x {} and has none; choose a larger img_size, a smaller "
           "patch_size or fewer stages",
           maps.size() + 1, from.h, from.w, s.patch_size, s.patch_size);
    if (map.h < s.sr_ratio || map.w < s.sr_ratio)
      fail(model,
           "stage {} has a map of {} x {}, of which sr_ratio {} leaves no key; choose smaller sr_ratios or a larger "
           "img_size",
           maps.size() + 1, map.h, map.w, s.sr_ratio);
    maps.push_back(from = map);
  }
  return maps;
}

void count_embedding(Extents& size, const Stage& s, const Grid& map) {
  size.linear(map.tokens(), double(s.patch_size) * s.patch_size * s.in_chans, s.dim);
}

void count_block(Extents& size, const Stage& s, const Grid& map) {
  const double N = map.tokens(), R = s.sr_ratio, C = s.dim;
  const double keys = s.sr_ratio == 1 ? N : double(map.h / s.sr_ratio) * (map.w / s.sr_ratio);
  if (s.sr_ratio > 1) size.linear(keys, C * R * R, C);
  size.linear(keys, C, 2 * C);             // kv
  size.linear(N, C, 2 * C);                // q, proj
  size.linear(N, C, 2 * s.mlp_ratio * C);  // fc1, fc2
  size.block(N, keys, 0, C, 0);            // q k^T and p v alone
}

StageEmbed::StageEmbed(const Scope& s, const Stage& c, std::optional<LinearInit> init)
    : patches(s, {.patch_size = c.patch_size,
                  .in_chans = c.in_chans,
                  .dim = c.dim,
                  .init = init.value_or(torch_init(c.in_chans * c.patch_size * c.patch_size))}),
      norm(s / "norm", c.dim, embed_eps) {}

Tensor StageEmbed::operator()(const Run& run, const Tensor& x, Grid& now) const {
  const int p = patches.patch_size;
  Tensor whole = x;
  if (x.rank() == 4 && x.dim(1) >= p && x.dim(1) % p) whole = slice(whole, 1, 0, x.dim(1) / p * p);
  if (x.rank() == 4 && x.dim(2) >= p && x.dim(2) % p) whole = slice(whole, 2, 0, x.dim(2) / p * p);
  now = patches.grid(whole);
  return norm(run, patches(run, whole));
}

}  // namespace TESSERA_NS
}  // namespace tessera::pyramid
