#include "tessera/nn/deform_conv.h"

#include "tessera/core/ops/activation.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

Conv2d::Config from_zero(const DeformOffsets::Config& c, int per_tap) {
  Conv2d::Config conv{.in = c.in,
                      .out = per_tap * c.offset_groups * c.kernel * c.kernel,
                      .kernel = c.kernel,
                      .options = c.options,
                      .init = {constant(0), constant(0)}};
  conv.options.groups = 1;
  return conv;
}

}  // namespace

DeformOffsets::DeformOffsets(const Scope& s, const Config& c) : offset(s / "offset", from_zero(c, 2)) {
  if (c.modulated) mask.emplace(s / "mask", from_zero(c, 1));
}

DeformOffsets::Samples DeformOffsets::operator()(const Run& run, const Tensor& map) const {
  return {offset(run, map), mask ? sigmoid((*mask)(run, map)) : Tensor()};
}

DeformConv2d::DeformConv2d(const Scope& s, const Config& c)
    : samples(s, {c.in, c.kernel, c.options, c.offset_groups, c.modulated}),
      weight(s.param("weight", {c.out, c.in / c.options.groups, c.kernel, c.kernel}, c.init.weight)),
      bias(c.bias ? s.param("bias", {c.out}, c.init.bias, Decay::no) : Tensor()),
      options(c.options),
      offset_groups(c.offset_groups) {}

Tensor DeformConv2d::operator()(const Run& run, const Tensor& map) const {
  const auto [offset, mask] = samples(run, map);
  return deform_conv2d(map, offset, mask, weight, bias, options, offset_groups);
}

}  // namespace TESSERA_NS
}  // namespace tessera
