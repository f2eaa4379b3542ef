#pragma once
// What a forward pass is told: whether we train, and the coordinates of its random numbers.
#include <cstdint>
#include <string_view>

#include "tessera/core/rng.h"

namespace tessera {

enum class Mode { train, eval };

struct Run {
  Mode mode = Mode::eval;
  uint64_t seed = 0;  ///< of the run
  uint64_t step = 0;  ///< optimiser step
  int64_t first = 0;  ///< index in the global batch of this shard's first sample
  bool training() const { return mode == Mode::train; }
};

/// Names a source of randomness: the hash of the path of the layer that owns it, taken when the layer is built.
struct Key {
  uint64_t value = 0;
};
inline Key key(std::string_view path) { return {rng::hash(path)}; }

/// The stream of one sample at one source in one step: its e-th number depends on nothing but (seed, step, sample, key, e).
inline rng::Stream stream(const Run& run, Key k, int64_t sample_in_shard) {
  return rng::Stream(
      rng::mix(rng::mix(rng::mix(run.seed ^ k.value) + run.step) + static_cast<uint64_t>(run.first + sample_in_shard)));
}

}  // namespace tessera
