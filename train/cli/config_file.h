#pragma once
// The configuration of a run, from weakest to strongest: defaults of the code, what the data set implies, a TOML
// recipe, and the command line (dedicated options and key=value). One table of keys, "section.key", feeds all of them,
// --help and config.toml. Keys of model. and position. come from the registries and depend on the names chosen, so
// everything is collected first and checked together in resolve().
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/core/error.h"
#include "tessera/train/training/config.h"

namespace tessera::cli {

/// Wrong usage: the program exits with 2 instead of 1.
struct Usage : Error {
  using Error::Error;
};
template <class... A>
[[noreturn]] void wrong_usage(fmt::format_string<A...> facts, A&&... a) {
  throw Usage(fmt::format(facts, std::forward<A>(a)...));
}

using Key = RunKey;
/// "optim" of "optim.lr"; a key without a section is its own.
std::string_view section_of(std::string_view key);

/// An option with a name of its own for a key: --batch-size for train.batch_size.
struct Shortcut {
  const char* option;  ///< "batch-size"
  const char* key;     ///< "train.batch_size"
};
std::span<const Shortcut> shortcuts();

/// Keys of one model, with the encoding chosen for it ("": its own), or of one encoding (a composition's keys are NAME.KEY). Unknown
/// names throw Error with the nearest one.
std::vector<Key> model_keys(std::string_view model, std::string_view position = "");
std::vector<Key> position_keys(std::string_view position);

class ConfigLayers {
 public:
  /// Collects the keys of a recipe. Throws Usage "source:line:column: what" on a syntax error or a value of no known
  /// type, and when there is no key at all, more than a megabyte of text, or brackets more than 64 deep.
  void read(std::string_view toml, const std::string& source);
  /// read() of a file, or of an embedded recipe by its name. Throws Usage if there is neither.
  void read_recipe(const std::string& path_or_name);
  /// "section.key=value" from the command line.
  void assign(std::string_view assignment);
  /// A value of a full key from the command line.
  void set(std::string_view key, std::string value);
  /// The keys that were said so far, as they were said.
  std::vector<std::string> keys() const;
  /// A default that is weaker than any recipe; ignored if the model or encoding has no such key.
  void imply(std::string_view key, Value value);
  /// A value that is stronger than the recipe and weaker than the command line.
  void adapt(std::string_view key, Value value);
  /// Was the key said, in a recipe or on the command line? Null if not.
  const Value* given(std::string_view key) const;
  /// The value said last, or `fallback`.
  std::string given(std::string_view key, std::string_view fallback) const;

  /// Checks every key and value. Throws Usage naming the nearest known key, or what was expected. A key without its section is one of
  /// the model's ("depth"), and no other. With `complete` false the model's keys are only those that somebody said: train_run() asks
  /// the data for the others.
  RunConfig resolve(bool complete = true) const;
  /// For a command that has a use for the keys of the model and of the encoding, and for `used`: throws Usage when another was said.
  void only(std::string_view command, std::span<const std::string_view> used = {});
  /// Every key with its help, its domain and the value in force, one a line, for --help. Throws as resolve() does.
  std::string help() const;
  /// What stronger layers replaced as a whole, a line each: "--model replaces the recipe's [model] section".
  std::vector<std::string> replaced() const;

 private:
  enum class Layer { implied, recipe, adapted, command };  // weakest first
  struct Entry {
    std::string key;
    Value value;
    std::string origin;  ///< "where.toml:3" or empty
    Layer layer;
  };
  bool of_another_optimiser(const Entry& e) const;
  bool of_another_model(const Entry& e) const;
  const Entry* commanded(std::string_view key) const;
  bool overruled(const Entry& e) const;
  const Entry* last(std::string_view key) const;
  std::vector<const Entry*> in_force() const;
  /// Returns the full name of the key, empty if an implied one does not exist.
  std::string apply(const Entry& e, std::span<const Key> keys, Options& to) const;
  const Key* find(const Entry& e, std::span<const Key> keys, const std::string& at) const;
  [[noreturn]] void unknown_key(const Entry& e, std::span<const Key> keys, const Options& to,
                                const std::string& at) const;
  /// Those of the model and of the encoding that were chosen, and of the run, with the values they have when nobody
  /// says any.
  std::vector<Key> known_keys() const;
  std::vector<Entry> entries_;
  std::optional<std::vector<std::string>> used_;  ///< of run_keys(); all of them unless only() said which
};

/// The help of a key and the values it takes: "the optimiser (adamw | sgd)".
std::string with_domain(const Key& key);

}  // namespace tessera::cli
