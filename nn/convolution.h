#pragma once
// Layers of convolutional networks, on channels-last maps (B, H, W, C) and sequences (B, T, C).
#include "tessera/core/ints.h"
#include "tessera/core/ops/conv.h"
#include "tessera/nn/layers.h"

namespace tessera {
inline namespace TESSERA_NS {

/// torch.nn.Conv2d: weight (out, in / groups, kernel, kernel), bias (out) -> (B, Ho, Wo, out).
struct Conv2d {
  struct Config {
    int in = 0, out = 0, kernel = 3;
    ConvOptions options = {};  ///< conv_options(stride, padding, groups)
    bool bias = true;
    LinearInit init = torch_init(in / options.groups * kernel * kernel);
  };
  Tensor weight, bias;
  ConvOptions options;
  Conv2d(const Scope& s, const Config& c);
  Tensor operator()(const Run&, const Tensor& map) const;
  /// How many numbers one output is made of: the `in` of Extents::linear.
  static double inputs(const Config& c) { return static_cast<double>(c.in / c.options.groups) * c.kernel * c.kernel; }
};

/// torch.nn.Conv1d over time: weight (out, in / groups, kernel), zeros on the left and on the right -> (B, To, out).
struct Conv1d {
  struct Config {
    int in = 0, out = 0, kernel = 1;
    int stride = 1, left = 0, right = 0, groups = 1;
    bool bias = true;
    LinearInit init = torch_init(in / groups * kernel);
  };
  Tensor weight, bias;
  Config config;
  Conv1d(const Scope& s, const Config& c);
  Tensor operator()(const Run&, const Tensor& x) const;
};

/// torch.nn.BatchNorm over all dimensions but the last; running_mean and running_var are buffers. Of a padded batch (B, T, C) with
/// lengths, padding is left out and becomes 0.
struct BatchNorm {
  Tensor weight, bias, running_mean, running_var;
  double eps;
  BatchNorm(const Scope& s, int dim, double eps = 1e-5);
  Tensor operator()(const Run& run, const Tensor& x, const Ints& lengths = {}) const;
};

}  // namespace TESSERA_NS
}  // namespace tessera
