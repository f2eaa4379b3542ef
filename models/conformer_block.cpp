// The Conformer's block.  Gulati et al. 2020, "Conformer: Convolution-augmented Transformer for Speech Recognition", arXiv 2005.08100; in the
// form and under the names of torchaudio's ConformerLayer.
//
//   x (B, N, C)
//     -> x += 1/2 ffn1(x)                          LN, Linear C -> F, swish, dropout, Linear F -> C, dropout
//     -> x += drop(attn(LN x))                     position.attend: padded frames are no keys
//     -> x += conv(x)                              LN, pointwise C -> 2E, GLU, depthwise k, norm, swish, pointwise E -> C, dropout
//     -> x += 1/2 ffn2(x)
//     -> LN x                                      (B, N, C)
//
// Padding: attention reads no key of it, the depthwise convolution and the norm see zeros in its place, and batch statistics count valid
// frames only. What stands in a padded row of x reaches no valid one.
#include "tessera/models/conformer_block.h"

#include "tessera/core/ops/activation.h"
#include "tessera/core/ops/arithmetic.h"
#include "tessera/core/ops/concat.h"
#include "tessera/core/ops/keep_valid.h"
#include "tessera/core/ops/linear.h"
#include "tessera/core/ops/reduce.h"
#include "tessera/core/ops/slice.h"

namespace tessera::conformer {
inline namespace TESSERA_NS {
namespace {

constexpr double norm_eps = 1e-5;  // torch's

Tensor add_half(const Tensor& x, const Tensor& branch) { return add(x, scale(branch, 0.5)); }

}  // namespace

// ---- feed-forward module ------------------------------------------------------------------------------------------

FeedForward::FeedForward(const Scope& s, int dim, int hidden, double dropout)
    : norm(s / "sequential" / 0, dim, norm_eps),
      fc1(s / "sequential" / 1, dim, hidden, true, torch_init(dim)),
      drop1(s / "sequential" / 3, dropout),
      fc2(s / "sequential" / 4, hidden, dim, true, torch_init(hidden)),
      drop2(s / "sequential" / 5, dropout) {}

Tensor FeedForward::operator()(const Run& run, const Tensor& x) const {
  return drop2(run, fc2(run, drop1(run, silu(fc1(run, norm(run, x))))));
}

// ---- convolution module -------------------------------------------------------------------------------------------

Pointwise::Pointwise(const Scope& s, int inputs, int outputs, bool with_bias)
    : weight(s.param("weight", {outputs, inputs, 1}, torch_default(inputs))),
      bias(with_bias ? s.param("bias", {outputs}, torch_default(inputs), Decay::no) : Tensor()) {}

Tensor Pointwise::operator()(const Run&, const Tensor& x) const { return linear(x, weight, bias); }

GroupNorm::GroupNorm(const Scope& s, int dim)
    : weight(s.param("weight", {dim}, constant(1), Decay::no)), bias(s.param("bias", {dim}, constant(0), Decay::no)) {}

Tensor GroupNorm::operator()(const Run&, const Tensor& x, const Ints& lengths) const {
  const auto [B, T, C] = x.dims<3>();
  Tensor share({B, 1, 1});  // one over the numbers of a sample
  for (int b = 0; b < B; ++b) {
    const int frames = lengths ? lengths[static_cast<size_t>(b)] : T;
    share[b] = frames > 0 ? static_cast<real>(1.0 / (static_cast<double>(frames) * C)) : real(0);
  }
  const Tensor valid = keep_valid(x, lengths);
  const Tensor centred = keep_valid(sub(valid, mul(sum(valid, {1, 2}, true), share)), lengths);
  const Tensor variance = mul(sum(square(centred), {1, 2}, true), share);
  const Tensor normal = div(centred, sqrt(add_scalar(variance, eps)));
  return keep_valid(add(mul(normal, weight), bias), lengths);
}

Tensor glu(const Tensor& x) {
  const int E = x.dim(-1) / 2;
  return mul(slice(x, -1, 0, E), sigmoid(slice(x, -1, E, 2 * E)));
}

namespace {

// The output has as many tokens as the input; an even kernel looks one further to the left than to the right.
Conv1d::Config along_of(const ConvModule::Config& c) {
  const int k = c.kernel, E = c.width(), left = c.causal ? k - 1 : k / 2;
  return {.in = E, .out = E, .kernel = k, .left = left, .right = k - 1 - left, .groups = E, .bias = c.bias};
}
Conv2d::Config over_of(const ConvModule::Config& c) {
  const int E = c.width(), before = c.kernel / 2, after = c.kernel - 1 - before;
  ConvOptions options = conv_options(1, 0, E);
  options.top = options.left = before, options.bottom = options.right = after;
  return {.in = E, .out = E, .kernel = c.kernel, .options = options, .bias = c.bias};
}

template <class Layer, class... Arguments>
std::optional<Layer> layer_if(bool wanted, const Arguments&... arguments) {
  if (!wanted) return std::nullopt;
  return std::optional<Layer>(std::in_place, arguments...);
}

}  // namespace

ConvModule::ConvModule(const Scope& s, const Config& c)
    : norm(s / "layer_norm", c.dim, norm_eps),
      in(s / "sequential" / 0, c.dim, 2 * c.width(), c.bias),
      along(layer_if<Conv1d>(!c.over_map, s / "sequential" / 2, along_of(c))),
      over(layer_if<Conv2d>(c.over_map, s / "sequential" / 2, over_of(c))),
      batch_norm(layer_if<BatchNorm>(!c.causal && !c.use_group_norm, s / "sequential" / 3, c.width())),
      group_norm(layer_if<GroupNorm>(!c.causal && c.use_group_norm, s / "sequential" / 3, c.width())),
      out(s / "sequential" / 5, c.width(), c.dim, c.bias),
      drop(s / "sequential" / 6, c.dropout) {}

Tensor ConvModule::operator()(const Run& run, const Tensor& x, const Grid& map, const Ints& lengths) const {
  Tensor y = keep_valid(glu(in(run, norm(run, x))), lengths);
  if (along) {
    y = (*along)(run, y);
  } else {
    const auto [B, N, E] = y.dims<3>();
    y = (*over)(run, y.reshape({B, map.h, map.w, E})).reshape({B, N, E});
  }
  if (batch_norm) y = (*batch_norm)(run, y, lengths);
  if (group_norm) y = (*group_norm)(run, y, lengths);
  return drop(run, out(run, silu(y)));
}

// ---- block --------------------------------------------------------------------------------------------------------

Block::Block(const Scope& s, const Config& c, const Site& at)
    : ffn1(s / "ffn1", c.attn.dim, c.ffn_dim, c.dropout),
      self_attn_layer_norm(s / "self_attn_layer_norm", c.attn.dim, norm_eps),
      self_attn(s / "self_attn", c.attn),
      self_attn_dropout(s / "self_attn_dropout", c.dropout),
      conv_module(s / "conv_module", c.conv),
      ffn2(s / "ffn2", c.attn.dim, c.ffn_dim, c.dropout),
      final_layer_norm(s / "final_layer_norm", c.attn.dim, norm_eps),
      convolution_first(c.convolution_first),
      site(at),
      name(s.path()) {}

Tensor Block::convolved(const Run& run, const Tensor& x, const Sequence& at) const {
  const Grid& map = at.now.q;
  if (map.prefix == 0) return add(x, conv_module(run, x, map, at.lengths));
  const Tensor patches = slice(x, 1, map.prefix, map.tokens());
  return concat({slice(x, 1, 0, map.prefix), add(patches, conv_module(run, patches, map, at.lengths))}, 1);
}

Tensor Block::operator()(const Run& run, const Tensor& x, const Sequence& at, const PositionEncoding& position) const {
  const Crumb here(name);
  Tensor y = add_half(x, ffn1(run, x));
  if (convolution_first) y = convolved(run, y, at);
  y = add(y, self_attn_dropout(
                 run, self_attn.among(run, self_attn_layer_norm(run, y), at.who, position, site, at.now, at.lengths)));
  if (!convolution_first) y = convolved(run, y, at);
  y = add_half(y, ffn2(run, y));
  return final_layer_norm(run, y);
}

// ---- places -------------------------------------------------------------------------------------------------------

std::string block_name(int i) { return "conformer_layers." + std::to_string(i); }

void add_sites(Places& places, Extents& size, int num_layers, const Block::Config& c, const Layout& trained) {
  const double N = trained.q.tokens(), C = c.attn.dim, E = c.conv.width(), k = c.conv.kernel;
  for (int i = 0; i < num_layers; ++i) {
    size.block(N, N, C, c.attn.inner(), 2.0 * c.ffn_dim / C);  // two feed-forward modules
    size.linear(N, C, 2 * E), size.linear(N, c.conv.over_map ? k * k : k, E), size.linear(N, E, C);
    places.sites.push_back({i, 0, i, c.attn.dim, c.attn.num_heads, c.attn.width_of_head(), c.attn.scale(), trained,
                            block_name(i) + ".self_attn", c.conv.causal});
  }
}

void add_gaps(Places& places, int num_layers, int dim, const Grid& trained) {
  for (int i = 0; i <= num_layers; ++i)
    places.between.push_back({i, 0, i, dim, trained, "pos_block." + std::to_string(i)});
}

}  // namespace TESSERA_NS
}  // namespace tessera::conformer
