#pragma once
// The network of Jordan's CIFAR-10 speedruns.
#include <deque>
#include <optional>

#include "tessera/models/calibrated.h"
#include "tessera/models/model.h"
#include "tessera/nn/convolution.h"

namespace tessera::airbench {
inline namespace TESSERA_NS {

/// The defaults are those of airbench94.
struct Config {
  int img_size = 32, img_width = 0;  ///< height, and width (0: the same)
  int in_chans = 3, num_classes = 10;
  std::vector<int> widths{64, 256, 256};  ///< channels of each group, which halves the map
  int whiten_kernel_size = 2;             ///< side of the patches that are whitened
  int whiten_images = 5000;  ///< training images they are taken from before the first step; 0: none, the stand-in stays
  double whiten_eps = 5e-4;  ///< added to the variances that the filters are divided by the root of
  std::string act_layer = "gelu";
  bool norm_weight = false;  ///< are BatchNorm's factors trained? Its offsets are
  double norm_eps = 1e-12;
  bool dirac_init = true;             ///< the first filters of a convolution begin by passing on its channels
  double scaling_factor = 1.0 / 9.0;  ///< of the logits

  int width() const { return img_width ? img_width : img_size; }
  /// Numbers of a patch, and of its whitening filters half: each has its negative.
  int patch() const { return in_chans * whiten_kernel_size * whiten_kernel_size; }
  int whiten_width() const { return 2 * patch(); }
};
Fields<Config> fields();
/// No attention and no tokens: an encoding has no place here. Throws Error on a configuration that makes no sense.
Places places(const Config& c);
/// The rows of the registry: the family, and airbench94.
std::vector<ModelRow> rows();

/// A convolution whose filters make its patches white: they are never trained, its bias is.
struct Whiten {
  Conv2d conv;  ///< "whiten"
  double eps;
  Whiten(const Scope& s, const Config& c);
  /// Sets the filters to those of the patches of all images (B, H, W, in_chans) that `next` gives.
  void fit(const std::function<Input()>& next);
};

/// act(norm2(conv2(act(norm1(pool(conv1 x))))), both 3 x 3, the pooling 2 x 2.
struct Group {
  Conv2d conv1;
  BatchNorm norm1;
  Conv2d conv2;
  BatchNorm norm2;
  Activation act;
  std::string name;  ///< "layers.1", for error messages
  Group(const Scope& s, const Config& c, int in, int out);
  /// (B, h, w, in) -> (B, floor(h / 2), floor(w / 2), out).
  Tensor operator()(const Run& run, const Tensor& x) const;
};

class Airbench final : public Model, public Calibrated {
 public:
  Airbench(const Scope& s, const Config& config, const MakePosition& position);
  /// Images (B, H, W, in_chans) of any size that the groups leave something of -> logits (B, num_classes). stages: the map after
  /// every group.
  Output forward(const Run& run, const Input& input) const override;
  int calibration_samples() const override { return config_.whiten_images; }
  void calibrate(const std::function<Input()>& next) override { whiten_.fit(next); }

 private:
  static std::deque<Group> build(const Scope& s, const Config& c);

  Config config_;
  std::unique_ptr<PositionEncoding> position_;  ///< none: any other was refused
  Whiten whiten_;
  Activation act_;
  std::deque<Group> layers_;
  std::optional<Linear> head_;
};

}  // namespace TESSERA_NS
}  // namespace tessera::airbench
