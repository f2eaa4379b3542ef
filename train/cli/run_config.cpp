#include "tessera/train/cli/run_config.h"

#include <algorithm>
#include <filesystem>

#include "tessera/train/cli/data_name.h"
#include "tessera/train/data/named.h"
#include "tessera/train/training/splits.h"

namespace tessera::cli {
namespace {

namespace fs = std::filesystem;
using Say = std::function<void(std::string_view)>;

/// Weights of a run directory bring their model and its positions along, unless a recipe names a model, or the command line another one
/// (`model`; empty: none). What follows the data (classes, channels, the size of images) is the new data's.
void follow_weights(ConfigLayers& config, const std::string& model) {
  const std::string run = config.given("train.weights", "");
  std::error_code none;
  if (run.empty() || !fs::is_regular_file(run + "/config.toml", none)) return;
  ConfigLayers saved;
  saved.read_recipe(run + "/config.toml");
  const RunConfig was = saved.resolve();
  if (!model.empty() && model != was.model) return;
  config.adapt("model.name", was.model), config.adapt("position.name", was.position);
  constexpr std::string_view of_the_data[] = {"num_classes",       "in_chans",   "img_size",
                                              "img_width",         "input_dim",  "vocab_size",
                                              "target_vocab_size", "max_length", "num_frames"};
  for (const auto& [key, value] : was.model_options)
    if (std::ranges::find(of_the_data, key) == std::end(of_the_data)) config.adapt("model." + key, value);
  if (config.given("position.name", "") != was.position) return;
  for (const auto& [key, value] : was.position_options) config.adapt("position." + key, value);
}

/// Which data, and without a recipe the embedded one for them. Returns whether that was done.
bool choose_default(ConfigLayers& config, std::string& recipe, const Say& say) {
  std::string data = config.given("data.name", "");
  if (data.empty()) {
    const DefaultData found = default_data(config.given("data.dir", ""));
    data = found.name;
    say(found.line);
  }
  const bool choose = recipe.empty();
  if (choose) {
    recipe = data::find_named(data)->recipe;
    config.read_recipe(recipe);
    say(fmt::format("recipe: {} (embedded)", recipe));
  }
  config.adapt("data.name", data);
  return choose;
}

/// A recipe that nobody chose must not ask for augmentations that this data set refuses.
void drop_augmentation(ConfigLayers& config) {
  RunConfig c = config.resolve();
  follow(c.data);
  const data::NamedData* named = data::find_named(c.data.name);
  if (c.data.name == "cifar10" || named->most_made > 0) return;  // what the embedded recipes are made for
  if (!c.augment.flip && c.augment.crop == 0) return;
  const data::Splits splits = data::open_splits(c.data.name, c.data.dir, {.img_size = c.data.img_size});
  const auto* set = dynamic_cast<const data::Set*>(splits.train.get());
  if (c.augment.flip && !(set && set->keeps_label(data::Augmentation::flip))) config.adapt("augment.flip", false);
  if (c.augment.crop && !(set && set->keeps_label(data::Augmentation::crop))) config.adapt("augment.crop", 0);
}

}  // namespace

RunConfig run_config(ConfigLayers& config, std::string& recipe, const Say& say) {
  const std::string said = config.given("model.name", "");  // by a person, not by the embedded recipe
  const bool chosen = choose_default(config, recipe, say);
  if (chosen || said.empty()) follow_weights(config, said);
  if (chosen) drop_augmentation(config);
  for (const std::string& line : config.replaced()) say(line);
  return config.resolve(false);
}

}  // namespace tessera::cli
