#pragma once
// How the learning rate moves. Epochs are fractions, so the rate changes every step. Free of `real`.
#include "tessera/train/training/config.h"

namespace tessera {

/// Linear warm-up, then half a cosine (Loshchilov, Hutter 2017).
struct Cosine {
  double lr = 1e-3;
  double epochs = 30;  ///< all of them, warm-up included
  double warmup = 0;   ///< epochs of linear growth from warmup_lr to lr
  double warmup_lr = 0;
  double min_lr = 0;  ///< at the end, and after it
  /// The rate at a moment of the run. Throws Error if a field or `epoch` is negative or not finite.
  double operator()(double epoch) const;
};

/// The rate at a moment of a run of `epochs` epochs, as its configuration says. Throws Error if that is no number of at least 0.
double learning_rate(const SchedConfig& sched, double lr, double epochs, double epoch);

}  // namespace tessera
