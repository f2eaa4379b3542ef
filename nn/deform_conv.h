#pragma once
// Deformable convolution as a layer.  Dai et al. 2017, arXiv 1703.06211; modulated: Zhu et al. 2019, arXiv 1811.11168.
//   offset = conv_o(x)          2 G k k channels, starts at 0: every tap looks where a plain convolution does
//   mask   = sigmoid(conv_m(x)) G k k channels, starts at 1/2; only if modulated
//   y      = deform_conv2d(x, offset, mask)
#include <optional>

#include "tessera/core/ops/deform_conv.h"
#include "tessera/nn/convolution.h"

namespace tessera {
inline namespace TESSERA_NS {

/// Where the taps look, and with `modulated` what their samples are multiplied by: two convolutions of the geometry of the one they serve.
struct DeformOffsets {
  struct Config {
    int in = 0, kernel = 3;
    ConvOptions options = {};  ///< of the convolution they serve; its groups are not theirs
    int offset_groups = 1;     ///< blocks of channels that look at places of their own
    bool modulated = false;
  };
  struct Samples {
    Tensor offset, mask;  ///< as deform_conv2d wants them; no mask: empty
  };
  Conv2d offset;
  std::optional<Conv2d> mask;
  DeformOffsets(const Scope& s, const Config& c);
  Samples operator()(const Run& run, const Tensor& map) const;
};

/// (B, H, W, in) -> (B, Ho, Wo, out): weight (out, in / groups, kernel, kernel) and bias as torchvision's DeformConv2d, offset.* and mask.*.
struct DeformConv2d {
  struct Config {
    int in = 0, out = 0, kernel = 3;
    ConvOptions options = {};  ///< conv_options(stride, padding, groups)
    int offset_groups = 1;
    bool modulated = false, bias = true;
    LinearInit init = torch_init(in / options.groups * kernel * kernel);
  };
  DeformOffsets samples;
  Tensor weight, bias;
  ConvOptions options;
  int offset_groups;
  DeformConv2d(const Scope& s, const Config& c);
  Tensor operator()(const Run& run, const Tensor& map) const;
};

}  // namespace TESSERA_NS
}  // namespace tessera
