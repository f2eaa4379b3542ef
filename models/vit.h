#pragma once
// The Vision Transformer's parts, for programs that build one without the registry and for models made of the same
// blocks.
#include <deque>
#include <optional>

#include "tessera/models/model.h"
#include "tessera/nn/head.h"

namespace tessera::vit {
inline namespace TESSERA_NS {

/// timm's arguments under timm's names; the defaults are a ViT for CIFAR-10 with about 0.8M parameters.
struct Config {
  int img_size = 32;  ///< height, and width unless img_width says otherwise
  int img_width = 0;  ///< 0: img_size
  int patch_size = 4, in_chans = 3, num_classes = 10;
  std::string global_pool = "token";  ///< token | avg (mean of patches, then fc_norm) | none (logits per token)
  int embed_dim = 128, depth = 6, num_heads = 4;
  int head_dim = 0;  ///< 0: embed_dim / num_heads
  double mlp_ratio = 2;
  bool qkv_bias = true;
  double qk_scale = 0;     ///< 0: head_dim^-1/2
  double init_values = 0;  ///< initial LayerScale; 0: none
  bool class_token = true;
  bool no_embed_class = false;  ///< positions are added before the class token joins
  double drop_rate = 0, pos_drop_rate = 0, proj_drop_rate = 0, attn_drop_rate = 0, drop_path_rate = 0;
  std::string act_layer = "gelu";
  double norm_eps = 1e-6;
  std::string weight_init = "timm";  ///< timm | jax

  int width() const { return img_width ? img_width : img_size; }
  int prefix() const { return class_token ? 1 : 0; }
};
Fields<Config> fields();
/// Throws Error on a configuration that makes no sense.
Places places(const Config& c);
/// Hugging Face's names (ViTForImageClassification, ViTModel); timm's are ours.
std::vector<Rename> dialect();
/// The rows of the registry: the family, and named configurations of it.
std::vector<ModelRow> rows();

/// x += drop_path1(ls1(attn(norm1 x))), x += drop_path2(ls2(mlp(norm2 x))): pre-norm.
struct Block {
  struct Config {
    Attention::Config attn;
    Mlp::Config mlp;
    double norm_eps = 1e-6, init_values = 0, drop_path = 0;
  };
  LayerNorm norm1;
  Attention attn;
  LayerScale ls1;
  DropPath drop_path1;
  LayerNorm norm2;
  Mlp mlp;
  LayerScale ls2;
  DropPath drop_path2;
  Site site;         ///< of its attention
  std::string name;  ///< "blocks.3", for error messages
  Block(const Scope& s, const Config& c, const Site& at);
  /// x (B, N, dim) -> the same shape.
  Tensor operator()(const Run& run, const Tensor& x, const PositionEncoding& position, const Layout& now) const;
};

class Vit final : public Model {
 public:
  /// Throws Error on a configuration that makes no sense.
  Vit(const Scope& s, const Config& config, const MakePosition& position);
  /// Images (B, H, W, in_chans) of whole patches, also of another size than img_size: the position encoding decides
  /// what that means.
  /// -> logits (B, num_classes), or (B, N, num_classes) without pooling. stages: the patch map after the last block,
  /// before the norm.
  Output forward(const Run& run, const Input& input) const override;

 private:
  Tensor embed(const Run& run, const Tensor& image, const Grid& grid) const;
  Tensor head_of(const Run& run, const Tensor& x) const;

  Config config_;
  Places at_;
  Tensor cls_token_;
  std::unique_ptr<PositionEncoding> position_;
  PatchEmbed patch_embed_;
  Dropout pos_drop_;
  std::deque<Block> blocks_;
  LayerNorm norm_;  // "norm" before pooling, or "fc_norm" after it
  Dropout head_drop_;
  Head head_;
};

}  // namespace TESSERA_NS
}  // namespace tessera::vit
