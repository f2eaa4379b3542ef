#pragma once
// The Transformer's parts, for programs that encode once and decode step by step (models/decode.h is one).
#include <deque>
#include <optional>

#include "tessera/models/model.h"
#include "tessera/nn/multihead_attention.h"

namespace tessera::transformer {
inline namespace TESSERA_NS {

/// torch.nn.Transformer's arguments under its names; the defaults are a small one for made sequences.
struct Config {
  int vocab_size = 16;        ///< kinds of tokens of the source
  int target_vocab_size = 0;  ///< and of the target; 0: the same
  int d_model = 64, nhead = 4, num_encoder_layers = 2, num_decoder_layers = 2, dim_feedforward = 256;
  double dropout = 0.1;
  std::string activation = "relu";
  bool norm_first = false;
  bool final_norm = true;  ///< a norm after the last layer, as torch has it in either order; the paper: none
  double layer_norm_eps = 1e-5;
  double qk_scale = 0;      ///< 0: head width^-1/2
  std::string tie = "all";  ///< which embeddings are one matrix: all | output | none
  int max_length = 64;      ///< tokens that tables of positions are made for

  int targets() const { return target_vocab_size ? target_vocab_size : vocab_size; }
};
Fields<Config> fields();
/// Of every attention.
Attention::Config attention_of(const Config& c);
/// Throws Error on a configuration that makes no sense.
Places places(const Config& c);
InputShape input(const Config& c);
/// The names of PyTorch's translation tutorial.
std::vector<Rename> dialect();
std::vector<ModelRow> rows();

/// linear2(dropout(f(linear1 x))), under names that torch does not put into a scope of their own.
struct FeedForward {
  Linear linear1;
  Dropout dropout;
  Linear linear2;
  Activation act;
  FeedForward(const Scope& layer, const Config& c);
  Tensor operator()(const Run& run, const Tensor& x) const;
};

/// A branch around which the tokens pass: norm(x + dropout(f(x))), the paper's order, or x + dropout(f(norm x)) with norm_first.
struct Residual {
  LayerNorm norm;
  Dropout dropout;
  bool norm_first;
  Residual(const Scope& norm_scope, const Config& c);
  template <class Branch>
  Tensor operator()(const Run& run, const Tensor& x, Branch f) const {
    return norm_first ? join(run, x, f(norm(run, x))) : norm(run, join(run, x, f(x)));
  }

 private:
  Tensor join(const Run& run, const Tensor& x, const Tensor& branch) const;
};

struct EncoderLayer {
  MultiheadAttention self_attn;
  FeedForward feed;
  Residual around_self, around_feed;  // norm1, norm2
  Site site;
  std::string name;  ///< "encoder.layers.0", for error messages
  EncoderLayer(const Scope& s, const Config& c, const Site& at);
  Tensor operator()(const Run& run, const Tensor& x, const PositionEncoding& position,
                    std::span<const int32_t> lengths) const;
};

struct DecoderLayer {
  MultiheadAttention self_attn, multihead_attn;
  FeedForward feed;
  Residual around_self, around_cross, around_feed;  // norm1, norm2, norm3
  Site site;
  std::string name;
  DecoderLayer(const Scope& s, const Config& c, const Site& at);
  /// x (B, S, d), memory (B, T, d) -> (B, S, d)
  Tensor operator()(const Run& run, const Tensor& x, const Tensor& memory, const PositionEncoding& position,
                    std::span<const int32_t> x_lengths, std::span<const int32_t> lengths) const;
};

class Transformer final : public Model {
 public:
  /// Throws Error on a configuration that makes no sense.
  Transformer(const Scope& s, const Config& config, const MakePosition& position);
  /// tokens (B, T), target (B, S), both padded to the right -> logits (B, S, target_vocab_size): row s is what comes after target s. A
  /// state that an earlier Output had stands for the encoder's work. stages: what encoder and decoder end with.
  Output forward(const Run& run, const Input& input) const override;
  /// tokens (B, T) -> (B, T, d_model)
  Tensor encode(const Run& run, const Ints& tokens, const Ints& lengths) const;
  /// target (B, S) and what encode() made of T tokens -> (B, S, d_model), which logits() reads.
  Tensor decode(const Run& run, const Ints& target, std::span<const int32_t> target_lengths, const Tensor& memory,
                std::span<const int32_t> lengths) const;
  Tensor logits(const Run& run, const Tensor& x) const;

 private:
  Tensor embed(const Run& run, const Tensor& table, const Ints& tokens, std::span<const int32_t> lengths,
               const Spot& spot, const Dropout& drop) const;

  Config config_;
  Places at_;
  Tensor src_embed_, tgt_embed_;  // one and the same with tie = all
  std::optional<Linear> generator_;
  std::unique_ptr<PositionEncoding> position_;
  Dropout src_drop_, tgt_drop_;
  std::deque<EncoderLayer> encoder_;
  std::deque<DecoderLayer> decoder_;
  std::optional<LayerNorm> encoder_norm_, decoder_norm_;
};

}  // namespace TESSERA_NS
}  // namespace tessera::transformer
