#pragma once
// How good answers are that a model gives without being told the right ones as it goes.
#include "tessera/models/decode.h"
#include "tessera/train/data/source.h"
#include "tessera/train/training/task.h"

namespace tessera {
inline namespace TESSERA_NS {

/// Answers that the commands follow at once.
constexpr int most_beam = 1024;

struct DecodedScores {
  Share right;   ///< answers that are right from the first token to the end
  Share errors;  ///< tokens to insert, drop or change, of the tokens of the right answers: the token error rate
  double seconds = 0;
};

/// Decodes every sample of a source of answers, a sample at a time on every worker.
DecodedScores evaluate_decoded(const Model& model, const data::Source& source, const DecodeOptions& options = {});

/// The least number of tokens to insert, drop or change that makes one of the other (Levenshtein 1966).
int64_t edit_distance(std::span<const int32_t> a, std::span<const int32_t> b);

}  // namespace TESSERA_NS
}  // namespace tessera
