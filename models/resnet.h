#pragma once
// Residual networks of basic blocks.
#include <deque>
#include <optional>

#include "tessera/models/model.h"
#include "tessera/nn/convolution.h"
#include "tessera/nn/head.h"

namespace tessera::resnet {
inline namespace TESSERA_NS {

/// The defaults are the paper's ResNet-20 for CIFAR-10.
struct Config {
  int img_size = 32, img_width = 0;  ///< height, and width (0: the same)
  int in_chans = 3, num_classes = 10;
  std::vector<int> depths{3, 3, 3}, widths{16, 32, 64};  ///< blocks and channels of each stage
  std::string stem = "cifar";  ///< cifar: 3 x 3, stride 1 | imagenet: 7 x 7, stride 2, then max pooling
  std::string shortcut =
      "A";  ///< where the shape changes. A: every second cell, zeros for new channels | B: a 1 x 1 convolution
  bool zero_init_residual = false;  ///< the last BatchNorm of a block starts at 0, the block as its shortcut
  double drop_rate = 0;

  int width() const { return img_width ? img_width : img_size; }
  int stages() const { return static_cast<int>(depths.size()); }
};
Fields<Config> fields();
/// No attention and no tokens: an encoding has no place here. Throws Error on a configuration that makes no sense.
Places places(const Config& c);
/// The rows of the registry: the family, and named configurations of it.
std::vector<ModelRow> rows();

/// A convolution of odd kernel without bias that keeps the size of a map but for its stride; kaiming_normal_(mode = fan_out, relu).
Conv2d::Config conv(int in, int out, int kernel, int stride);
/// The scope of a BatchNorm whose factor is to start at 0.
Scope from_zero(const Scope& s);

/// The shortcut where the shape changes: a 1 x 1 convolution and BatchNorm.
struct Downsample {
  Conv2d conv;     ///< "downsample.0"
  BatchNorm norm;  ///< "downsample.1"
  Downsample(const Scope& s, int in, int out, int stride);
  Tensor operator()(const Run& run, const Tensor& x) const { return norm(run, conv(run, x)); }
};

/// relu(shortcut(x) + bn2(conv2(relu(bn1(conv1 x))))), both 3 x 3.
struct BasicBlock {
  Conv2d conv1;
  BatchNorm bn1;
  Conv2d conv2;
  BatchNorm bn2;
  std::optional<Downsample> downsample;
  int in, out, stride;
  std::string name;  ///< "layer2.0", for error messages
  BasicBlock(const Scope& s, const Config& c, int in, int out, int stride);
  /// (B, h, w, in) -> (B, ceil(h / stride), ceil(w / stride), out).
  Tensor operator()(const Run& run, const Tensor& x) const;

 private:
  Tensor shortcut(const Run& run, const Tensor& x) const;
};

class ResNet final : public Model {
 public:
  ResNet(const Scope& s, const Config& config, const MakePosition& position);
  /// Images (B, H, W, in_chans) of any size -> logits (B, num_classes). stages: the map after every stage.
  Output forward(const Run& run, const Input& input) const override;

 private:
  static std::deque<std::deque<BasicBlock>> build(const Scope& s, const Config& c);

  Config config_;
  std::unique_ptr<PositionEncoding> position_;  ///< none: any other was refused
  Conv2d conv1_;
  BatchNorm bn1_;
  std::deque<std::deque<BasicBlock>> layers_;
  Dropout head_drop_;
  Head fc_;
};

}  // namespace TESSERA_NS
}  // namespace tessera::resnet
