#pragma once
// The pre-norm block of ViT and SimpleViT, and what others have put into its attention and in the place of its MLP.
#include <optional>
#include <string>
#include <variant>

#include "tessera/core/ops/linear_attention.h"
#include "tessera/nn/conv_ff.h"

namespace tessera::vit {
inline namespace TESSERA_NS {

/// Multi-head self-attention over all tokens of a map: (B, N, dim) -> (B, N, num_heads head_dim), to be projected.
struct SelfAttention {
  struct Config : tessera::Attention::Config {
    bool qk_norm =
        false;  ///< queries and keys through a LayerNorm over the head's width (timm's names: q_norm, k_norm)
    double norm_eps = 1e-6;  ///< of those
    bool lsa =
        false;  ///< locality self-attention (Lee et al. 2021): a learned factor of each head's logits, a token does not see itself
    int lepe = 0;  ///< kernel of a depthwise convolution of the values, added to what is mixed; 0: none
    /// softmax | elu | taylor: the last two are linear attention, which has no logits.
    std::string attention = "softmax";
    bool linear() const { return attention != "softmax"; }
    /// Of the logits; 0: there are none.
    double scale_of_logits() const { return linear() ? 0 : scale(); }
  };
  Linear qkv;
  std::optional<LayerNorm> q_norm, k_norm;
  Tensor temperature;  ///< (num_heads), from head_dim^-1/2 on; empty without lsa
  std::optional<Conv2d> lepe;
  DropoutSpec attn_drop;
  Linear proj;
  Dropout proj_drop;
  int num_heads;
  double scale;
  std::optional<Similarity> similarity;  ///< none: softmax
  SelfAttention(const Scope& s, const Config& c);
  Tensor mix(const Run& run, const Tensor& x, const PositionEncoding& position, const Site& site,
             const Layout& now) const;

 private:
  Tensor linearly(const Run& run, const Tensor& x, const Heads& q, const Heads& k, const Heads& v,
                  const PositionEncoding& position, const Site& site, const Layout& now) const;
};

/// x += drop_path1(ls1(proj(attn(norm1 x)))), x += drop_path2(ls2(mlp(norm2 x))): pre-norm.
struct Block {
  struct Config {
    SelfAttention::Config attn;
    Mlp::Config mlp;  ///< dim, hidden and drop serve the others, too
    double norm_eps = 1e-6, init_values = 0, drop_path = 0;
    /// mlp | mix_ffn | conv_ff | local (nn/conv_ff.h). Class tokens pass by the last two; local has neither norm2 nor drop_path2 nor ls2.
    std::string feed_forward = "mlp";
    bool extra_pointwise = false;  ///< of conv_ff
    bool act_out = false;          ///< the nonlinearity once more after the MLP's second layer
    int se_reduction = 0;          ///< of local: its squeeze-and-excitation, 0: none
  };
  LayerNorm norm1;
  SelfAttention attn;
  LayerScale ls1;
  DropPath drop_path1;
  std::optional<LayerNorm> norm2;
  std::variant<Mlp, MixFF, ConvFF, LocalityFF> feed_forward;
  bool act_out;
  LayerScale ls2;
  DropPath drop_path2;
  Site site;         ///< of its attention
  std::string name;  ///< "blocks.3", for error messages
  Block(const Scope& s, const Config& c, const Site& at);
  /// x (B, N, dim) -> the same shape.
  Tensor operator()(const Run& run, const Tensor& x, const PositionEncoding& position, const Layout& now) const;

 private:
  Tensor feed(const Run& run, const Tensor& x, const Grid& map) const;
};

}  // namespace TESSERA_NS
}  // namespace tessera::vit
