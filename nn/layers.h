#pragma once
// The leaf layers all models share: plain structs, built in a Scope with PyTorch's names, called with the Run. What
// decides the data flow of a model (pre-norm, pooling, stages) stands in the model's file, not here.
#include "tessera/core/ops/attention/attention.h"
#include "tessera/nn/params.h"
#include "tessera/nn/position.h"

namespace tessera {

/// How the weight and the bias of a layer start.
struct LinearInit {
  Init weight = tn02(), bias = constant(0);
};
/// torch's default for Linear and Conv.
inline LinearInit torch_init(int fan_in) { return {torch_default(fan_in), torch_default(fan_in)}; }

/// The nonlinearity of an Mlp: "gelu" (erf), "gelu_tanh", "quick_gelu", "relu", "silu", "hardswish".
enum class Activation { gelu, gelu_tanh, quick_gelu, relu, silu, hardswish };
constexpr Domain activation_domain() { return one_of("gelu", "gelu_tanh", "quick_gelu", "relu", "silu", "hardswish"); }

inline namespace TESSERA_NS {

/// Throws Error with the nearest name.
Activation activation(std::string_view name);
Tensor activate(Activation f, const Tensor& x);

/// y = x W^T + b: (..., in) -> (..., out).
struct Linear {
  Tensor weight, bias;
  Linear(const Scope& s, int in, int out, bool with_bias = true, LinearInit init = {});
  Tensor operator()(const Run&, const Tensor& x) const;
};

/// Layer normalisation over the channels. eps: timm 1e-6, torch 1e-5.
struct LayerNorm {
  Tensor weight, bias;
  double eps;
  LayerNorm(const Scope& s, int dim, double eps = 1e-6);
  Tensor operator()(const Run&, const Tensor& x) const;
};

/// DropoutSpec of single elements in training; the identity otherwise.
struct Dropout {
  DropoutSpec dropout;
  bool active(const Run& run) const { return run.training() && dropout.p > 0; }
  Dropout(const Scope& s, double p) : dropout{p, s.key()} {}
  Tensor operator()(const Run& run, const Tensor& x) const;
};

/// Stochastic depth (Huang et al. 2016): in training a sample's branch is dropped with probability p, else divided by 1
/// - p.
struct DropPath {
  DropoutSpec dropout;
  bool active(const Run& run) const { return run.training() && dropout.p > 0; }
  DropPath(const Scope& s, double p) : dropout{p, s.key()} {}
  /// x + drop_path(branch).
  Tensor operator()(const Run& run, const Tensor& x, const Tensor& branch) const;
};

/// A learned factor per channel of a branch (CaiT, Touvron et al. 2021): y = x gamma. init 0: no layer, the identity.
struct LayerScale {
  Tensor gamma;
  LayerScale() = default;  ///< the identity
  LayerScale(const Scope& s, int dim, double init);
  Tensor operator()(const Run&, const Tensor& x) const;
};

/// The end of a residual branch: x + drop_path(ls(drop(last(h)))). Where only the linear map is active, the residual is
/// added as its result is written.
Tensor add_branch(const Run& run, const Tensor& x, const Tensor& h, const Linear& last, const Dropout& drop,
                  const LayerScale& ls, const DropPath& drop_path);

/// fc2(drop1(f(fc1 x))), then drop2: (..., dim) -> (..., dim).
struct Mlp {
  struct Config {
    int dim = 0, hidden = 0;
    Activation act = Activation::gelu;
    bool bias = true;
    double drop = 0;
    LinearInit init1 = {}, init2 = {};
  };
  Linear fc1;
  Dropout drop1;
  Linear fc2;
  Dropout drop2;
  Activation act;
  Mlp(const Scope& s, const Config& c);
  Tensor operator()(const Run& run, const Tensor& x) const;
  /// What fc2 takes: drop1(f(fc1 x)).
  Tensor hidden(const Run& run, const Tensor& x) const;
};

/// A convolution whose kernel is its stride, as one GEMM on gathered patches: (B, H, W, in_chans) -> tokens (B, H/p
/// W/p, dim). weight (dim, in_chans, p, p), as in a PyTorch file.
struct PatchEmbed {
  struct Config {
    int patch_size = 4, in_chans = 3, dim = 0;
    bool bias = true;
    LinearInit init = torch_init(in_chans * patch_size * patch_size);
  };
  int patch_size, in_chans;
  Tensor weight, bias;  // proj.weight, proj.bias
  PatchEmbed(const Scope& s, const Config& c);
  Tensor operator()(const Run&, const Tensor& image) const;
  /// The grid of an image of this size; throws Error if it is not made of whole patches.
  Grid grid(int height, int width, int prefix = 0) const;
  /// The grid of a batch of images (B, H, W, in_chans); throws Error as well if it has another layout or other channels.
  Grid grid(const Tensor& image, int prefix = 0) const;
};

/// Multi-head self-attention with a packed projection: (B, N, dim) -> (B, N, dim). Who looks at whom (Pattern) and
/// where they are (PositionEncoding, Site, Layout) come from outside. head_dim need not be dim / num_heads.
struct Attention {
  struct Config {
    int dim = 0, num_heads = 1;
    int head_dim = 0;     ///< 0: dim / num_heads
    double qk_scale = 0;  ///< 0: head_dim^-1/2
    bool qkv_bias = true, proj_bias = true;
    double attn_drop = 0, proj_drop = 0;
    LinearInit qkv_init = {}, proj_init = {};
    /// Throws Error if the heads do not divide the width.
    int width_of_head() const;
    /// Of all heads together; throws Error if three times that is no int.
    int inner() const;
    /// Throws Error unless qk_scale is finite and not negative.
    double scale() const;
  };
  Linear qkv;
  DropoutSpec attn_drop;
  Linear proj;
  Dropout proj_drop;
  int num_heads;
  double scale;
  Attention(const Scope& s, const Config& c);
  Tensor operator()(const Run& run, const Tensor& x, const Pattern& who, const PositionEncoding& position,
                    const Site& site, const Layout& now, std::span<const int32_t> lengths = {}) const;
  /// What proj takes: the mixed values of all heads, (B, N, num_heads head_dim).
  Tensor mix(const Run& run, const Tensor& x, const Pattern& who, const PositionEncoding& position, const Site& site,
             const Layout& now, std::span<const int32_t> lengths = {}) const;
};

}  // namespace TESSERA_NS
}  // namespace tessera
