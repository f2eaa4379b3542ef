// What a plan says that nobody knows. Such a word is a slip of whoever wrote the plan, and told before anything is made; what is known and
// cannot be in the company of a cell is that cell's own (Cell::refused).
#include <fmt/format.h>

#include <utility>

#include "tessera/models/model.h"
#include "tessera/train/cli/config_file.h"
#include "tessera/train/cli/data_name.h"
#include "tessera/train/lab/plan.h"
#include "tessera/train/training/spellings.h"

namespace tessera::lab {
using namespace cli;
namespace {

/// The keys of a run, of every model and of every encoding, whose keys a composition calls position.NAME.KEY.
std::vector<RunKey> all_keys() {
  std::vector<RunKey> all(run_keys().begin(), run_keys().end());
  for (const ModelRow& row : models())
    for (RunKey& key : model_keys(row.name)) all.push_back(std::move(key));
  for (const PositionRow& row : positions())
    for (RunKey& key : position_keys(row.name)) {
      RunKey composed = key;
      composed.name.insert(section_of(key.name).size(), fmt::format(".{}", row.name));
      all.push_back(std::move(key)), all.push_back(std::move(composed));
    }
  return all;
}

/// Looks at one key and value. Throws Error, in the words of `tessera train`.
class Known {
 public:
  /// `names`: a model and an encoding of the plan, which are told what keys they have where none is near.
  explicit Known(const ConfigLayers& names) : keys_(all_keys()), names_(names) {}

  void check(const std::string& key, const Value& value) const {
    if (key == "model.name") return void(tessera::model(text(value)));
    if (key == "position.name") return void(position_keys(text(value)));
    if (key == "data.name") return check_data_name(text(value));
    std::string why;
    for (const RunKey& k : keys_) {
      if (k.name != key) continue;
      try {
        return void(convert(key, canonical(key, value), k.value, k.domain, section_of(key)));
      } catch (const Error& e) {  // somebody else's key of this name may take it
        if (why.empty()) why = e.what();
      }
    }
    if (!why.empty()) throw Error(why);
    const bool model = section_of(key) == "model" && !advice(key.substr(key.find('.') + 1)).empty();
    std::vector<std::string> words;
    for (const RunKey& k : keys_) words.push_back(k.name);
    if (const std::string near = nearest(key, words); !near.empty() && !model)
      wrong_usage("unknown key {}; did you mean {}?", shown(key), near);
    ConfigLayers layers = names_;
    layers.set(key, text(value));
    layers.resolve();
  }

 private:
  std::vector<RunKey> keys_;
  const ConfigLayers& names_;
};

}  // namespace

void refuse_unknown(const Words& w) {
  ConfigLayers recipe, names;
  if (!w.recipe.empty()) recipe.read(w.recipe_text, w.recipe);
  std::vector<const Assignment*> all;
  for (const Assignments* of : {&w.run, &w.grid})
    for (const Assignment& a : *of) all.push_back(&a);
  for (const Extra& e : w.extra)
    for (const Assignment& a : e.said) all.push_back(&a);
  for (const char* key : {"position.name", "model.name"}) {
    std::string name = recipe.given(key, "");
    for (const Assignment* a : all)
      if (a->key == key && name.empty()) name = a->values[0];
    if (!name.empty()) names.set(key, name);
  }
  const Known known(names);
  const auto look = [&](const std::string& at, const std::string& key, const Value& value) {
    try {
      known.check(key, value);
    } catch (const Error& e) {
      wrong_usage("{}{}{}", at, at.empty() ? "" : ": ", e.what());
    }
  };
  for (const std::string& key : recipe.keys())
    if (const Value* value = recipe.given(key)) look(w.recipe, full_key(key), *value);
  for (const bool name : {true, false})  // a name first: what is wrong with a key may be the model's
    for (const Assignment* a : all)
      for (const std::string& value : a->values)
        if (a->key.ends_with(".name") == name) look(a->origin, a->key, value);
}

}  // namespace tessera::lab
