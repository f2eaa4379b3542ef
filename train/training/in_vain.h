#pragma once
// What a run says of options that do nothing in it.
#include <string>
#include <vector>

#include "tessera/nn/input.h"
#include "tessera/nn/params.h"
#include "tessera/train/training/config.h"

namespace tessera {
inline namespace TESSERA_NS {

/// A line for the parts of the plan that lie behind the last epoch, and one for each option without an effect on this model and its
/// `params`, whose samples are of the form `sample`. None of it is refused: a recipe is tried for an epoch, a study has one option for many
/// models, and runs of a time when nothing was said of it go on.
std::vector<std::string> in_vain(const RunConfig& config, const InputShape& sample, const Params& params);

}  // namespace TESSERA_NS
}  // namespace tessera
