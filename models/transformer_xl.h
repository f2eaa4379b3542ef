#pragma once
// A language model with a memory of the segments before. It has no row of the registry: a program gives it one segment after the other.
#include "tessera/models/transformer.h"

namespace tessera::transformer_xl {
inline namespace TESSERA_NS {

struct Config {
  int vocab_size = 16;
  int d_model = 64, nhead = 4, num_layers = 2, dim_feedforward = 256;
  double qk_scale = 0;  ///< 0: head width^-1/2
  int mem_len = 64;     ///< tokens of the past that every layer remembers; 0: none
  double dropout = 0.1;
  std::string activation = "relu";
  bool norm_first = false;
  double layer_norm_eps = 1e-5;
  int max_length = 128;  ///< memory and segment, that tables of positions are made for
};
Fields<Config> fields();
/// Throws Error on a configuration that makes no sense.
Places places(const Config& c);

/// Self-attention over memory and segment, causal, and the MLP.
struct Layer {
  MultiheadAttention self_attn;
  transformer::FeedForward feed;
  transformer::Residual around_self, around_feed;  // norm1, norm2
  Site site;
  std::string name;
  Layer(const Scope& s, const transformer::Config& c, const Site& at);
  /// x (B, T, d), memory (B, M, d) or none -> (B, T, d)
  Tensor operator()(const Run& run, const Tensor& x, const Tensor& memory, const PositionEncoding& position) const;
};

class TransformerXl final : public Model {
 public:
  /// Throws Error on a configuration that makes no sense.
  TransformerXl(const Scope& s, const Config& config, const MakePosition& position);
  /// tokens (B, T), the next segment of B texts -> logits (B, T, vocab_size): row t is what comes after token t. state: for every layer the
  /// last mem_len of its inputs so far (B, M, d), without a gradient; the next segment is given them. Segments have no padding.
  Output forward(const Run& run, const Input& input) const override;

 private:
  Config config_;
  Places at_;
  Tensor embed_;
  std::unique_ptr<PositionEncoding> position_;
  Dropout drop_;
  std::deque<Layer> layers_;
};

}  // namespace TESSERA_NS
}  // namespace tessera::transformer_xl
