#pragma once
// How good a model is on a set of labelled images.
#include <vector>

#include "models/model.h"
#include "train/confusion.h"
#include "train/data/set.h"

namespace tessera {

struct Evaluation {
  double loss = 0;                   ///< mean cross-entropy, without smoothing
  double acc1 = 0;                   ///< share of images whose label has the largest logit, in [0, 1]
  double acc5 = 0;                   ///< whose label is among the five largest (1 with five classes or fewer)
  Confusion confusion;               ///< [label][prediction]
  Index predictions;                 ///< by image of the set
  std::vector<float> probabilities;  ///< of the predicted class
  double seconds = 0;
};

inline namespace TESSERA_NS {

/// Runs the model over the whole set in evaluation mode, eight images at a time on every worker; the result does not depend on
/// their number. Throws Error on an empty set, or on logits that do not fit its classes.
Evaluation evaluate(const Model& model, const data::Set& set);

}  // namespace TESSERA_NS
}  // namespace tessera
