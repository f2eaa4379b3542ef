#pragma once
// Where a number stopped being one.
#include <fmt/format.h>

#include <string>
#include <utility>

#include "tessera/core/error.h"
#include "tessera/models/model.h"
#include "tessera/train/training/evaluate.h"
#include "tessera/train/training/lanes.h"

namespace tessera {

/// A run whose numbers stopped being any: what it was told to do is at fault, and neither the machine nor its disk.
struct NotFinite : Error {
  using Error::Error;
};
template <class... A>
[[noreturn]] void fail_not_finite(fmt::format_string<A...> facts, A&&... a) {
  throw NotFinite("[train] " + fmt::format(facts, std::forward<A>(a)...));
}

inline namespace TESSERA_NS {

/// "blocks.0.mlp.fc1.weight[17] is nan" for the first value that is no finite number; empty if all are.
std::string not_finite(const std::string& name, const Tensor& values);
/// The same over all parameters and buffers.
std::string not_finite(const Params& params);

/// Runs the model on `input` and says where the first number appears that is not finite: a weight, the input, or
/// "linear_add of blocks.3.mlp.fc2: output (8, 65, 128) from (8, 65, 256), (128, 256), (128,), (8, 65, 128)". Infinity that an op was
/// given it may pass on: constants may hold it by intention (sasa's mask). Empty if there is none up to the logits.
std::string first_not_finite(const Model& model, const Params& params, const Run& run, const Input& input);

/// Runs the model on the samples of `source` whose answer in `e` is not finite, until one says where; "the loss itself" if none does.
std::string first_not_finite(const Model& model, const Params& params, const data::Source& source, const Task& task,
                             const Evaluation& e);

/// The same of a whole step, run again in the shards in which Lanes cuts it: a weight, the input or targets, the output of an op, the
/// loss included; and if all of these are finite, the gradient of an op's output or of a parameter. Weights and statistics stay.
std::string first_not_finite(const Params& params, const Run& run, const Batch& batch, int shard_size,
                             Lanes::Loss loss);

}  // namespace TESSERA_NS
}  // namespace tessera
