#pragma once
// A model: one file under models/ and one row of models/registry.cpp.
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

/// A row of the registry: a family ("vit") or a named configuration of one ("vit_tiny_patch16_224").
struct ModelRow {
  std::string name, family, reference;
  const char* position;  ///< the encoding a model of this row has unless told otherwise
  Options defaults;      ///< every key of the configuration with its value for this row
  /// Throws Error on a configuration that makes no sense.
  std::function<Places(const Options&)> places;
  std::function<std::unique_ptr<Model>(const Scope&, const Options&, const MakePosition&)> make;
  /// How the names of other programs' weights become ours, for io::load.
  std::vector<Rename> dialect = {};
  std::map<std::string, std::string, std::less<>> help = {};  ///< one line for each key of `defaults`
  Domains domains = {};                                       ///< the values each key takes
};

/// What a key that models of other programs have is called here: advice("ape") names learned+relative_position_bias. "" if nothing is
/// known.
std::string advice(std::string_view key);

const std::vector<ModelRow>& models();
/// Throws Error with the nearest known name.
const ModelRow& model(std::string_view name);

}  // namespace TESSERA_NS
}  // namespace tessera
