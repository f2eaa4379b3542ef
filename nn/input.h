#pragma once
// What a model is given and what it answers.
#include <string>
#include <vector>

#include "tessera/core/ints.h"

namespace tessera {
inline namespace TESSERA_NS {

/// One batch, or a shard of one. A model reads x or tokens, as its kind is.
struct Input {
  Input() = default;
  Input(Tensor t) : x(std::move(t)) {}  // NOLINT: implicit by design
  Tensor x;                             ///< images (B, H, W, C), channels last, or frames (B, T, F)
  Ints lengths;                 ///< valid frames or tokens of each sample, the rest is padding; none: all are valid
  Ints tokens;                  ///< (B, T) token numbers
  Ints target;                  ///< (B, S) tokens that a decoder is given
  Ints target_lengths;          ///< valid ones of each; none: all are
  std::vector<Tensor> state{};  ///< what an earlier call left in Output::state, each (B, ...), to go on from there
  bool features = false;        ///< fill Output::stages

  int size() const { return x ? x.dim(0) : tokens.count(); }
  /// Samples [a, b) as free views.
  Input rows(int a, int b) const {
    Input part(x ? x.rows(a, b) : Tensor());
    part.lengths = lengths.rows(a, b), part.tokens = tokens.rows(a, b);
    part.target = target.rows(a, b), part.target_lengths = target_lengths.rows(a, b);
    for (const Tensor& s : state) part.state.push_back(s.rows(a, b));
    part.features = features;
    return part;
  }
};

struct Output {
  Tensor logits;  ///< (B, classes), or (B, T, classes)
  Ints lengths;   ///< valid rows of each sample's logits; none: all that the input (a decoder: its target) calls valid
  std::vector<Tensor> stages;   ///< each stage's map (B, h, w, C), or (B, T, C) of sequences, when asked for
  std::vector<Tensor> state{};  ///< to go on from (Input::state): what an encoder said, or the segments seen so far
  operator Tensor() const {
    return logits;
  }  // NOLINT: a model in an expression is its logits; by value, to outlive this Output
};

/// What a model takes, or what data hold.
struct InputShape {
  enum class Kind { image, frames, tokens };
  Kind kind = Kind::image;
  int h = 0, w = 0, channels = 0;  ///< images (B, h, w, channels)
  int T = 0;                       ///< steps of a sequence; 0: any number
  int features = 0;                ///< frames (B, T, features)
  int vocabulary = 0;              ///< tokens (B, T): whole numbers below it
  int target = 0;                  ///< kinds of tokens of Input::target and of data's answers; 0: there are none

  /// Of so many samples in memory; sequences of any length have 128 steps.
  Shape batch(int samples) const;
  /// Zeros of that shape.
  Input zeros(int samples) const;
  /// "images of 32 x 32 with 3 channels", "sequences of 80 features", "sequences of 256 kinds of tokens"
  std::string str() const;
  bool ragged() const { return kind != Kind::image; }  ///< do lengths differ?
  const char* unit() const { return ragged() ? "sequence" : "image"; }
  bool operator==(const InputShape&) const = default;
};

}  // namespace TESSERA_NS
}  // namespace tessera
