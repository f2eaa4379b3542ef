#pragma once
// How good a model is on a set of labelled images.
#include <span>
#include <vector>

#include "tessera/models/model.h"
#include "tessera/train/data/set.h"
#include "tessera/train/training/confusion.h"

namespace tessera {

constexpr int no_class = -1;

struct Evaluation {
  double loss = 0;                   ///< mean cross-entropy, without smoothing; NaN if any logit is not finite
  double acc1 = 0;                   ///< share of images whose label has the largest logit, in [0, 1]
  double acc5 = 0;                   ///< whose label is among the five largest (1 with five classes or fewer)
  Confusion confusion;               ///< [label][prediction]
  Index predictions;                 ///< by image of the set; no_class where the logits name none
  std::vector<float> probabilities;  ///< of the predicted class; 0 where there is none
  size_t undecided = 0;              ///< images whose logits name no class: wrong, and not in `confusion`
  double seconds = 0;
};

inline namespace TESSERA_NS {

/// The class that the logits of one image name: the largest, of equal ones the first; no_class if there are none or one of them
/// is not finite, since a comparison with NaN says nothing. The one place where logits become an answer.
int named_class(std::span<const real> logits);
/// Softmax of the logits of one image, in double. Throws Error where named_class() says no_class.
std::vector<double> probabilities(std::span<const real> logits);

/// Runs the model over the whole set in evaluation mode, eight images at a time on every worker; the result does not depend on
/// their number. Throws Error on an empty set, or on logits that do not fit its classes.
Evaluation evaluate(const Model& model, const data::Set& set);

}  // namespace TESSERA_NS
}  // namespace tessera
