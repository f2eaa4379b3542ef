#pragma once
// From what a person said to the configuration of a run: what nobody said follows the data and the weights. The same for one run and for
// the cells of a study.
#include <functional>
#include <string>
#include <string_view>

#include "tessera/train/cli/config_file.h"

namespace tessera::cli {

/// Completes what was said: finds data where none are named, takes the embedded recipe for them if `recipe` is empty (and puts its name
/// there), follows the weights it starts from, and leaves out augmentations that nobody asked for and these data do not survive. A line
/// for each choice goes to `say`. Throws Usage as ConfigLayers does, and Error on data that cannot be opened.
RunConfig run_config(ConfigLayers& config, std::string& recipe, const std::function<void(std::string_view)>& say);

}  // namespace tessera::cli
