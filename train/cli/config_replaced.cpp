// What of a recipe gives way as a whole to a model, an encoding or an optimiser that is named elsewhere.
#include <fmt/format.h>

#include <algorithm>

#include "tessera/models/model.h"
#include "tessera/train/cli/config_file.h"

namespace tessera::cli {

// An optimiser named on the command line has learning rate, decay and momenta of its own: those of a recipe are for another one, and so is
// what only that one reads.
bool ConfigLayers::of_another_optimiser(const Entry& e) const {
  constexpr std::string_view of_them_all[] = {"optim.lr",  "optim.weight_decay", "optim.betas",
                                              "optim.eps", "optim.momentum",     "optim.nesterov"};
  const auto said = [&](std::string_view key, std::string standard, Layer strongest) {
    Layer by = Layer::implied;
    for (const Entry& s : entries_)
      if (s.key == key && s.layer <= strongest && s.layer >= by) standard = text(s.value), by = s.layer;
    return standard;
  };
  const auto opt = [&](Layer strongest) { return said("optim.opt", OptimConfig().opt, strongest); };
  const auto steps = [&](Layer strongest) {  // sam has another one take them
    const std::string name = opt(strongest);
    return name == "sam" ? said("optim.base_optimizer", OptimConfig().base_optimizer, strongest) : name;
  };
  if (std::ranges::count(of_them_all, e.key) > 0) return steps(Layer::recipe) != steps(Layer::command);
  const auto key = std::ranges::find(run_keys(), e.key, &Key::name);
  if (key == run_keys().end() || !key->domain.with || key->domain.with != std::string_view("opt")) return false;
  const std::string now = opt(Layer::command);
  return now != opt(Layer::recipe) &&
         std::ranges::none_of(key->domain.is, [&](const char* name) { return name && name == now; });
}

// Patterns of parameters are for the names that models of one family have.
bool ConfigLayers::of_another_model(const Entry& e) const {
  if (e.key != "optim.lr_scale" && e.key != "optim.freeze") return false;
  std::string recipe;
  for (const Entry& s : entries_)
    if (s.key == "model.name" && s.layer == Layer::recipe) recipe = text(s.value);
  if (recipe.empty()) return false;
  const auto family = [](const std::string& name) {
    const auto row = std::ranges::find(models(), name, &ModelRow::name);
    return row == models().end() ? name : row->family;
  };
  const Entry* by = commanded("model.name");
  return by && family(text(by->value)) != family(recipe);
}

// The strongest that says it on the command line, or brings it along with weights; or null.
const ConfigLayers::Entry* ConfigLayers::commanded(std::string_view key) const {
  const Entry* by = nullptr;
  for (const Entry& e : entries_)
    if (e.key == key && e.layer > Layer::recipe && (!by || e.layer >= by->layer)) by = &e;
  return by;
}

// A model named on the command line, or brought along by weights, is a whole set of keys: it replaces the recipe's [model], and with it the encoding
// that recipe chose; an encoding named on the command line replaces [position].
bool ConfigLayers::overruled(const Entry& e) const {
  if (e.layer != Layer::recipe) return false;
  const auto section = section_of(e.key);
  if (section == "model") return commanded("model.name") != nullptr;
  if (section == "optim") return of_another_optimiser(e) || of_another_model(e);
  return section == "position" && (commanded("position.name") || commanded("model.name"));
}

std::vector<std::string> ConfigLayers::replaced() const {
  const auto any = [&](auto which) {
    return std::ranges::any_of(entries_, [&](const Entry& e) { return overruled(e) && which(e); });
  };
  const auto in = [](const char* section) {
    return [=](const Entry& e) { return section_of(e.key) == section && e.key != std::string(section) + ".name"; };
  };
  const auto by = [&](const char* key, const char* option) {
    const Entry* e = commanded(key);
    return e && e->layer == Layer::adapted ? "--weights" : option;
  };
  std::vector<std::string> lines;
  if (any(in("model")))
    lines.push_back(fmt::format("{} replaces the recipe's [model] section", by("model.name", "--model")));
  if (any(in("position")))
    lines.push_back(fmt::format("{} replaces the recipe's [position] section", commanded("position.name")
                                                                                   ? by("position.name", "--position")
                                                                                   : by("model.name", "--model")));
  if (any([&](const Entry& e) { return of_another_optimiser(e); }))
    lines.emplace_back(
        "optim.opt replaces the learning rate, weight decay, momenta and all that is its optimiser's in the recipe's "
        "[optim] section");
  if (any([&](const Entry& e) { return of_another_model(e); }))
    lines.push_back(fmt::format("{} leaves out optim.lr_scale and optim.freeze of the recipe, which name parameters",
                                by("model.name", "--model")));
  return lines;
}

}  // namespace tessera::cli
