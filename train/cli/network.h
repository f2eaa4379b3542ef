#pragma once
// A model with its weights, as the command line builds it from a resolved configuration.
#include <memory>
#include <string>

#include "tessera/models/model.h"
#include "tessera/nn/position_weights.h"
#include "tessera/train/cli/config_file.h"

namespace tessera::cli {

struct Network {
  std::unique_ptr<Params> params;
  std::unique_ptr<Model> model;
  Places places;
  PositionTables positions;
  InputShape input;
};

/// With weights of the given seed, or without any (Draw::no). Throws Usage when the configuration or the pair of model and encoding
/// makes no sense.
Network build(const RunConfig& config, uint64_t seed, Draw draw = Draw::yes);

/// Fills the network from a file of weights of the same model, also of another grid or window: position tables follow by their
/// encoding's rule, and stderr has a line for every one that does. Throws Error when something does not fit.
void load(const Network& net, const RunConfig& config, const std::string& weights);

/// Sets every dropout and DropPath rate of the model and of the encoding to 0.
void without_dropout(RunConfig& config);

}  // namespace tessera::cli
