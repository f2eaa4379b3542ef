#pragma once
// A residual network that attends where others convolve.
#include <deque>
#include <optional>

#include "tessera/models/resnet.h"

namespace tessera::sasa_net {
inline namespace TESSERA_NS {

/// The defaults are a small network for CIFAR-10: maps of 16 x 16, 8 x 8 and 4 x 4, about 0.4M parameters.
struct Config {
  int img_size = 32, img_width = 0;  ///< height, and width (0: the same)
  int in_chans = 3, num_classes = 10;
  std::vector<int> depths{1, 2, 1}, widths{32, 64, 128};  ///< blocks of each stage, and channels that attend in it
  int expansion = 4;                                      ///< a stage's map has that many times more
  int num_heads = 4;
  double qk_scale = 0;         ///< 0: head_dim^-1/2; `sasa` has none unless told so
  std::string stem = "cifar";  ///< cifar: 3 x 3, stride 1 | imagenet: 7 x 7, stride 2; then max pooling
  bool zero_init_residual = false;
  double drop_rate = 0, attn_drop_rate = 0;

  int width() const { return img_width ? img_width : img_size; }
  int stages() const { return static_cast<int>(depths.size()); }
};
Fields<Config> fields();
/// Throws Error on a configuration that makes no sense.
Places places(const Config& c);
/// The rows of the registry: the family, and named configurations of it.
std::vector<ModelRow> rows();

/// A bottleneck: relu(shortcut(x) + bn3(conv3(relu(bn2(pool(attn(relu(bn1(conv1 x)))))))). conv1 and conv3 are 1 x 1; pool is a 2 x 2
/// average where the map is halved.
struct Block {
  Conv2d conv1;
  BatchNorm bn1;
  Linear qkv;  ///< "attn.qkv", without bias: a convolution 1 x 1
  DropoutSpec attn_drop;
  BatchNorm bn2;
  Conv2d conv3;
  BatchNorm bn3;
  std::optional<resnet::Downsample> downsample;
  int stride, num_heads;
  double scale;
  Site site;         ///< of its attention
  std::string name;  ///< "layer2.0", for error messages
  Block(const Scope& s, const Config& c, int in, int stride, const Site& at);
  /// (B, h, w, in) -> (B, ceil(h / stride), ceil(w / stride), expansion site.dim).
  Tensor operator()(const Run& run, const Tensor& x, const PositionEncoding& position) const;
};

class SasaNet final : public Model {
 public:
  SasaNet(const Scope& s, const Config& config, const MakePosition& position);
  /// Images (B, H, W, in_chans) of any size -> logits (B, num_classes). stages: the map after every stage.
  Output forward(const Run& run, const Input& input) const override;

 private:
  static std::deque<std::deque<Block>> build(const Scope& s, const Config& c, const Places& at);

  Places at_;
  Conv2d conv1_;
  BatchNorm bn1_;
  std::unique_ptr<PositionEncoding> position_;
  std::deque<std::deque<Block>> layers_;
  Dropout head_drop_;
  Head fc_;
};

}  // namespace TESSERA_NS
}  // namespace tessera::sasa_net
