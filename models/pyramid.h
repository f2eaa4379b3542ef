#pragma once
// What pyramids share (PVT, Twins): stages on maps that shrink from one to the next. A stage begins with patches of the last one's map and
// a norm; its blocks are pre-norm, and an attention A of theirs has Config, mix(run, x, map, position), proj and proj_drop.
#include <optional>

#include "tessera/models/image.h"
#include "tessera/nn/reduced_attention.h"

namespace tessera::pyramid {
inline namespace TESSERA_NS {

constexpr double block_eps = 1e-6, embed_eps = 1e-5;  ///< of layer norms, in both families

/// One stage of a configuration.
struct Stage {
  int depth = 0, dim = 0, num_heads = 0;
  double mlp_ratio = 0;
  int sr_ratio = 1;
  int patch_size = 2, in_chans = 0;  ///< of the patches it begins with
};

/// The options of which each stage has an entry, and how a configuration C says them.
template <class C>
std::vector<Field<C>> stage_fields() {
  return {{"embed_dims", &C::embed_dims, "width of each stage", within(1, most_width)},
          {"depths", &C::depths, "blocks of each stage", within(1, most_depth)},
          {"num_heads", &C::num_heads, "attention heads of each stage", within(1, most_heads)},
          {"mlp_ratios", &C::mlp_ratios, "hidden width of each stage's MLP over its width", positive(1000)},
          {"sr_ratios", &C::sr_ratios, "how many times smaller a side than the queries' each stage's map of keys is",
           within(1, most_side)},
          {"pos_drop_rate", &C::pos_drop_rate, "dropout after the positions of each stage", below_one()},
          {"drop_path_rate", &C::drop_path_rate,
           "stochastic depth of the last block; the first has 0, linear over all stages", below_one()}};
}

/// Throws Error where the lists differ in length or a stage makes no sense.
std::vector<Stage> stages_of(const char* model, int in_chans, int patch_size, const std::vector<int>& embed_dims,
                             const std::vector<int>& depths, const std::vector<int>& num_heads,
                             const std::vector<double>& mlp_ratios, const std::vector<int>& sr_ratios);
template <class C>
std::vector<Stage> stages_of(const char* model, const C& c) {
  return stages_of(model, c.in_chans, c.patch_size, c.embed_dims, c.depths, c.num_heads, c.mlp_ratios, c.sr_ratios);
}

/// The map of each stage for an image of this size. Throws Error where one would have no cell, or no key would be left.
std::vector<Grid> maps_of(const char* model, const std::vector<Stage>& stages, int height, int width);

/// What a stage's embedding costs, and one of its blocks with keys of a reduced map.
void count_embedding(Extents& size, const Stage& stage, const Grid& map);
void count_block(Extents& size, const Stage& stage, const Grid& map);

/// Of block `index` of `blocks`.
inline double drop_path(double rate, int index, int blocks) { return rate * index / std::max(1, blocks - 1); }

/// A convolution whose kernel is its stride, then a norm. Rows and columns that make no whole patch are dropped, as by any convolution.
struct StageEmbed {
  PatchEmbed patches;  ///< proj
  LayerNorm norm;
  /// Without `init` the convolution starts as torch's does.
  StageEmbed(const Scope& s, const Stage& stage, std::optional<LinearInit> init = {});
  /// x (B, H, W, in_chans) -> tokens (B, h w, dim) of a map h x w, which `now` becomes. Throws Error if there is no whole patch.
  Tensor operator()(const Run& run, const Tensor& x, Grid& now) const;
};

/// x += drop_path1(attn(norm1 x)), x += drop_path2(mlp(norm2 x)).
template <class A>
struct Block {
  struct Config {
    typename A::Config attn;
    double mlp_ratio = 4, drop = 0, drop_path = 0;
  };
  LayerNorm norm1;
  A attn;
  DropPath drop_path1;
  LayerNorm norm2;
  Mlp mlp;
  DropPath drop_path2;
  std::string name;  ///< for error messages
  Block(const Scope& s, const Config& c, const Site& at)
      : norm1(s / "norm1", c.attn.dim, block_eps),
        attn(s / "attn", c.attn, at),
        drop_path1(s / "drop_path1", c.drop_path),
        norm2(s / "norm2", c.attn.dim, block_eps),
        mlp(s / "mlp", {.dim = c.attn.dim, .hidden = static_cast<int>(c.attn.dim * c.mlp_ratio), .drop = c.drop}),
        drop_path2(s / "drop_path2", c.drop_path),
        name(s.path()) {}
  /// x (B, map.tokens(), dim) -> the same shape.
  Tensor operator()(const Run& run, const Tensor& x, const Grid& map, const PositionEncoding& position) const {
    const Crumb here(name);
    const Tensor mixed = attn.mix(run, norm1(run, x), map, position);
    const Tensor y = add_branch(run, x, mixed, attn.proj, attn.proj_drop, {}, drop_path1);
    return add_branch(run, y, mlp.hidden(run, norm2(run, y)), mlp.fc2, mlp.drop2, {}, drop_path2);
  }
};

}  // namespace TESSERA_NS
}  // namespace tessera::pyramid
