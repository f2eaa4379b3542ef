#pragma once
// How good a model is on a set of samples.
#include <vector>

#include "tessera/train/data/source.h"
#include "tessera/train/training/classification.h"
#include "tessera/train/training/confusion.h"
#include "tessera/train/training/world.h"

namespace tessera {

struct Evaluation {
  double loss = 0;      ///< mean over the samples, without smoothing; NaN if any answer is not finite
  double acc1 = 0;      ///< the task's first metric: the share of samples whose label has the largest logit
  double acc5 = 0;      ///< its second: the share whose label is among the five largest
  Tally tally;          ///< what they were computed from
  Confusion confusion;  ///< [label][prediction]; empty without classes
  Index predictions;    ///< by sample of the source; no_class where the answer names none
  std::vector<float> probabilities;  ///< of the predicted class; 0 where there is none
  size_t undecided = 0;              ///< samples whose answer is not finite: wrong, and not in `confusion`
  double seconds = 0;
};

inline namespace TESSERA_NS {

/// Runs the model over all samples in evaluation mode, eight samples at a time on every worker; the result does not depend on
/// their number. Throws Error on an empty source, or on answers that do not fit the task.
Evaluation evaluate(const Model& model, const data::Source& source, const Task& task, World& world = solo());
/// The same for samples that are classified.
Evaluation evaluate(const Model& model, const data::Source& source);

}  // namespace TESSERA_NS
}  // namespace tessera
