#pragma once
// Compact transformers: CCT, and its relatives CVT (compact) and ViT-Lite of the same paper.
#include <deque>
#include <optional>

#include "tessera/models/model.h"
#include "tessera/nn/convolution.h"
#include "tessera/nn/head.h"

namespace tessera::cct {
inline namespace TESSERA_NS {

/// The defaults are the paper's CCT-2/3x2 for CIFAR-10: 2 layers behind 2 convolutions of 3 x 3.
struct Config {
  int img_size = 32, img_width = 0;  ///< height, and width (0: the same)
  int in_chans = 3, num_classes = 10;
  int n_conv_layers = 2, kernel_size = 3, stride = 1, padding = 1;  ///< of the tokenizer
  int in_planes = 64;                                               ///< channels between its convolutions
  bool max_pool =
      true;  ///< ReLU and 3 x 3 max pooling of stride 2 after every convolution; CVT and ViT-Lite have neither
  bool conv_bias = false;
  std::string global_pool = "seq";  ///< seq (tokens weighted by a learned score) | token (class token)
  int reg_tokens = 0;               ///< registers, which neither reads
  int embed_dim = 128, depth = 2, num_heads = 2;
  double mlp_ratio = 1;
  std::string act_layer = "gelu";
  double norm_eps = 1e-5;
  bool qkv_bias = false;
  double qk_scale = 0;  ///< 0: head_dim^-1/2
  double drop_rate = 0, pos_drop_rate = 0, proj_drop_rate = 0, attn_drop_rate = 0.1, drop_path_rate = 0.1;

  int width() const { return img_width ? img_width : img_size; }
  bool class_token() const { return global_pool == "token"; }
  int prefix() const { return (class_token() ? 1 : 0) + reg_tokens; }
};
Fields<Config> fields();
/// Throws Error on a configuration that makes no sense.
Places places(const Config& c);
/// The rows of the registry: the family, and named configurations of it.
std::vector<ModelRow> rows();

/// Convolutions, each with ReLU and max pooling if asked for: (B, H, W, in_chans) -> a map (B, h, w, embed_dim).
struct Tokenizer {
  std::deque<Conv2d> convs;  ///< "conv_layers.N.0"
  bool max_pool;
  Tokenizer(const Scope& s, const Config& c);
  Tensor operator()(const Run& run, const Tensor& image) const;
};

/// x += drop_path1(self_attn(pre_norm x)), x = norm1(x), x += drop_path2(linear2(act(linear1 x))): what runs on between layers is
/// normalised after every attention.
struct Layer {
  LayerNorm pre_norm;
  Attention self_attn;
  DropPath drop_path1;
  LayerNorm norm1;
  Linear linear1;
  Dropout drop1;
  Linear linear2;
  Dropout drop2;
  DropPath drop_path2;
  Activation act;
  Site site;         ///< of its attention
  std::string name;  ///< "classifier.blocks.3", for error messages
  Layer(const Scope& s, const Config& c, double drop_path, const Site& at);
  /// x (B, N, dim) -> the same shape.
  Tensor operator()(const Run& run, const Tensor& x, const PositionEncoding& position, const Layout& now) const;
};

class Cct final : public Model {
 public:
  Cct(const Scope& s, const Config& config, const MakePosition& position);
  /// Images (B, H, W, in_chans) -> logits (B, num_classes). stages: the one map after the last layer.
  Output forward(const Run& run, const Input& input) const override;

 private:
  static std::deque<Layer> build(const Scope& s, const Config& c, const Places& at);
  Tensor pool(const Run& run, const Tensor& x) const;

  Config config_;
  Places at_;
  Tokenizer tokenizer_;
  Tensor class_emb_, reg_token_;
  std::optional<Linear> attention_pool_;
  std::unique_ptr<PositionEncoding> position_;
  Dropout pos_drop_;
  std::deque<Layer> blocks_;
  LayerNorm norm_;
  Dropout head_drop_;
  Head fc_;
};

}  // namespace TESSERA_NS
}  // namespace tessera::cct
