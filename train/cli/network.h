#pragma once
// A model with its weights, as the command line builds it from a resolved configuration.
#include <memory>
#include <string>

#include "models/model.h"
#include "train/cli/config_file.h"

namespace tessera::cli {

struct Network {
  std::unique_ptr<Params> params;
  std::unique_ptr<Model> model;
  Places places;
  Shape input;  ///< of one sample in memory: (1, h, w, channels) or (1, frames, features)
};

/// With weights of the given seed, or without any (Draw::no). Throws Usage when the configuration or the pair of model and encoding
/// makes no sense.
Network build(const Config& config, uint64_t seed, Draw draw = Draw::yes);

/// Sets every dropout and DropPath rate of the model and of the encoding to 0.
void without_dropout(Config& config);

}  // namespace tessera::cli
