#pragma once
// From a model that says what comes next to a whole answer: greedily, or with a beam. Free of what the model is: it needs logits (B, S, K)
// of Input::target (B, S), as models/transformer.h has them.
#include "tessera/models/model.h"

namespace tessera {

/// Token numbers that are no symbols. Symbols begin at `symbols`.
struct SpecialTokens {
  static constexpr int pad = 0, begin = 1, end = 2, symbols = 3;
};

inline namespace TESSERA_NS {

struct DecodeOptions {
  int beam = 1;               ///< answers that are followed at once; 1: greedy, the likeliest token each time
  int most = 63;              ///< tokens of an answer, without begin and end; a longer one is cut
  double length_penalty = 0;  ///< alpha of Wu et al. 2016: finished answers compare by log p / ((5 + length) / 6)^alpha
};

struct Decoded {
  Index tokens;                ///< without begin and end
  double log_probability = 0;  ///< of these tokens and the end
  bool ended = false;          ///< false: cut after `most` tokens
};

/// An answer for each sample of `input`, whose target is not looked at. What the model leaves in Output::state in the first step it is
/// given in the others. Throws Error on a beam or a length below 1, on answers that are not (B, S, K) or not finite.
std::vector<Decoded> decode(const Model& model, const Input& input, const DecodeOptions& options = {});

}  // namespace TESSERA_NS
}  // namespace tessera
