#pragma once
#include "tessera/models/vit.h"

namespace tessera::simple_vit {
inline namespace TESSERA_NS {

struct Config {
  int img_size = 32;  ///< height, and width unless img_width says otherwise
  int img_width = 0;  ///< 0: img_size
  int patch_size = 4, in_chans = 3, num_classes = 10;
  int embed_dim = 128, depth = 6, num_heads = 4;
  int head_dim = 0;  ///< 0: embed_dim / num_heads
  double mlp_ratio = 2;
  bool qkv_bias = true, proj_bias = true;
  double qk_scale = 0;                  ///< 0: head_dim^-1/2
  std::string global_pool = "avg";      ///< nothing else: there is no class token
  std::string act_layer = "gelu_tanh";  ///< Flax's gelu is the tanh approximation
  double norm_eps = 1e-6;
  std::string patch = "conv";  ///< conv | norm (LayerNorm, Linear, LayerNorm of flat patches, as lucidrains has it)
  std::string weight_init = "jax";  ///< jax | torch
  bool rep_size =
      false;  ///< a hidden tanh layer before the head, as the published ImageNet run had (the report describes none)

  int width() const { return img_width ? img_width : img_size; }
};
Fields<Config> fields();
/// Throws Error on a configuration that makes no sense.
Places places(const Config& c);
/// The rows of the registry: the family, and named configurations of it.
std::vector<ModelRow> rows();

class SimpleVit final : public Model {
 public:
  SimpleVit(const Scope& s, const Config& config, const MakePosition& position);
  /// Images (B, H, W, in_chans) of whole patches -> logits (B, num_classes). stages: the patch map after the last
  /// block.
  Output forward(const Run& run, const Input& input) const override;

 private:
  Config config_;
  Places at_;
  std::unique_ptr<PositionEncoding> position_;
  std::variant<PatchEmbed, FlatPatches> patch_embed_;
  std::deque<vit::Block> blocks_;
  LayerNorm norm_;
  std::optional<Linear> pre_logits_;
  Head head_;
};

}  // namespace TESSERA_NS
}  // namespace tessera::simple_vit
