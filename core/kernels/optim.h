#pragma once
#include <stdint.h>

#include "tessera/core/real.h"

namespace tessera {
inline namespace TESSERA_NS {

/// The constants of one optimiser step for one parameter. Computed in double, applied in `real`.
struct AdamWStep {
  real clip;    ///< the gradient is multiplied by this first
  real keep;    ///< 1 - lr weight_decay
  real share1;  ///< 1 - beta1, rounded once: in float 1 - 0.999f is not 0.001f
  real beta2, share2;
  real rate;          ///< lr / (1 - beta1^t)
  real inverse_root;  ///< 1 / sqrt(1 - beta2^t)
  real eps;
  real ema;  ///< 1 - decay of the average, used if there is one
};
struct SgdStep {
  real clip, rate, weight_decay, momentum;
  real straight, along;  ///< the step is straight * gradient + along * momentum buffer (Nesterov's or the plain one)
  real ema;
};

/// The optimiser's passes over all weights.
struct OptimKernels {
  /// y = the sum of `lanes` arrays in a fixed tree, ((x0 + x1) + (x2 + x3)) + ((x4 + x5) + (x6 + x7)) for 8; y may be
  /// one of them.
  void (*sum_lanes)(const real* const* x, int lanes, real* y, int64_t n);
  /// *sum = the sum of the squares of x
  void (*square_sum)(const real* x, double* sum, int64_t n);
  /// One step on weights w with gradient g and moments m, v; ema (or null) follows w.
  void (*adamw)(const AdamWStep* step, const real* g, real* w, real* m, real* v, real* ema, int64_t n);
  /// The same with the momentum buffer m (or null).
  void (*sgd)(const SgdStep* step, const real* g, real* w, real* m, real* ema, int64_t n);
  /// y = (1 - share) y + share x
  void (*average)(const real* x, real* y, real share, int64_t n);
};

}  // namespace TESSERA_NS
}  // namespace tessera
