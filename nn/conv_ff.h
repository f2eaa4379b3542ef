#pragma once
// Feed-forward layers with a depthwise 3 x 3 convolution between their two linear maps, on token maps (B, h, w, C): its zero padding tells
// where a token is, so that they are a source of positions, too. Parameters beside an MLP's 2 r C^2: 9 r C, and (r C)^2 with the second
// pointwise convolution, which at r = 4 is twice the whole MLP.
#include <optional>

#include "tessera/nn/convolution.h"

namespace tessera {
inline namespace TESSERA_NS {

/// fc2(hardswish(pointwise(dwconv(hardswish(fc1 x))))), all with biases: the form that tutorials give of LocalViT. Without `pointwise` in
/// the paper's order of layers.
struct ConvFF {
  struct Config {
    int dim = 0, hidden = 0;
    bool extra_pointwise = false;  ///< another rC -> rC convolution after the depthwise one
    double drop = 0;
  };
  Linear fc1;
  Conv2d dwconv;
  std::optional<Linear> pointwise;
  Dropout drop1;
  Linear fc2;
  Dropout drop2;
  ConvFF(const Scope& s, const Config& c);
  Tensor operator()(const Run& run, const Tensor& map) const;
};

/// Squeeze-and-excitation (Hu et al. 2018, arXiv 1709.01507) as LocalViT has it: every channel of a map times
/// hardsigmoid(fc2(relu(fc1(its mean)))), with dim / reduction units between. Names: fc.0, fc.2.
struct SqueezeExcite {
  Linear fc1, fc2;
  SqueezeExcite(const Scope& s, int dim, int reduction);
  Tensor operator()(const Run& run, const Tensor& map) const;
};

/// LocalViT (Li et al. 2021, arXiv 2104.05707; LocalityFeedForward of the official code): BN conv1x1 hardswish BN dwconv hardswish [SE] BN
/// conv1x1, convolutions without biases. It follows no LayerNorm. Names: conv.0, conv.1, ...; with squeeze-and-excitation it is conv.6, and
/// what follows moves on by one.
struct LocalityFF {
  Conv2d expand;
  BatchNorm norm1;
  Conv2d dwconv;
  BatchNorm norm2;
  std::optional<SqueezeExcite> se;
  Conv2d project;
  BatchNorm norm3;
  /// se_reduction: of the squeeze-and-excitation, 0: there is none.
  LocalityFF(const Scope& s, int dim, int hidden, int se_reduction = 0);
  Tensor operator()(const Run& run, const Tensor& map) const;
};

/// PVT v2's Mix-FFN (Wang et al. 2022, arXiv 2106.13797; timm's MlpWithDepthwiseConv): fc2(f(dwconv(fc1 x))). Class tokens pass by the
/// convolution alone.
struct MixFF {
  Linear fc1;
  Conv2d dwconv;
  Dropout drop1;
  Linear fc2;
  Dropout drop2;
  Activation act;
  MixFF(const Scope& s, const Mlp::Config& c);
  /// What fc2 takes of tokens x (B, N, dim) on `map`: (B, N, hidden).
  Tensor hidden(const Run& run, const Tensor& x, const Grid& map) const;
};

}  // namespace TESSERA_NS
}  // namespace tessera
