#include "tessera/train/training/loss.h"

#include <algorithm>
#include <cmath>

#include "tessera/core/ops/loss.h"

namespace tessera {
inline namespace TESSERA_NS {

Tensor soft_cross_entropy(const Tensor& logits, const Batch& shard, double smoothing) {
  if (logits.rank() != 2 || logits.dim(0) != shard.size()) {
    fail("soft_cross_entropy", "logits are {} for {} images, expected (images, classes)", logits.shape().str(),
         shard.size());
  }
  if (shard.of < shard.size())
    fail("soft_cross_entropy", "the shard has {} images but Batch::of says {} in all", shard.size(), shard.of);
  const double share = 1.0 / shard.of;
  if (shard.targets) return soft_cross_entropy(logits, shard.targets, smoothing, share);
  return soft_cross_entropy(logits, shard.labels, smoothing, share);
}

double softmax_sum(std::span<const real> z) {
  const auto most = static_cast<double>(*std::ranges::max_element(z));
  double sum = 0;
  for (const real v : z) sum += std::exp(static_cast<double>(v) - most);
  return sum;
}

double surprise(std::span<const real> z, int32_t label) {
  const auto most = static_cast<double>(*std::ranges::max_element(z));
  return std::log(softmax_sum(z)) - (static_cast<double>(z[static_cast<size_t>(label)]) - most);
}

}  // namespace TESSERA_NS
}  // namespace tessera
