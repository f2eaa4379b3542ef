#pragma once
// A model: its .h and .cpp and one row of models/registry.cpp, or a row that a program adds (models/row.h makes it).
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tessera/nn/position.h"
#include "tessera/nn/weights.h"

namespace tessera {
inline namespace TESSERA_NS {

struct Input {
  Input() = default;
  Input(Tensor t) : x(std::move(t)) {}  // NOLINT: implicit by design
  Tensor x;                             ///< images (B, H, W, C), channels last, or sequences (B, T, F)
  Index lengths;                        ///< valid frames per sample, or empty
  bool features = false;                ///< fill Output::stages
};
struct Output {
  Tensor logits;               ///< (B, classes)
  std::vector<Tensor> stages;  ///< each stage's map (B, h, w, C), when asked for
  operator Tensor() const {
    return logits;
  }  // NOLINT: a model in an expression is its logits; by value, to outlive this Output
};

struct Model {
  virtual ~Model() = default;
  virtual Output forward(const Run&, const Input&) const = 0;
};

/// What a model takes, or what data hold.
struct InputShape {
  enum class Kind { image, frames, tokens };
  Kind kind = Kind::image;
  int h = 0, w = 0, channels = 0;  ///< images (B, h, w, channels)
  int T = 0;                       ///< steps of a sequence; 0: any number
  int features = 0;                ///< frames (B, T, features)
  int vocabulary = 0;              ///< tokens (B, T): whole numbers below it

  /// Of so many samples in memory; sequences of any length have 128 steps.
  Shape batch(int samples) const;
  /// "images of 32 x 32 with 3 channels", "sequences of 80 features", "sequences of 256 kinds of tokens"
  std::string str() const;
  bool operator==(const InputShape&) const = default;
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
