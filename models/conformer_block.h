#pragma once
// The Conformer's block and its four modules, for the models made of it: conformer.h reads frames, conformer_image.h images.
#include <optional>

#include "tessera/models/extents.h"
#include "tessera/nn/convolution.h"
#include "tessera/nn/multihead_attention.h"

namespace tessera::conformer {
inline namespace TESSERA_NS {

/// Where the tokens of one call are: P class tokens, then frames in order of time or patches in raster order.
struct Sequence {
  Layout now;
  Pattern who;
  Ints lengths;  ///< valid frames of each sample; none: all
};

/// LN, Linear, swish, dropout, Linear, dropout: (..., dim) -> the same. torchaudio's _FeedForwardModule.
struct FeedForward {
  LayerNorm norm;
  Linear fc1;
  Dropout drop1;
  Linear fc2;
  Dropout drop2;
  FeedForward(const Scope& s, int dim, int hidden, double dropout);
  Tensor operator()(const Run& run, const Tensor& x) const;
};

/// A Conv1d of one tap is a Linear: weight (out, in, 1).
struct Pointwise {
  Tensor weight, bias;
  Pointwise(const Scope& s, int in, int out, bool with_bias);
  Tensor operator()(const Run&, const Tensor& x) const;
};

/// torch.nn.GroupNorm of one group on (B, T, C): each sample is normalised over its valid frames and all channels; padding becomes 0.
struct GroupNorm {
  Tensor weight, bias;
  double eps = 1e-5;
  GroupNorm(const Scope& s, int dim);
  Tensor operator()(const Run&, const Tensor& x, const Ints& lengths) const;
};

/// (first half of the channels) * sigmoid(second half): (..., 2 E) -> (..., E).  Dauphin et al. 2017
Tensor glu(const Tensor& x);

/// LN, pointwise C -> 2E, GLU, depthwise k, norm, swish, pointwise E -> C, dropout. torchaudio's _ConvolutionModule.
struct ConvModule {
  struct Config {
    int dim = 0, kernel = 31;
    int expansion = 1;  ///< E = expansion C: 1 in the paper, torchaudio and ESPnet, 2 in lucidrains' code
    bool bias = true;   ///< of the three convolutions
    bool use_group_norm = false;
    bool causal = false;    ///< k - 1 zeros on the left, none on the right, and no norm
    bool over_map = false;  ///< k x k taps over the map of patches instead of k along the raster
    double dropout = 0;
    int width() const { return expansion * dim; }
  };
  LayerNorm norm;
  Pointwise in;
  std::optional<Conv1d> along;
  std::optional<Conv2d> over;
  std::optional<BatchNorm> batch_norm;
  std::optional<GroupNorm> group_norm;
  Pointwise out;
  Dropout drop;
  ConvModule(const Scope& s, const Config& c);
  /// x (B, N, C) without class tokens; map says how N tokens lie.
  Tensor operator()(const Run& run, const Tensor& x, const Grid& map, const Ints& lengths) const;
};

/// x += FF1(x) / 2, x += MHSA(LN x), x += Conv(x), x += FF2(x) / 2, x = LN x. torchaudio's ConformerLayer.
struct Block {
  struct Config {
    Attention::Config attn;
    ConvModule::Config conv;
    int ffn_dim = 0;
    bool convolution_first = false;
    double dropout = 0;
  };
  FeedForward ffn1;
  LayerNorm self_attn_layer_norm;
  MultiheadAttention self_attn;
  Dropout self_attn_dropout;
  ConvModule conv_module;
  FeedForward ffn2;
  LayerNorm final_layer_norm;
  bool convolution_first;
  Site site;         ///< of its attention
  std::string name;  ///< "conformer_layers.3", for error messages
  Block(const Scope& s, const Config& c, const Site& at);
  /// x (B, N, dim) -> the same shape. Class tokens pass by the convolution.
  Tensor operator()(const Run& run, const Tensor& x, const Sequence& at, const PositionEncoding& position) const;

 private:
  Tensor convolved(const Run& run, const Tensor& x, const Sequence& at) const;
};

// ---- what the configurations of both models share: templates over a configuration, as in models/image.h ---------------------------

constexpr int most_taps = 1024;

template <class C>
std::vector<Field<C>> block_fields() {
  return {
      {"embed_dim", &C::embed_dim, "width of the blocks", within(1, most_width)},
      {"num_layers", &C::num_layers, "blocks", within(0, most_depth)},
      {"num_heads", &C::num_heads, "attention heads", within(1, most_heads)},
      {"head_dim", &C::head_dim, "width of a head, 0: embed_dim / num_heads", within(0, most_width)},
      {"ffn_dim", &C::ffn_dim, "hidden width of both feed-forward modules, 0: 4 embed_dim", within(0, 4 * most_width)},
      {"depthwise_conv_kernel_size", &C::depthwise_conv_kernel_size, "taps of the depthwise convolution",
       within(1, most_taps)},
      {"conv_expansion", &C::conv_expansion,
       "width of the depthwise convolution over embed_dim: 1 (paper, torchaudio) | 2 (lucidrains)", within(1, 2)},
      {"conv_bias", &C::conv_bias, "biases in the convolutions"},
      {"use_group_norm", &C::use_group_norm, "group norm of one group instead of batch norm in the convolution module"},
      {"convolution_first", &C::convolution_first, "the convolution module before the attention"},
      {"dropout", &C::dropout, "dropout in every module and of attention weights", below_one()},
      {"pos_drop_rate", &C::pos_drop_rate, "dropout after the positions", below_one()},
      {"drop_rate", &C::drop_rate, "dropout before the head", below_one()}};
}

template <class C>
Block::Config block_of(const C& c) {
  Block::Config b;
  b.attn.dim = c.embed_dim, b.attn.num_heads = c.num_heads, b.attn.head_dim = c.head_dim;
  b.attn.qk_scale = c.qk_scale, b.attn.qkv_bias = c.qkv_bias, b.attn.attn_drop = c.dropout;
  b.attn.proj_init = {torch_default(b.attn.inner()), constant(0)};
  b.conv.dim = c.embed_dim, b.conv.kernel = c.depthwise_conv_kernel_size, b.conv.expansion = c.conv_expansion;
  b.conv.bias = c.conv_bias, b.conv.use_group_norm = c.use_group_norm, b.conv.dropout = c.dropout;
  b.ffn_dim = c.ffn_dim ? c.ffn_dim : 4 * c.embed_dim;
  b.convolution_first = c.convolution_first, b.dropout = c.dropout;
  return b;
}

/// The attentions of so many blocks, and what the blocks cost.
void add_sites(Places& places, Extents& size, int num_layers, const Block::Config& c, const Layout& trained);
/// Before each block and after the last.
void add_gaps(Places& places, int num_layers, int dim, const Grid& trained);
/// "conformer_layers.3"
std::string block_name(int i);

}  // namespace TESSERA_NS
}  // namespace tessera::conformer
