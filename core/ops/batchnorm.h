#pragma once
#include "tessera/core/run.h"
#include "tessera/core/tape.h"

namespace tessera {
inline namespace TESSERA_NS {

/// Batch normalisation (Ioffe, Szegedy 2015) over all dimensions but the last: x (..., C), w and b (C), running_mean and running_var
/// (C) buffers. Training normalises with this shard's own mean and biased variance, as data-parallel training does elsewhere, and
/// hands (count, mean, M2) to context().statistics; whoever collects them updates the buffers once a step (update_running).
/// Evaluation uses the buffers. Throws Error on mismatching widths, and when training with fewer than 2 values a channel.
Tensor batchnorm(const Tensor& x, const Tensor& w, const Tensor& b, const Tensor& running_mean,
                 const Tensor& running_var, double eps, const Run& run);

/// Merges the statistics of one step, in the order given (Chan, Golub, LeVeque 1979), and moves each buffer: running =
/// (1 - momentum) running + momentum new, with the unbiased variance, as PyTorch does.
void update_running(std::span<const BatchStatistics> statistics, double momentum = 0.1);

}  // namespace TESSERA_NS
}  // namespace tessera
