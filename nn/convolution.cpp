#include "tessera/nn/convolution.h"

#include "tessera/core/ops/batchnorm.h"

namespace tessera {
inline namespace TESSERA_NS {

Conv2d::Conv2d(const Scope& s, const Config& c)
    : weight(s.param("weight", {c.out, c.in / c.options.groups, c.kernel, c.kernel}, c.init.weight)),
      bias(c.bias ? s.param("bias", {c.out}, c.init.bias, Decay::no) : Tensor()),
      options(c.options) {}

Tensor Conv2d::operator()(const Run&, const Tensor& map) const { return conv2d(map, weight, bias, options); }

Conv1d::Conv1d(const Scope& s, const Config& c)
    : weight(s.param("weight", {c.out, c.in / c.groups, c.kernel}, c.init.weight)),
      bias(c.bias ? s.param("bias", {c.out}, c.init.bias, Decay::no) : Tensor()),
      config(c) {}

Tensor Conv1d::operator()(const Run&, const Tensor& x) const {
  return conv1d(x, weight, bias, config.stride, config.left, config.right, config.groups);
}

BatchNorm::BatchNorm(const Scope& s, int dim, double epsilon)
    : weight(s.param("weight", {dim}, constant(1), Decay::no)),
      bias(s.param("bias", {dim}, constant(0), Decay::no)),
      running_mean(s.buffer("running_mean", {dim}, constant(0))),
      running_var(s.buffer("running_var", {dim}, constant(1))),
      eps(epsilon) {}

Tensor BatchNorm::operator()(const Run& run, const Tensor& x, const Ints& lengths) const {
  return batchnorm(x, weight, bias, running_mean, running_var, eps, run, lengths);
}

}  // namespace TESSERA_NS
}  // namespace tessera
