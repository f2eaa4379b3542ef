#include "tessera/nn/conv_ff.h"

#include <cmath>

#include "tessera/core/ops/activation.h"
#include "tessera/core/ops/arithmetic.h"
#include "tessera/core/ops/linear.h"
#include "tessera/core/ops/reduce.h"
#include "tessera/nn/position/map_tokens.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

Conv2d::Config depthwise(int dim, bool bias) {
  return {.in = dim, .out = dim, .kernel = 3, .options = conv_options(1, 1, dim), .bias = bias, .init = torch_init(9)};
}

/// A 1 x 1 convolution, whose weight has a convolution's shape in files, as a product.
Tensor pointwise_of(const Conv2d& c, const Tensor& map) { return linear(map, c.weight, c.bias); }

Conv2d::Config one_by_one(int in, int out) {
  return {.in = in, .out = out, .kernel = 1, .bias = false, .init = torch_init(in)};
}

}  // namespace

// ---- ConvFF -------------------------------------------------------------------------------------------------------

ConvFF::ConvFF(const Scope& s, const Config& c)
    : fc1(s / "fc1", c.dim, c.hidden, true, torch_init(c.dim)),
      dwconv(s / "dwconv", depthwise(c.hidden, true)),
      drop1(s / "drop1", c.drop),
      fc2(s / "fc2", c.hidden, c.dim, true, torch_init(c.hidden)),
      drop2(s / "drop2", c.drop) {
  if (c.extra_pointwise) pointwise.emplace(s / "pointwise", c.hidden, c.hidden, true, torch_init(c.hidden));
}

Tensor ConvFF::operator()(const Run& run, const Tensor& map) const {
  const Crumb here("mlp");
  Tensor x = dwconv(run, hardswish(fc1(run, map)));
  if (pointwise) x = (*pointwise)(run, x);
  return drop2(run, fc2(run, drop1(run, hardswish(x))));
}

// ---- squeeze-and-excitation -----------------------------------------------------------------------------------------

SqueezeExcite::SqueezeExcite(const Scope& s, int dim, int reduction)
    : fc1(s / "fc" / 0, dim, dim / reduction, true, torch_init(dim)),
      fc2(s / "fc" / 2, dim / reduction, dim, true, torch_init(dim / reduction)) {}

Tensor SqueezeExcite::operator()(const Run& run, const Tensor& map) const {
  const Crumb here("se");
  const auto [B, h, w, C] = map.dims<4>();
  const Tensor excited = fc2(run, relu(fc1(run, mean(map, {1, 2}))));
  const Tensor gate = clamp(scale(add_scalar(excited, 3), 1.0 / 6), 0, 1);
  return mul(map, gate.reshape({B, 1, 1, C}));
}

// ---- LocalityFF ---------------------------------------------------------------------------------------------------

LocalityFF::LocalityFF(const Scope& s, int dim, int hidden, int se_reduction)
    : expand(s / "conv" / 0, one_by_one(dim, hidden)),
      norm1(s / "conv" / 1, hidden),
      dwconv(s / "conv" / 3, depthwise(hidden, false)),
      norm2(s / "conv" / 4, hidden),
      se(se_reduction > 0 ? std::optional<SqueezeExcite>(std::in_place, s / "conv" / 6, hidden, se_reduction)
                          : std::nullopt),
      project(s / "conv" / (se ? 7 : 6), one_by_one(hidden, dim)),
      norm3(s / "conv" / (se ? 8 : 7), dim) {}

Tensor LocalityFF::operator()(const Run& run, const Tensor& map) const {
  const Crumb here("conv");
  const Tensor wide = hardswish(norm1(run, pointwise_of(expand, map)));
  Tensor mixed = hardswish(norm2(run, dwconv(run, wide)));
  if (se) mixed = (*se)(run, mixed);
  return norm3(run, pointwise_of(project, mixed));
}

// ---- MixFF --------------------------------------------------------------------------------------------------------

MixFF::MixFF(const Scope& s, const Mlp::Config& c)
    : fc1(s / "fc1", c.dim, c.hidden, c.bias, c.init1),
      dwconv(s / "dwconv",
             [&] {
               Conv2d::Config d = depthwise(c.hidden, true);
               d.init = {normal(std::sqrt(2.0 / 9)), constant(0)};  // PVT v2's: variance 2 / fan_out of one group
               return d;
             }()),
      drop1(s / "drop1", c.drop),
      fc2(s / "fc2", c.hidden, c.dim, c.bias, c.init2),
      drop2(s / "drop2", c.drop),
      act(c.act) {}

Tensor MixFF::hidden(const Run& run, const Tensor& x, const Grid& map) const {
  const Crumb here("mlp");
  const Tensor wide = on_map(fc1(run, x), map, [&](const Tensor& m) { return dwconv(run, m); });
  return drop1(run, activate(act, wide));
}

}  // namespace TESSERA_NS
}  // namespace tessera
