#pragma once
// Twins' parts: Twins-PCPVT, a PVT with conditional positions, and Twins-SVT, whose blocks look inside windows and over the map in turn.
#include <deque>
#include <variant>

#include "tessera/models/model.h"
#include "tessera/models/pyramid.h"
#include "tessera/nn/head.h"

namespace tessera::twins {
inline namespace TESSERA_NS {

/// timm's arguments under timm's names; the defaults are a small Twins-SVT for CIFAR-10: maps of 16 x 16, 8 x 8 and 4 x 4, windows of 4.
struct Config {
  int img_size = 32, img_width = 0;  ///< height, and width (0: the same)
  int patch_size = 2;                ///< of the first stage; the others halve their map
  int in_chans = 3, num_classes = 10;
  std::string global_pool = "avg";  ///< nothing else: there is no class token
  std::vector<int> embed_dims{48, 96, 192}, depths{2, 2, 2}, num_heads{2, 4, 8};
  std::vector<double> mlp_ratios{4, 4, 4};
  std::vector<int> sr_ratios{4, 2, 1};
  std::vector<int> wss{4, 4, 4};  ///< side of the windows of even blocks; 1: these attend globally, too (PCPVT)
  bool qkv_bias = true;
  double qk_scale = 0;  ///< 0: head_dim^-1/2
  double drop_rate = 0, pos_drop_rate = 0, proj_drop_rate = 0, attn_drop_rate = 0, drop_path_rate = 0;

  int width() const { return img_width ? img_width : img_size; }
};
Fields<Config> fields();
/// Throws Error on a configuration that makes no sense.
Places places(const Config& c);
/// The rows of the registry: the family, and named configurations of it. Names of weights are timm's and the official code's.
std::vector<ModelRow> rows();

/// Locally-grouped self-attention (LSA): inside windows of `window` cells a side, never shifted. Cells beyond a map that they do not
/// divide are no keys.
struct LocalAttention : Attention {
  struct Config : Attention::Config {
    int window = 1;
  };
  int window;
  Site site;  ///< the place in the model that it was built for
  LocalAttention(const Scope& s, const Config& c, const Site& at);
  static Layout layout(const Grid& map, int window);
  /// What proj takes: x (B, map.tokens(), dim) -> the mixed values of all heads, the same shape.
  Tensor mix(const Run& run, const Tensor& x, const Grid& map, const PositionEncoding& position) const;
};

class Twins final : public Model {
 public:
  /// Throws Error on a configuration that makes no sense.
  Twins(const Scope& s, const Config& config, const MakePosition& position);
  /// Images (B, H, W, in_chans) -> logits (B, num_classes). What makes no whole patch, right and below, is dropped in every stage.
  /// stages: the map after each, before the last norm.
  Output forward(const Run& run, const Input& input) const override;

 private:
  using Block = std::variant<pyramid::Block<LocalAttention>, pyramid::Block<ReducedAttention>>;
  struct Stage {
    pyramid::StageEmbed embed;
    Dropout pos_drop;
    std::deque<Block> blocks;
  };
  static std::deque<Stage> build(const Scope& s, const Config& c, const Places& at);

  Places at_;
  std::deque<Stage> stages_;
  std::unique_ptr<PositionEncoding> position_;
  LayerNorm norm_;
  Dropout head_drop_;
  Head head_;
};

}  // namespace TESSERA_NS
}  // namespace tessera::twins
