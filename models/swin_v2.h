#pragma once
// Swin Transformer v2's parts.
#include "tessera/models/swin_stages.h"
#include "tessera/nn/head.h"

namespace tessera::swin_v2 {
inline namespace TESSERA_NS {

/// timm's arguments under timm's names; the defaults are a small Swin v2 for CIFAR-10: 16 x 16 and 8 x 8 maps, windows of 4.
struct Config {
  int img_size = 32, img_width = 0;  ///< height, and width (0: the same)
  int patch_size = 2, in_chans = 3, num_classes = 10;
  int embed_dim = 48;
  std::vector<int> depths{2, 4}, num_heads{3, 6};
  int window_size = 4, window_width = 0;  ///< height of a window, and width (0: the same); timm's window_size=(h, w)
  double mlp_ratio = 2;
  bool qkv_bias = true;             ///< of queries and values: keys have none
  std::string global_pool = "avg";  ///< nothing else: there is no class token
  double drop_rate = 0, pos_drop_rate = 0, proj_drop_rate = 0, attn_drop_rate = 0, drop_path_rate = 0.1;
  double mask_value =
      0;  ///< 0: masked pairs are skipped; -100: added, as the official code, which a logit of 100 outweighs
  std::string stem = "conv";  ///< else an ablation: see swin::Stem

  int width() const { return img_width ? img_width : img_size; }
  int stages() const { return static_cast<int>(depths.size()); }
  int dim(int stage) const { return embed_dim << stage; }
};
Fields<Config> fields();
/// Throws Error on a configuration that makes no sense.
Places places(const Config& c);

/// The official code's and transformers' names, for io::load.
std::vector<Rename> dialect();
/// The rows of the registry: the family, and named configurations of it.
std::vector<ModelRow> rows();

/// Attention by angles: e_ij = tau_h cos(q_i, k_j) + what the position encoding adds, tau_h = exp(min(logit_scale_h, ln 100)).
struct CosineAttention {
  struct Config {
    int dim = 0, num_heads = 1;
    bool qkv_bias = true;
    double attn_drop = 0, proj_drop = 0;
  };
  Tensor logit_scale;     ///< (H, 1, 1), ln 10 at the start; above ln 100 it counts as that, and gets no gradient
  Linear qkv;             ///< without a bias of its own
  Tensor q_bias, v_bias;  ///< (dim), or empty
  DropoutSpec attn_drop;
  Linear proj;
  Dropout proj_drop;
  int num_heads;
  CosineAttention(const Scope& s, const Config& c);
  /// x (B, N, dim) -> the same shape.
  Tensor operator()(const Run& run, const Tensor& x, const Pattern& who, const PositionEncoding& position,
                    const Site& site, const Layout& now) const;
};

/// The layer norm at the end of a branch: its weight is 0 at the start, so that a block starts as the identity.
struct PostNorm {
  Tensor weight, bias;
  PostNorm(const Scope& s, int dim);
  Tensor operator()(const Tensor& x) const;
};

/// x += drop_path1(norm1(attn x)) in windows, x += drop_path2(norm2(mlp x)).
struct Block {
  CosineAttention attn;
  PostNorm norm1;
  DropPath drop_path1;
  Mlp mlp;
  PostNorm norm2;
  DropPath drop_path2;
  Site site;         ///< of its attention
  std::string name;  ///< "layers.0.blocks.1", for error messages
  Block(const Scope& s, const Config& c, int stage, double drop_path, const Site& at);
  /// x (B, h w, dim) -> the same shape.
  Tensor operator()(const Run& run, const Tensor& x, const PositionEncoding& position, const Layout& now,
                    float mask_value) const;
};

/// Four neighbours become one token of twice the width: Linear(4C -> 2C, no bias) and LayerNorm(2C), the other way round than in v1.
struct PatchMerging {
  Linear reduction;
  LayerNorm norm;
  PatchMerging(const Scope& s, int dim);
  /// x (B, h w, dim) on `map`, which is halved -> (B, h/2 w/2, 2 dim).
  Tensor operator()(const Run& run, const Tensor& x, Grid& map) const;
};

class SwinV2 final : public Model {
 public:
  SwinV2(const Scope& s, const Config& config, const MakePosition& position);
  /// Images (B, H, W, in_chans) of whole patches -> logits (B, num_classes). stages: the map after every stage.
  Output forward(const Run& run, const Input& input) const override;

 private:
  Config config_;
  Places at_;
  swin::Stem stem_;
  std::unique_ptr<PositionEncoding> position_;
  Dropout pos_drop_;
  swin::Stages<Block, PatchMerging> stages_;
  LayerNorm norm_;
  Dropout head_drop_;
  Head head_;
};

}  // namespace TESSERA_NS
}  // namespace tessera::swin_v2
