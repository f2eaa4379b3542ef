#pragma once
// The subcommands of `tessera`. Each adds itself with its options to the parser; when it is chosen, `chosen` is what to
// do, and returns the exit code.
#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <vector>

#include "tessera/train/cli/config_file.h"

namespace tessera::cli {

using Action = std::function<int()>;

void add_train(CLI::App& app, Action& chosen);
void add_eval(CLI::App& app, Action& chosen);
void add_predict(CLI::App& app, Action& chosen);
void add_forward(CLI::App& app, Action& chosen);
void add_init(CLI::App& app, Action& chosen);
void add_inspect(CLI::App& app, Action& chosen);
void add_models(CLI::App& app, Action& chosen);
void add_positions(CLI::App& app, Action& chosen);
void add_bench(CLI::App& app, Action& chosen);
void add_data(CLI::App& app, Action& chosen);

/// --model, --position, --threads and key=value, for the subcommands that build a model.
struct ModelOptions {
  std::string model, position;
  int threads = 0;
  std::vector<std::string> assignments;

  /// `used`: the keys of a run that the command reads; they must outlive the parser.
  void add_to(CLI::App& app, bool model_required, std::span<const std::string_view> used = {});
  /// The configuration that these options say to a command, which has no use for keys of a run but those it names.
  RunConfig resolve(std::string_view command, std::span<const std::string_view> used = {}) const;
  /// The same with those keys of the model only that somebody said, for complete() to ask the data for the others.
  RunConfig said(std::string_view command, std::span<const std::string_view> used = {}) const;

 private:
  ConfigLayers layers(std::string_view command, std::span<const std::string_view> used) const;
};

/// The keys with the values they have after all that was `said`, for --help. What is wrong there stands above the keys that there are with
/// the `names` of model and encoding alone, or when these are wrong with `none`.
using SaidSo = std::function<ConfigLayers()>;
std::string help_of_keys(const std::string& title, const SaidSo& said, const SaidSo& names, const SaidSo& none);

/// Sets the thread count of a --threads option; 0: the default.
void use_threads(int threads);
/// Matrix products from now on compute in the precision of that name; throws Usage when there is none.
void use_precision(const std::string& name);

}  // namespace tessera::cli
