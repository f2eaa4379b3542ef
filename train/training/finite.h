#pragma once
// Where a number stopped being one.
#include <string>

#include "tessera/models/model.h"

namespace tessera {
inline namespace TESSERA_NS {

/// "blocks.0.mlp.fc1.weight[17] is nan" for the first value that is no finite number; empty if all are.
std::string not_finite(const std::string& name, const Tensor& values);
/// The same over all parameters and buffers.
std::string not_finite(const Params& params);

/// Runs the model on `input` and says where the first number appears that is not finite: a weight, the input, or
/// "the output of attention in blocks.3.attn". Empty if there is none up to the logits. Costs a forward pass.
std::string first_not_finite(const Model& model, const Params& params, const Run& run, const Input& input);

}  // namespace TESSERA_NS
}  // namespace tessera
