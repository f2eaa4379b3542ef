#pragma once
#include <functional>

#include "tessera/nn/input.h"

namespace tessera {
inline namespace TESSERA_NS {

/// What a model is beside a Model when its first weights follow from the data: a whitening of the input, layers scaled to what they see.
/// The trainer asks for it before the first step of fresh weights; a run that resumes or starts from weights has them from there. Until
/// then the model works, with some stand-in.
struct Calibrated {
  virtual ~Calibrated() = default;
  /// How many training samples it asks for; it is shown fewer where there are no more. 0: none, and calibrate() is not called.
  virtual int calibration_samples() const = 0;
  /// Sets weights (Tensor::rewrite) from samples that come unaugmented, normalised as the network gets them: each call of `next` gives some
  /// more, after the last an Input of size 0. The result may depend on their values and order alone, not on threads or how they are cut.
  virtual void calibrate(const std::function<Input()>& next) = 0;
};

}  // namespace TESSERA_NS
}  // namespace tessera
