#pragma once
// CvT: a transformer of stages whose tokens and whose queries, keys and values come from convolutions.
#include <deque>
#include <optional>

#include "tessera/models/model.h"
#include "tessera/nn/convolution.h"
#include "tessera/nn/head.h"

namespace tessera::cvt {
inline namespace TESSERA_NS {

/// The defaults are a small CvT for CIFAR-10: maps of 16 x 16, 8 x 8 and 4 x 4, about 0.6M parameters.
struct Config {
  int img_size = 32, img_width = 0;  ///< height, and width (0: the same)
  int in_chans = 3, num_classes = 10;
  std::vector<int> patch_sizes{5, 3, 3}, patch_strides{2, 2, 2},
      patch_paddings{2, 1, 1};  ///< of each stage's embedding
  std::vector<int> embed_dims{32, 64, 128}, depths{1, 2, 3}, num_heads{1, 2, 4};
  double mlp_ratio = 2;
  std::string method = "dw_bn";       ///< of queries, keys and values: dw_bn | avg (keys and values alone) | linear
  int kernel_qkv = 3, stride_kv = 2;  ///< of dw_bn and avg
  bool qkv_bias = true;
  double qk_scale = 0;  ///< 0: width^-1/2, of the whole stage and not of a head, as the official code has it
  std::string global_pool = "token";     ///< token (a class token in the last stage) | avg (none: mean of the last map)
  bool class_token = true;               ///< false: global_pool = avg under its older name
  int reg_tokens = 0;                    ///< registers of the last stage, which no head reads
  std::string act_layer = "quick_gelu";  ///< transformers' port has gelu
  double drop_rate = 0, pos_drop_rate = 0, proj_drop_rate = 0, attn_drop_rate = 0, drop_path_rate = 0;

  int width() const { return img_width ? img_width : img_size; }
  int stages() const { return static_cast<int>(depths.size()); }
  bool pools_token() const { return class_token && global_pool == "token"; }
  /// Tokens before the map's, of the last stage alone: before it a convolution would have no place for them.
  int prefix(int stage) const { return stage + 1 == stages() ? (pools_token() ? 1 : 0) + reg_tokens : 0; }
};
Fields<Config> fields();
/// Throws Error on a configuration that makes no sense.
Places places(const Config& c);
/// transformers' names (CvtForImageClassification, CvtModel); the official code's are ours.
std::vector<Rename> dialect();
/// The rows of the registry: the family, and named configurations of it.
std::vector<ModelRow> rows();

/// An overlapping convolution, then LayerNorm: a map (B, H, W, in) -> tokens (B, h w, dim) and their map.
struct ConvEmbed {
  Conv2d proj;
  LayerNorm norm;
  ConvEmbed(const Scope& s, const Config& c, int stage);
  Tensor operator()(const Run& run, const Tensor& x, Grid& map) const;
};

/// What stands before the linear projection of q, k or v: depthwise k x k without bias and BatchNorm, or an average, or nothing.
struct Projection {
  std::optional<Conv2d> conv;
  std::optional<BatchNorm> bn;
  int average = 0, stride = 1;  ///< kernel of the average, 0: none
  Projection(const Scope& s, const Config& c, int dim, bool keys);
  /// (B, h, w, C) -> (B, h', w', C): `stride` times smaller a side, rounded up (an average may keep one row and column more).
  Tensor operator()(const Run& run, const Tensor& map) const;
};

/// q = W_q P_q(x), k = W_k P_k(x), v = W_v P_v(x) of the map; a class token goes around the P's.
struct ConvAttention {
  Projection conv_proj_q, conv_proj_k, conv_proj_v;
  Linear proj_q, proj_k, proj_v;
  DropoutSpec attn_drop;
  Linear proj;
  Dropout proj_drop;
  int num_heads;
  double scale;
  Site site;  ///< the place in the model that it was built for
  ConvAttention(const Scope& s, const Config& c, int stage, const Site& at);
  /// What proj takes: the mixed values of all heads. x (B, map.tokens(), C).
  Tensor mix(const Run& run, const Tensor& x, const Grid& map, const PositionEncoding& position) const;
};

/// x += drop_path1(attn(norm1 x)), x += drop_path2(mlp(norm2 x)).
struct Block {
  LayerNorm norm1;
  ConvAttention attn;
  DropPath drop_path1;
  LayerNorm norm2;
  Mlp mlp;
  DropPath drop_path2;
  std::string name;  ///< "stage2.blocks.3", for error messages
  Block(const Scope& s, const Config& c, int stage, double drop_path, const Site& at);
  Tensor operator()(const Run& run, const Tensor& x, const Grid& map, const PositionEncoding& position) const;
};

class Cvt final : public Model {
 public:
  Cvt(const Scope& s, const Config& config, const MakePosition& position);
  /// Images (B, H, W, in_chans) -> logits (B, num_classes). stages: the map after every stage.
  Output forward(const Run& run, const Input& input) const override;

 private:
  struct Stage {
    ConvEmbed patch_embed;
    Tensor cls_token, reg_token;
    Dropout pos_drop;
    std::deque<Block> blocks;
    Stage(const Scope& s, const Config& c, int stage, const Places& at);
  };
  static std::deque<Stage> build(const Scope& s, const Config& c, const Places& at);

  Config config_;
  Places at_;
  std::unique_ptr<PositionEncoding> position_;
  std::deque<Stage> stages_;
  LayerNorm norm_;
  Dropout head_drop_;
  Head head_;
};

}  // namespace TESSERA_NS
}  // namespace tessera::cvt
