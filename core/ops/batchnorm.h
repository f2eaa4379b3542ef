#pragma once
#include "tessera/core/ints.h"
#include "tessera/core/run.h"
#include "tessera/core/tape.h"

namespace tessera {
inline namespace TESSERA_NS {

/// Batch normalisation (Ioffe, Szegedy 2015) over all dimensions but the last: x (..., C), w and b (C), running_mean and running_var
/// (C) buffers. Training normalises with this shard's own mean and biased variance, as data-parallel training does elsewhere, and
/// hands (count, mean, M2) to context().statistics; whoever collects them updates the buffers once a step (update_running).
/// Evaluation uses the buffers. Throws Error on mismatching widths, and when training with fewer than 2 values a channel.
/// With lengths, x is a padded batch (B, T, C): the rows t >= lengths[b] of sample b are no part of mean, variance and count, whatever
/// stands there; they become 0 in both modes and get no gradient. Throws Error on lengths that are not of such a batch.
Tensor batchnorm(const Tensor& x, const Tensor& w, const Tensor& b, const Tensor& running_mean,
                 const Tensor& running_var, double eps, const Run& run, const Ints& lengths = {});

/// Merges the statistics of one step, in the order given (Chan, Golub, LeVeque 1979), and moves each buffer: running =
/// (1 - momentum) running + momentum new, with the unbiased variance, as PyTorch does.
void update_running(std::span<const BatchStatistics> statistics, double momentum = 0.1);

}  // namespace TESSERA_NS
}  // namespace tessera
