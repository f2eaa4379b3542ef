#pragma once
// Swin Transformer v1's parts.
#include "tessera/models/swin_stages.h"
#include "tessera/nn/head.h"

namespace tessera::swin {
inline namespace TESSERA_NS {

/// timm's arguments under timm's names; the defaults are a small Swin for CIFAR-10: 16 x 16 and 8 x 8 maps, windows of 4.
struct Config {
  int img_size = 32, img_width = 0;  ///< height, and width (0: the same)
  int patch_size = 2, in_chans = 3, num_classes = 10;
  int embed_dim = 48;
  std::vector<int> depths{2, 4}, num_heads{3, 6};
  int window_size = 4, window_width = 0;  ///< height of a window, and width (0: the same); timm's window_size=(h, w)
  double mlp_ratio = 2;
  bool qkv_bias = true, patch_norm = true;
  double qk_scale = 0;              ///< 0: head_dim^-1/2
  std::string global_pool = "avg";  ///< nothing else: there is no class token
  double drop_rate = 0, pos_drop_rate = 0, proj_drop_rate = 0, attn_drop_rate = 0, drop_path_rate = 0.1;
  double mask_value = 0;      ///< 0: masked pairs are skipped; -100: added to their logits, as the official code does
  std::string stem = "conv";  ///< else an ablation: see Stem

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

/// x += drop_path1(attn(norm1 x)) in windows, x += drop_path2(mlp(norm2 x)).
struct Block {
  LayerNorm norm1;
  Attention attn;
  DropPath drop_path1;
  LayerNorm norm2;
  Mlp mlp;
  DropPath drop_path2;
  Site site;         ///< of its attention
  std::string name;  ///< "layers.0.blocks.1", for error messages
  Block(const Scope& s, const Config& c, int stage, double drop_path, const Site& at);
  /// x (B, h w, dim) -> the same shape.
  Tensor operator()(const Run& run, const Tensor& x, const PositionEncoding& position, const Layout& now,
                    float mask_value) const;
};

/// Four neighbours become one token of twice the width: LayerNorm(4C) and Linear(4C -> 2C, no bias).
struct PatchMerging {
  LayerNorm norm;
  Linear reduction;
  PatchMerging(const Scope& s, int dim);
  /// x (B, h w, dim) on `map`, which is halved -> (B, h/2 w/2, 2 dim).
  Tensor operator()(const Run& run, const Tensor& x, Grid& map) const;
};

class Swin final : public Model {
 public:
  Swin(const Scope& s, const Config& config, const MakePosition& position);
  /// Images (B, H, W, in_chans) of whole patches -> logits (B, num_classes). stages: the map after every stage.
  Output forward(const Run& run, const Input& input) const override;

 private:
  Config config_;
  Places at_;
  Stem stem_;
  std::unique_ptr<PositionEncoding> position_;
  Dropout pos_drop_;
  Stages<Block, PatchMerging> stages_;
  LayerNorm norm_;
  Dropout head_drop_;
  Head head_;
};

}  // namespace TESSERA_NS
}  // namespace tessera::swin
