#pragma once
// Attention under torch.nn.MultiheadAttention's names, for models that have them: Conformer, Transformer.
#include "tessera/nn/layers.h"

namespace tessera {
inline namespace TESSERA_NS {

/// Queries, keys and values from one matrix, in_proj_weight (3 inner, dim), that starts by Xavier's rule as one of dim to 3 inner.
struct MultiheadAttention {
  Tensor in_proj_weight, in_proj_bias;
  Linear out_proj;
  DropoutSpec dropout;
  int num_heads;
  double scale;
  MultiheadAttention(const Scope& s, const Attention::Config& c);
  /// Tokens x (B, T, dim) among themselves -> the same shape. `now` may be a Layout::remembering: `before` (B, M, dim) then are M more
  /// keys in front of x.
  Tensor among(const Run& run, const Tensor& x, const Pattern& who, const PositionEncoding& position, const Site& site,
               const Layout& now, std::span<const int32_t> lengths, const Tensor& before = {}) const;
  /// Tokens x (B, S, dim) of one sequence look at those of another, memory (B, T, dim), of which `lengths` are valid: there positions
  /// mean nothing, whatever the encoding.
  Tensor across(const Run& run, const Tensor& x, const Tensor& memory, const PositionEncoding& position,
                const Site& site, std::span<const int32_t> lengths) const;
};

}  // namespace TESSERA_NS
}  // namespace tessera
