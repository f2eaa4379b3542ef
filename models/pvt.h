#pragma once
// Pyramid Vision Transformer's parts.
#include <deque>

#include "tessera/models/model.h"
#include "tessera/models/pyramid.h"
#include "tessera/nn/head.h"

namespace tessera::pvt {
inline namespace TESSERA_NS {

/// The official code's arguments, dropout rates and pooling under timm's names; the defaults are a small PVT for CIFAR-10: maps of 16 x 16,
/// 8 x 8 and 4 x 4, 16 keys each.
struct Config {
  int img_size = 32, img_width = 0;  ///< height, and width (0: the same)
  int patch_size = 2;                ///< of the first stage; the others halve their map
  int in_chans = 3, num_classes = 10;
  std::string global_pool = "token";  ///< token (a class token in the last stage) | avg (none: mean of the last map)
  int reg_tokens = 0;                 ///< registers of the last stage, which no head reads
  std::vector<int> embed_dims{48, 96, 192}, depths{2, 2, 2}, num_heads{1, 2, 4};
  std::vector<double> mlp_ratios{4, 4, 4};
  std::vector<int> sr_ratios{4, 2, 1};
  bool qkv_bias = true;
  double qk_scale = 0;  ///< 0: head_dim^-1/2
  double drop_rate = 0, pos_drop_rate = 0, proj_drop_rate = 0, attn_drop_rate = 0, drop_path_rate = 0;

  int width() const { return img_width ? img_width : img_size; }
  bool class_token() const { return global_pool == "token"; }
  int prefix() const { return (class_token() ? 1 : 0) + reg_tokens; }  ///< tokens before the map's, in the last stage
};
Fields<Config> fields();
/// Throws Error on a configuration that makes no sense.
Places places(const Config& c);
/// transformers' names (PvtForImageClassification, PvtModel); the official code's are ours.
std::vector<Rename> dialect();
/// The rows of the registry: the family, and named configurations of it.
std::vector<ModelRow> rows();

class Pvt final : public Model {
 public:
  /// Throws Error on a configuration that makes no sense.
  Pvt(const Scope& s, const Config& config, const MakePosition& position);
  /// Images (B, H, W, in_chans) -> logits (B, num_classes). What makes no whole patch, right and below, is dropped in every stage.
  /// stages: the map after each, before the last norm and without the class token.
  Output forward(const Run& run, const Input& input) const override;

 private:
  struct Stage {
    pyramid::StageEmbed embed;
    Dropout pos_drop;
    std::deque<pyramid::Block<ReducedAttention>> blocks;
  };
  static std::deque<Stage> build(const Scope& s, const Config& c, const Places& at);

  Places at_;
  std::deque<Stage> stages_;
  Tensor cls_token_, reg_token_;
  std::unique_ptr<PositionEncoding> position_;
  LayerNorm norm_;
  Dropout head_drop_;
  Head head_;
};

}  // namespace TESSERA_NS
}  // namespace tessera::pvt
