#pragma once
#include "tessera/core/run.h"
#include "tessera/core/tape.h"

namespace tessera {

/// What stochastic depth multiplies a sample's branch with: 0 with probability p, else 1 / (1 - p); 1 when not training.
inline double drop_path_factor(double p, Key key, const Run& run, int64_t sample_in_shard) {
  if (!run.training() || p <= 0) return 1;
  return stream(run, key, sample_in_shard).uniform(0) < p ? 0 : 1 / (1 - p);
}

inline namespace TESSERA_NS {

// Randomness is a pure function of (run.seed, run.step, sample in the global batch, key, element): the masks are computed again in the
// backward pass and do not depend on threads or on how the batch was cut. The first dimension of x counts samples. Evaluation and p = 0
// return x itself. Throws Error unless 0 <= p < 1.

/// Each element is 0 with probability p, else divided by 1 - p (Srivastava et al. 2014). x (B, ...) -> (B, ...).
Tensor dropout(const Tensor& x, double p, Key key, const Run& run);

/// Stochastic depth (Huang et al. 2016): each sample is 0 with probability p, else divided by 1 - p. x (B, ...) -> (B, ...).
Tensor drop_path(const Tensor& x, double p, Key key, const Run& run);

/// x + drop_path(branch, p, key, run) in one pass: the end of a residual block. Throws Error if the shapes differ.
Tensor add_drop_path(const Tensor& x, const Tensor& branch, double p, Key key, const Run& run);

}  // namespace TESSERA_NS
}  // namespace tessera
