#pragma once
// What a model is given and what it answers.
#include <vector>

#include "tessera/core/ints.h"

namespace tessera {
inline namespace TESSERA_NS {

/// One batch, or a shard of one. A model reads x or tokens, as its kind is.
struct Input {
  Input() = default;
  Input(Tensor t) : x(std::move(t)) {}  // NOLINT: implicit by design
  Tensor x;                             ///< images (B, H, W, C), channels last, or frames (B, T, F)
  Ints lengths;           ///< valid frames or tokens of each sample, the rest is padding; none: all are valid
  Ints tokens;            ///< (B, T) token numbers
  Ints target;            ///< (B, S) tokens that a decoder is given
  bool features = false;  ///< fill Output::stages

  int size() const { return x ? x.dim(0) : tokens.count(); }
  /// Samples [a, b) as free views.
  Input rows(int a, int b) const {
    Input part(x ? x.rows(a, b) : Tensor());
    part.lengths = lengths.rows(a, b), part.tokens = tokens.rows(a, b), part.target = target.rows(a, b);
    part.features = features;
    return part;
  }
};

struct Output {
  Tensor logits;  ///< (B, classes), or (B, T, classes)
  Ints lengths;   ///< valid rows of each sample's logits, where subsampling left fewer; none: as in the input
  std::vector<Tensor> stages;  ///< each stage's map (B, h, w, C), when asked for
  operator Tensor() const {
    return logits;
  }  // NOLINT: a model in an expression is its logits; by value, to outlive this Output
};

}  // namespace TESSERA_NS
}  // namespace tessera
