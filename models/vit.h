#pragma once
// The Vision Transformer's parts, for programs that build one without the registry and for models made of the same
// blocks.
#include <deque>
#include <optional>
#include <variant>

#include "tessera/models/model.h"
#include "tessera/models/vit_block.h"
#include "tessera/nn/flat_patches.h"
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
  int reg_tokens = 0;           ///< registers: further learned tokens after the class token, which nobody reads
  bool no_embed_class = false;  ///< positions are added before class token and registers join
  double drop_rate = 0, pos_drop_rate = 0, proj_drop_rate = 0, attn_drop_rate = 0, drop_path_rate = 0;
  std::string act_layer = "gelu";
  double norm_eps = 1e-6;
  std::string weight_init = "timm";   ///< timm | jax | torch | xavier_normal | normal
  std::string patch = "conv";         ///< conv | spt (shifted patch tokenization)
  std::string attention = "softmax";  ///< softmax | elu | taylor: linear attention has no logits
  bool qk_norm = false;               ///< queries and keys through a LayerNorm over the head's width
  bool lsa = false;              ///< locality self-attention: a learned temperature per head, and no token sees itself
  int lepe = 0;                  ///< kernel of a depthwise convolution of the values inside of attention; 0: none
  std::string mlp = "mlp";       ///< mlp | mix_ffn | conv_ff | local (nn/conv_ff.h)
  bool extra_pointwise = false;  ///< of conv_ff
  int se_reduction = 0;          ///< of local: squeeze-and-excitation with hidden / this units; 0: none
  bool mlp_act_out = false;      ///< the nonlinearity after the MLP's second layer, too

  int width() const { return img_width ? img_width : img_size; }
  int prefix() const { return (class_token ? 1 : 0) + reg_tokens; }
};
Fields<Config> fields();
/// Throws Error on a configuration that makes no sense.
Places places(const Config& c);
/// Hugging Face's names (ViTForImageClassification, ViTModel); timm's are ours.
std::vector<Rename> dialect();
/// The rows of the registry: the family, and named configurations of it.
std::vector<ModelRow> rows();

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
  Tensor cls_token_, reg_token_;
  std::unique_ptr<PositionEncoding> position_;
  std::variant<PatchEmbed, FlatPatches> patch_embed_;
  Dropout pos_drop_;
  std::deque<Block> blocks_;
  LayerNorm norm_;  // "norm" before pooling, or "fc_norm" after it
  Dropout head_drop_;
  Head head_;
};

}  // namespace TESSERA_NS
}  // namespace tessera::vit
