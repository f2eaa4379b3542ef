#pragma once
// Spatial-reduction attention.  Wang et al. 2021 (PVT), arXiv 2102.12122, section 3.2: every token asks, but keys and values are of a map
// that a convolution whose kernel is its stride has made sr_ratio times smaller a side. Twins' global attention is the same layer.
//   q = W_q x,   m = norm(conv(x, stride R)),   k, v = W_kv m,   y = proj(attention(q, k, v))        R = 1: m = x, no convolution, no norm
//   cost, MACs an image of N tokens: 2 N C^2 + N C^2 (convolution) + 2 (N / R^2) C^2 + 2 N (N / R^2) C
// Rows and columns that R does not divide are dropped by the convolution, as in PVT's code.
#include <optional>

#include "tessera/nn/layers.h"

namespace tessera {
inline namespace TESSERA_NS {

/// Names as in timm's pvt_v2 and Twins: q, kv, sr, norm, proj.
struct ReducedAttention {
  struct Config {
    int dim = 0, num_heads = 1, sr_ratio = 1;
    double qk_scale = 0;  ///< 0: head_dim^-1/2
    bool qkv_bias = true;
    double attn_drop = 0, proj_drop = 0, norm_eps = 1e-5;
    LinearInit sr_init = torch_init(dim * sr_ratio * sr_ratio);
    /// Throws Error if the heads do not divide the width.
    int width_of_head() const;
    /// Throws Error unless qk_scale is finite and not negative.
    double scale() const;
  };
  /// The geometry of a call on this map. Throws Error if no key cell would be left, or if class tokens stand before a map to be reduced.
  static Layout layout(const Grid& map, int sr_ratio);

  Linear q, kv;
  Tensor sr_weight, sr_bias;  ///< sr: (dim, dim, R, R), (dim); empty where sr_ratio is 1
  std::optional<LayerNorm> norm;
  DropoutSpec attn_drop;
  Linear proj;
  Dropout proj_drop;
  int num_heads, sr_ratio;
  double scale;
  Site site;  ///< the place in the model that it was built for

  ReducedAttention(const Scope& s, const Config& c, const Site& at);
  /// x (B, map.tokens(), dim) -> the same shape.
  Tensor operator()(const Run& run, const Tensor& x, const Grid& map, const PositionEncoding& position) const;
  /// What proj takes: the mixed values of all heads, (B, map.tokens(), dim).
  Tensor mix(const Run& run, const Tensor& x, const Grid& map, const PositionEncoding& position) const;

 private:
  Tensor reduced(const Run& run, const Tensor& x, const Grid& map) const;
};

}  // namespace TESSERA_NS
}  // namespace tessera
