#pragma once
// The Conformer's blocks on the patches of an image.
#include <deque>

#include "tessera/models/conformer_block.h"
#include "tessera/models/row.h"
#include "tessera/nn/head.h"

namespace tessera::conformer_image {
inline namespace TESSERA_NS {

/// The options of the Conformer's blocks (models/conformer.h) and timm's of images; the defaults are a model for 32 x 32 images with about
/// 0.5M parameters.
struct Config {
  int img_size = 32;  ///< height, and width unless img_width says otherwise
  int img_width = 0;  ///< 0: img_size
  int patch_size = 4, in_chans = 3, num_classes = 10;
  std::string global_pool = "avg";   ///< avg (mean of the patches) | token (class token)
  std::string conv_over = "raster";  ///< raster (the patches as a sequence) | map (k x k taps)
  int embed_dim = 64, num_layers = 4, num_heads = 4, head_dim = 0, ffn_dim = 0;
  int depthwise_conv_kernel_size = 31, conv_expansion = 1;
  bool conv_bias = true, qkv_bias = true;
  double qk_scale = 0;
  bool use_group_norm = false, convolution_first = false;
  bool class_token = false;  ///< passes by the convolution modules
  int reg_tokens = 0;        ///< registers, which do, too, and which no head reads
  double dropout = 0, pos_drop_rate = 0, drop_rate = 0;

  int width() const { return img_width ? img_width : img_size; }
  int prefix() const { return (class_token ? 1 : 0) + reg_tokens; }
};
Fields<Config> fields();
/// Throws Error on a configuration that makes no sense.
Places places(const Config& c);
std::vector<ModelRow> rows();

class ConformerImage final : public Model {
 public:
  /// Throws Error on a configuration that makes no sense.
  ConformerImage(const Scope& s, const Config& config, const MakePosition& position);
  /// Images (B, H, W, in_chans) of whole patches, also of another size than img_size -> logits (B, num_classes). stages: the patch map after
  /// the last block.
  Output forward(const Run& run, const Input& input) const override;

 private:
  Config config_;
  Places at_;
  Tensor cls_token_, reg_token_;
  std::unique_ptr<PositionEncoding> position_;
  PatchEmbed patch_embed_;
  Dropout pos_drop_;
  std::deque<conformer::Block> blocks_;
  Dropout head_drop_;
  Head head_;
};

}  // namespace TESSERA_NS
}  // namespace tessera::conformer_image
