#pragma once
// A model: its .h and .cpp and one row of models/registry.cpp, or a row that a program adds (models/row.h makes it).
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tessera/nn/input.h"
#include "tessera/nn/position.h"
#include "tessera/nn/weights.h"

namespace tessera {
inline namespace TESSERA_NS {

struct Model {
  virtual ~Model() = default;
  virtual Output forward(const Run&, const Input&) const = 0;
};

/// Data, as a model must be made for them.
struct DataShape {
  std::string name;  ///< for messages: "cifar10"
  InputShape input;
  int classes = 0;
};

/// A row of the registry: a family ("vit") or a named configuration of one ("vit_tiny_patch16_224").
struct ModelRow {
  std::string name, family, reference;
  std::string position;  ///< the encoding a model of this row has unless told otherwise
  Options defaults;      ///< every key of the configuration with its value for this row
  /// Throws Error on a configuration that makes no sense.
  std::function<Places(const Options&)> places;
  std::function<std::unique_ptr<Model>(const Scope&, const Options&, const MakePosition&)> make;
  /// What a model of these options eats.
  std::function<InputShape(const Options&)> input;
  /// The inverse: to the options that somebody said it adds those that the data decide. Throws Error when what was
  /// said, or the row itself, is for other data. None: the row fits the data that it fits.
  std::function<void(const ModelRow&, Options& said, const DataShape&)> fit = nullptr;
  /// How the names of other programs' weights become ours, for io::load.
  std::vector<Rename> dialect = {};
  std::map<std::string, std::string, std::less<>> help = {};  ///< one line for each key of `defaults`
  Domains domains = {};                                       ///< the values each key takes
};

/// What a key that models of other programs have is called here: advice("ape") names learned+relative_position_bias. "" if nothing is
/// known.
std::string advice(std::string_view key);

/// All rows. A program may add its own with add_model(), from any thread and at any time: lists and rows seen before
/// stay as they are. Throws Error if the name is taken, empty or holds '+' or '.', or if the row has no `make`,
/// `places` or `input`. A row without a family is one; without a position it has "none".
const std::vector<ModelRow>& models();
void add_model(ModelRow row);
/// Throws Error with the nearest known name.
const ModelRow& model(std::string_view name);

/// Completes the options that were said of a model that is to learn from these data. Throws Error when they do not go
/// together.
void fit(const ModelRow& row, Options& said, const DataShape& data);

}  // namespace TESSERA_NS
}  // namespace tessera
