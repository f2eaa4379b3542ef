#include "tessera/nn/layers.h"

#include <cmath>
#include <limits>

#include "tessera/core/ops/activation.h"
#include "tessera/core/ops/arithmetic.h"
#include "tessera/core/ops/dropout.h"
#include "tessera/core/ops/layernorm.h"
#include "tessera/core/ops/linear.h"
#include "tessera/core/ops/patches.h"

namespace tessera {
inline namespace TESSERA_NS {

Activation activation(std::string_view name) {
  std::vector<std::string> names;
  for (const char* known : activation_domain().words)
    if (known) names.emplace_back(known);
  for (size_t i = 0; i < names.size(); ++i)
    if (name == names[i]) return static_cast<Activation>(i);
  unknown("activation", name, names);
}

Tensor activate(Activation f, const Tensor& x) {
  switch (f) {
    case Activation::gelu:
      return gelu(x);
    case Activation::gelu_tanh:
      return gelu_tanh(x);
    case Activation::quick_gelu:
      return quick_gelu(x);
    case Activation::relu:
      return relu(x);
    case Activation::silu:
      return silu(x);
    case Activation::hardswish:
      return hardswish(x);
  }
  return x;
}

// ---- Linear -------------------------------------------------------------------------------------------------------

Linear::Linear(const Scope& s, int in, int out, bool with_bias, LinearInit init)
    : weight(s.param("weight", {out, in}, init.weight)),
      bias(with_bias ? s.param("bias", {out}, init.bias, Decay::no) : Tensor()) {}

Tensor Linear::operator()(const Run&, const Tensor& x) const { return linear(x, weight, bias); }

// ---- LayerNorm ----------------------------------------------------------------------------------------------------

LayerNorm::LayerNorm(const Scope& s, int dim, double e)
    : weight(s.param("weight", {dim}, constant(1), Decay::no)),
      bias(s.param("bias", {dim}, constant(0), Decay::no)),
      eps(e) {}

Tensor LayerNorm::operator()(const Run&, const Tensor& x) const { return layernorm(x, weight, bias, eps); }

// ---- Drop, DropPath, LayerScale -----------------------------------------------------------------------------------

Tensor Dropout::operator()(const Run& run, const Tensor& x) const {
  return tessera::dropout(x, dropout.p, dropout.key, run);
}

Tensor DropPath::operator()(const Run& run, const Tensor& x, const Tensor& branch) const {
  return add_drop_path(x, branch, dropout.p, dropout.key, run);
}

LayerScale::LayerScale(const Scope& s, int dim, double init)
    : gamma(init != 0 ? s.param("gamma", {dim}, constant(init), Decay::no) : Tensor()) {}

Tensor LayerScale::operator()(const Run&, const Tensor& x) const { return gamma ? mul(x, gamma) : x; }

Tensor add_branch(const Run& run, const Tensor& x, const Tensor& h, const Linear& last, const Dropout& drop,
                  const LayerScale& ls, const DropPath& drop_path) {
  if (!ls.gamma && !drop.active(run) && !drop_path.active(run)) return linear_add(h, last.weight, last.bias, x);
  return drop_path(run, x, ls(run, drop(run, last(run, h))));
}

// ---- Mlp ----------------------------------------------------------------------------------------------------------

Mlp::Mlp(const Scope& s, const Config& c)
    : fc1(s / "fc1", c.dim, c.hidden, c.bias, c.init1),
      drop1(s / "drop1", c.drop),
      fc2(s / "fc2", c.hidden, c.dim, c.bias, c.init2),
      drop2(s / "drop2", c.drop),
      act(c.act) {}

Tensor Mlp::hidden(const Run& run, const Tensor& x) const {
  const Crumb here("mlp");
  if (act == Activation::gelu) return drop1(run, linear_gelu(x, fc1.weight, fc1.bias));
  return drop1(run, activate(act, fc1(run, x)));
}

Tensor Mlp::operator()(const Run& run, const Tensor& x) const { return drop2(run, fc2(run, hidden(run, x))); }

// ---- PatchEmbed ---------------------------------------------------------------------------------------------------

PatchEmbed::PatchEmbed(const Scope& s, const Config& c)
    : patch_size(c.patch_size),
      in_chans(c.in_chans),
      weight((s / "proj").param("weight", {c.dim, c.in_chans, c.patch_size, c.patch_size}, c.init.weight)),
      bias(c.bias ? (s / "proj").param("bias", {c.dim}, c.init.bias, Decay::no) : Tensor()) {}

Grid PatchEmbed::grid(int height, int width, int prefix) const {
  if (height < patch_size || width < patch_size || height % patch_size || width % patch_size) {
    fail("patch_embed",
         "an image of {} x {} is not made of patches of {} x {}; choose an img_size that patch_size divides", height,
         width, patch_size, patch_size);
  }
  return {height / patch_size, width / patch_size, prefix};
}

Grid PatchEmbed::grid(const Tensor& image, int prefix) const {
  if (image.rank() != 4) fail("patch_embed", "images are {}, expected (B, H, W, {})", image.shape().str(), in_chans);
  const auto [B, H, W, C] = image.dims<4>();
  if (C != in_chans) {
    const bool swapped = H == in_chans;  // (B, C, H, W) read as (B, H, W, C)
    fail("patch_embed", "images are {} with {} channels last, expected in_chans = {}{}", image.shape().str(), C,
         in_chans,
         swapped ? "; if they are (B, C, H, W) as in PyTorch, bring the channels to the end: permute(x, {0, 2, 3, 1})"
                 : "");
  }
  return grid(H, W, prefix);
}

Tensor PatchEmbed::operator()(const Run&, const Tensor& image) const {
  const Crumb here("patch_embed");
  grid(image);
  return linear(patches(image, patch_size), weight, bias);
}

// ---- Attention ----------------------------------------------------------------------------------------------------

int Attention::Config::width_of_head() const {
  if (num_heads < 1) fail("attention", "num_heads is {}, expected at least 1", num_heads);
  if (head_dim > 0) return head_dim;
  if (dim % num_heads)
    fail("attention", "{} heads do not divide the width {}; set head_dim, or another num_heads", num_heads, dim);
  return dim / num_heads;
}

int Attention::Config::inner() const {
  const int64_t all = int64_t{num_heads} * width_of_head();
  if (3 * all > std::numeric_limits<int>::max())
    fail("attention", "{} heads of {} are too wide: queries, keys and values together must stay below 2^31", num_heads,
         width_of_head());
  return static_cast<int>(all);
}

double Attention::Config::scale() const {
  if (!(qk_scale >= 0 && std::isfinite(qk_scale)))
    fail("attention", "qk_scale is {}, expected 0 (head_dim^-1/2) or a positive number", qk_scale);
  return qk_scale > 0 ? qk_scale : 1 / std::sqrt(static_cast<double>(width_of_head()));
}

Attention::Attention(const Scope& s, const Config& c)
    : qkv(s / "qkv", c.dim, 3 * c.inner(), c.qkv_bias, c.qkv_init),
      attn_drop{c.attn_drop, (s / "attn_drop").key()},
      proj(s / "proj", c.inner(), c.dim, c.proj_bias, c.proj_init),
      proj_drop(s / "proj_drop", c.proj_drop),
      num_heads(c.num_heads),
      scale(c.scale()) {}

Tensor Attention::mix(const Run& run, const Tensor& x, const Pattern& who, const PositionEncoding& position,
                      const Site& site, const Layout& now, std::span<const int32_t> lengths) const {
  const Crumb here("attn");
  const Tensor packed = qkv(run, x);
  const Heads q = heads(packed, num_heads, 0, 3), k = heads(packed, num_heads, 1, 3),
              v = heads(packed, num_heads, 2, 3);
  return position.attend(site, now, q, k, v, who, scale, attn_drop, lengths, run);
}

Tensor Attention::operator()(const Run& run, const Tensor& x, const Pattern& who, const PositionEncoding& position,
                             const Site& site, const Layout& now, std::span<const int32_t> lengths) const {
  return proj_drop(run, proj(run, mix(run, x, who, position, site, now, lengths)));
}

}  // namespace TESSERA_NS
}  // namespace tessera
