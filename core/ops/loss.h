#pragma once
#include <span>

#include "tessera/core/tape.h"

namespace tessera {
inline namespace TESSERA_NS {

/// scale * sum over rows of -sum_k t'_k ln softmax(z)_k with smoothed targets t' = (1 - smoothing) t + smoothing / K (Szegedy et al. 2016).
/// z (..., K) logits -> (1). `scale` is 1 / (rows of the whole global batch), so that shards and accumulation parts add up to the mean.

/// t is 1 at each row's label. Throws Error on a label outside of [0, K), and on a wrong number of them.
Tensor soft_cross_entropy(const Tensor& z, std::span<const int32_t> labels, double smoothing, double scale);
/// t given: targets of z's shape, mixed labels for example. They get no gradient: Error if they are tracked.
Tensor soft_cross_entropy(const Tensor& z, const Tensor& targets, double smoothing, double scale);

/// The mean of (x - y)^2 over all elements, of one shape -> (1).
Tensor mse(const Tensor& x, const Tensor& y);

}  // namespace TESSERA_NS
}  // namespace tessera
