#include "tessera/train/cli/config_file.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <optional>
#include <utility>

#include "tessera/core/io/read_file.h"
#include "tessera/models/model.h"
#include "tessera/train/cli/nesting.h"
#include "tessera/train/cli/recipes.h"
#include "tessera/train/training/spellings.h"

namespace tessera::cli {
namespace {

std::string one_line(std::string s) {
  std::replace(s.begin(), s.end(), '\n', ' ');
  return s;
}

std::string place(const std::string& source, const toml::source_region& r) {
  return fmt::format("{}:{}:{}", source, r.begin.line, r.begin.column);
}

/// A TOML value in our types; a list of words becomes its text, which the key's own type reads.
std::optional<Value> value_of(const toml::node& n) {
  if (const auto* b = n.as_boolean()) return Value(b->get());
  if (const auto* s = n.as_string()) return Value(s->get());
  if (const auto* f = n.as_floating_point()) return Value(f->get());
  if (const auto* i = n.as_integer()) {
    const int64_t v = i->get();
    return std::in_range<int>(v) ? Value(static_cast<int>(v)) : Value(v);
  }
  const auto* a = n.as_array();
  if (!a) return {};
  std::vector<int> ints;
  for (const toml::node& e : *a) {
    const auto v = value_of(e);
    if (!v || !std::holds_alternative<int>(*v)) break;
    ints.push_back(std::get<int>(*v));
  }
  if (ints.size() == a->size()) return Value(std::move(ints));
  std::string list;
  std::vector<double> reals;
  for (const toml::node& e : *a) {
    const auto v = value_of(e);
    if (!v || e.is_array()) return {};
    if (const auto real = e.value<double>(); real && e.is_number()) reals.push_back(*real);
    list += (list.empty() ? "" : ", ") + text(*v);
  }
  if (reals.size() == a->size()) return Value(std::move(reals));
  return Value("[" + list + "]");
}

std::vector<std::string> recipe_names() {
  std::vector<std::string> known;
  for (const Recipe& r : recipes()) known.push_back(r.name);
  return known;
}

}  // namespace

// ---- collecting ----------------------------------------------------------------------------------------------------

std::string_view section_of(std::string_view key) { return key.substr(0, std::min(key.find('.'), key.size())); }

void ConfigLayers::read(std::string_view text, const std::string& source) {
  const size_t before = entries_.size();
  check_nesting(text, source);
  try {
    const toml::table root = toml::parse(text, source);
    const auto walk = [&](const auto& self, const toml::table& table, const std::string& prefix) -> void {
      for (const auto& [key, node] : table) {
        const std::string name = prefix + std::string(key.str());
        if (const auto* inner = node.as_table()) {
          self(self, *inner, name + ".");
          continue;
        }
        const auto value = value_of(node);
        if (!value) {
          wrong_usage("{}: {} must be true or false, a number, a word or a list of these", place(source, node.source()),
                      shown(name));
        }
        entries_.push_back({name, *value, fmt::format("{}:{}", source, node.source().begin.line), Layer::recipe});
      }
    };
    walk(walk, root, "");
  } catch (const toml::parse_error& e) {
    wrong_usage("{}: {}", place(source, e.source()), one_line(std::string(e.description())));
  }
  if (entries_.size() == before)
    wrong_usage("{} is empty: a recipe holds keys such as [optim] lr = 1e-3 (known recipes: {})", source,
                fmt::join(recipe_names(), ", "));
}

void ConfigLayers::read_recipe(const std::string& path_or_name) {
  for (const Recipe& r : recipes())
    if (r.name == path_or_name) return read(r.text, r.name + ".toml");
  std::error_code error;
  if (!std::filesystem::exists(path_or_name, error)) {
    const auto known = recipe_names();
    const std::string near = nearest(path_or_name, known);
    wrong_usage("{} is neither a file nor an embedded recipe{}", shown(path_or_name),
                near.empty() ? fmt::format(" ({})", fmt::join(known, ", ")) : fmt::format("; did you mean {}?", near));
  }
  if (!std::filesystem::is_regular_file(path_or_name, error))  // a folder, or a device that may never end
    wrong_usage("{} is no file that holds a recipe{}", shown(path_or_name),
                std::filesystem::exists(path_or_name + "/config.toml", error)
                    ? fmt::format("; its configuration is {}/config.toml", path_or_name)
                    : "");
  std::string text;
  try {
    text = io::read_file(path_or_name, io::limit::recipe, "recipe");
  } catch (const Error& e) {
    wrong_usage("{}", e.what());
  }
  read(text, path_or_name);
}

void ConfigLayers::assign(std::string_view assignment) {
  const size_t equals = assignment.find('=');
  if (equals == 0 || equals == std::string_view::npos) wrong_usage("{} is no key=value", shown(assignment));
  set(assignment.substr(0, equals), std::string(assignment.substr(equals + 1)));
}

void ConfigLayers::set(std::string_view key, std::string value) {
  entries_.push_back({std::string(key), std::move(value), "", Layer::command});
}

void ConfigLayers::imply(std::string_view key, Value value) {
  entries_.push_back({std::string(key), std::move(value), "", Layer::implied});
}

void ConfigLayers::adapt(std::string_view key, Value value) {
  entries_.push_back({std::string(key), std::move(value), "", Layer::adapted});
}

// ---- looking -------------------------------------------------------------------------------------------------------

std::vector<std::string> ConfigLayers::keys() const {
  std::vector<std::string> all;
  for (const Entry& e : entries_) all.push_back(e.key);
  return all;
}

std::vector<const ConfigLayers::Entry*> ConfigLayers::in_force() const {
  std::vector<const Entry*> order;
  for (const Entry& e : entries_)
    if (!overruled(e)) order.push_back(&e);
  std::stable_sort(order.begin(), order.end(), [](const Entry* a, const Entry* b) { return a->layer < b->layer; });
  return order;
}

const ConfigLayers::Entry* ConfigLayers::last(std::string_view key) const {
  const Entry* found = nullptr;
  for (const Entry* e : in_force())
    if (e->key == key) found = e;
  return found;
}

const Value* ConfigLayers::given(std::string_view key) const {
  const Entry* e = last(key);
  return e && e->layer != Layer::implied ? &e->value : nullptr;
}

std::string ConfigLayers::given(std::string_view key, std::string_view fallback) const {
  const Value* v = given(key);
  return v ? text(*v) : std::string(fallback);
}

// ---- checking ------------------------------------------------------------------------------------------------------

// A key without its section is the model's, which has most of them; any other must say where it belongs: `lr=3` must not start a run
// because optim happens to have an lr.
const Key* ConfigLayers::find(const Entry& e, std::span<const Key> keys, const std::string& at) const {
  const auto named = [&](std::string_view name) -> const Key* {
    for (const Key& k : keys)
      if (k.name == name) return &k;
    return nullptr;
  };
  if (const Key* key = named(e.key)) return key;
  if (e.key.find('.') != std::string::npos) return nullptr;
  std::vector<std::string> same;
  for (const Key& k : keys)
    if (k.name.ends_with("." + e.key)) same.push_back(k.name);
  for (const Shortcut& s : used_ ? std::span<const Shortcut>() : shortcuts()) {
    std::string word = s.option;
    std::replace(word.begin(), word.end(), '-', '_');
    if ((e.key == s.option || e.key == word) && std::find(same.begin(), same.end(), s.key) == same.end())
      same.emplace_back(s.key);
  }
  if (same.size() == 1 && same[0].starts_with("model.") && same[0] != "model.name") return named(same[0]);
  if (!same.empty()) wrong_usage("{}{} does not say whose it is: write {}", at, e.key, fmt::join(same, " or "));
  return nullptr;
}

void ConfigLayers::unknown_key(const Entry& e, std::span<const Key> keys, const Options& to,
                               const std::string& at) const {
  const auto section = std::string(section_of(e.key));
  const std::string bare = e.key.substr(e.key.find('.') + 1), word = shown(e.key);
  std::vector<std::string> here, elsewhere, sections{"model", "position", "data", "augment", "optim", "sched", "train"};
  for (const Key& k : keys) (section_of(k.name) == section ? here : elsewhere).push_back(k.name);
  if (section == "model" || section == bare)
    if (const std::string known = advice(bare); !known.empty())
      wrong_usage("{}{} has no {}: {}", at, text(to.at("model.name")), bare, known);
  if (bare != e.key && here.empty()) {  // a section that is none, or an encoding without keys
    if (std::find(sections.begin(), sections.end(), section) == sections.end()) {
      if (const std::string near = nearest(e.key, elsewhere); !near.empty())
        wrong_usage("{}unknown key {}; did you mean {}?", at, word, near);
      wrong_usage("{}unknown section {} (there are {})", at, shown(section), fmt::join(sections, ", "));
    }
  }
  if (const std::string near = nearest(e.key, here); !near.empty())
    wrong_usage("{}unknown key {}; did you mean {}?", at, word, near);
  for (const std::string& name : elsewhere)
    if (name.ends_with("." + bare)) wrong_usage("{}unknown key {}; did you mean {}?", at, word, name);
  if (bare == e.key) {  // no section: the nearest of all, the model's first
    std::vector<std::string> words;
    for (const std::string& name : elsewhere) words.push_back(name.substr(name.find('.') + 1));
    if (const std::string near = nearest(e.key, words); !near.empty())
      for (const std::string& name : elsewhere)
        if (name.ends_with("." + near)) wrong_usage("{}unknown key {}; did you mean {}?", at, word, name);
  }
  const char* whose = section == "model" ? "the model" : section == "position" ? "the encoding" : nullptr;
  if (whose) {
    std::erase(here, section + ".name");
    for (std::string& name : here) name = name.substr(name.find('.') + 1);
    wrong_usage("{}{} {} has no key {}{}{}", at, whose, text(to.at(section + ".name")), word,
                here.empty() ? "; it takes none" : "; it has ", fmt::format("{}", fmt::join(here, ", ")));
  }
  wrong_usage("{}unknown key {} (tessera train --help lists them)", at, word);
}

std::string ConfigLayers::apply(const Entry& e, std::span<const Key> keys, Options& to) const {
  const std::string at = e.origin.empty() ? "" : e.origin + ": ";
  const Key* key = find(e, keys, at);
  if (!key) {
    if (e.layer == Layer::implied) return "";
    unknown_key(e, keys, to, at);
  }
  try {
    to[key->name] = convert(key->name, canonical(key->name, e.value), key->value, key->domain, section_of(key->name));
    return key->name;
  } catch (const Error& error) {
    wrong_usage("{}{}", at, error.what());
  }
}

std::vector<Key> ConfigLayers::known_keys() const {
  const Entry *model = last("model.name"), *position = last("position.name");
  std::vector<Key> keys =
      model_keys(model ? text(model->value) : RunConfig().model, position ? text(position->value) : "");
  const std::string chosen = text(keys.back().value);
  for (const Key& k : run_keys())
    if (!used_ || std::find(used_->begin(), used_->end(), k.name) != used_->end()) keys.push_back(k);
  if (const Entry* opt = last("optim.opt")) {
    const Options own = optim_defaults(text(opt->value));
    for (Key& k : keys)
      if (const auto it = own.find(k.name); it != own.end()) k.value = it->second;
  }
  for (const Key& k : position_keys(chosen)) keys.push_back(k);
  return keys;
}

void ConfigLayers::only(std::string_view command, std::span<const std::string_view> used) {
  used_.emplace(used.begin(), used.end());
  for (const Entry& e : entries_) {
    const bool known = std::any_of(run_keys().begin(), run_keys().end(), [&](const Key& k) { return k.name == e.key; });
    if (!known || std::find(used.begin(), used.end(), e.key) != used.end()) continue;
    wrong_usage("tessera {} does nothing with {}: leave it out{}", command, e.key,
                used.empty() ? std::string() : fmt::format(" (of a run it uses {})", fmt::join(used, ", ")));
  }
}

RunConfig ConfigLayers::resolve(bool complete) const try {
  const std::vector<Key> keys = known_keys();
  Options all;
  for (const Key& k : keys) all[k.name] = k.value;
  Options said = all;
  std::erase_if(said, [](const auto& k) { return k.first.starts_with("model.") && k.first != "model.name"; });
  for (const Entry* e : in_force()) {
    const std::string key = apply(*e, keys, all);
    if (!key.empty()) said[key] = all[key];
  }
  RunConfig c = config(complete ? all : said);
  check(c);
  tessera::position(c.position, c.position_options);  // looks at what its options say together
  return c;
} catch (const Usage&) {
  throw;
} catch (const Error& e) {
  throw Usage(e.what());
}

std::string with_domain(const Key& k) {
  const std::string domain = text(k.domain, k.value);
  // words that the help explains one by one need no list
  const bool listed =
      k.domain.words[0] && std::all_of(k.domain.words.begin(), k.domain.words.end(),
                                       [&](const char* w) { return !w || k.help.find(w) != std::string::npos; });
  if (domain.empty() || listed) return k.help;
  return fmt::format("{}{}({})", k.help, k.help.empty() ? "" : " ", domain);
}

std::string ConfigLayers::help() const {
  std::vector<Key> keys = known_keys();
  Options all;
  for (const Key& k : keys) all[k.name] = k.value;
  for (const Entry* e : in_force()) apply(*e, keys, all);
  const auto of_run = [](const Key& k) { return !k.name.starts_with("model.") && !k.name.starts_with("position."); };
  std::ranges::stable_sort(keys, {}, of_run);  // after the model's and the encoding's
  std::string out;
  for (const Key& k : keys) {
    const std::string assignment = k.name + "=" + text(all.at(k.name)), help = with_domain(k);
    out += help.empty() ? fmt::format("  {}\n", assignment) : fmt::format("  {:<34} {}\n", assignment, help);
  }
  return out;
}

}  // namespace tessera::cli
