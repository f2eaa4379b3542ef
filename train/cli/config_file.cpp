#include "train/cli/config_file.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <optional>

#include "core/io/read_file.h"
#include "train/cli/recipes.h"

namespace tessera::cli {
namespace {

std::string one_line(std::string s) {
  std::replace(s.begin(), s.end(), '\n', ' ');
  return s;
}

std::string place(const std::string& source, const toml::source_region& r) {
  return fmt::format("{}:{}:{}", source, r.begin.line, r.begin.column);
}

/// A TOML value in our types; a list of reals becomes its text, which the key's own type reads.
std::optional<Value> value_of(const toml::node& n) {
  if (const auto* b = n.as_boolean()) return Value(b->get());
  if (const auto* s = n.as_string()) return Value(s->get());
  if (const auto* f = n.as_floating_point()) return Value(f->get());
  if (const auto* i = n.as_integer()) {
    const int64_t v = i->get();
    if (v < std::numeric_limits<int>::min() || v > std::numeric_limits<int>::max()) return {};
    return Value(static_cast<int>(v));
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
  for (const toml::node& e : *a) {
    const auto v = value_of(e);
    if (!v || e.is_array()) return {};
    list += (list.empty() ? "" : ", ") + text(*v);
  }
  return Value("[" + list + "]");
}

std::vector<std::string> names(std::span<const Key> keys) {
  std::vector<std::string> all;
  for (const Key& k : keys) all.push_back(k.name);
  return all;
}

/// optim.lr stays; lr and batch_size (or batch-size) are shortcuts; others are found by resolve().
std::string canonical(std::string_view key) {
  std::string dashed(key);
  std::replace(dashed.begin(), dashed.end(), '_', '-');
  for (const Shortcut& s : shortcuts())
    if (dashed == s.option) return s.key;
  return std::string(key);
}

std::string_view section_of(std::string_view key) { return key.substr(0, std::min(key.find('.'), key.size())); }

}  // namespace

// ---- collecting ----------------------------------------------------------------------------------------------------

void Configuration::read(std::string_view text, const std::string& source) {
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
          wrong_usage("{}: {} must be true or false, a number of 32 bits, a word or a list of these",
                      place(source, node.source()), name);
        }
        entries_.push_back(
            {canonical(name), *value, fmt::format("{}:{}", source, node.source().begin.line), Layer::recipe});
      }
    };
    walk(walk, root, "");
  } catch (const toml::parse_error& e) {
    wrong_usage("{}: {}", place(source, e.source()), one_line(std::string(e.description())));
  }
}

void Configuration::read_recipe(const std::string& path_or_name) {
  for (const Recipe& r : recipes())
    if (r.name == path_or_name) return read(r.text, r.name + ".toml");
  std::error_code none;
  if (!std::filesystem::exists(path_or_name, none)) {
    std::vector<std::string> known;
    for (const Recipe& r : recipes()) known.push_back(r.name);
    const std::string near = nearest(path_or_name, known);
    wrong_usage("{} is neither a readable file nor an embedded recipe{}", path_or_name,
                near.empty() ? fmt::format(" ({})", fmt::join(known, ", ")) : fmt::format("; did you mean {}?", near));
  }
  try {
    read(io::read_file(path_or_name, io::limit::recipe, "recipe"), path_or_name);
  } catch (const Usage&) {
    throw;
  } catch (const Error& e) {
    throw Usage(e.what());
  }
}

void Configuration::assign(std::string_view assignment) {
  const size_t equals = assignment.find('=');
  if (equals == 0 || equals == std::string_view::npos) wrong_usage("{} is no key=value", assignment);
  set(assignment.substr(0, equals), std::string(assignment.substr(equals + 1)));
}

void Configuration::set(std::string_view key, std::string value) {
  entries_.push_back({canonical(key), std::move(value), "", Layer::command});
}

void Configuration::imply(std::string_view key, Value value) {
  entries_.push_back({std::string(key), std::move(value), "", Layer::implied});
}

void Configuration::adapt(std::string_view key, Value value) {
  entries_.push_back({std::string(key), std::move(value), "", Layer::adapted});
}

// ---- looking -------------------------------------------------------------------------------------------------------

std::vector<std::string> Configuration::keys() const {
  std::vector<std::string> all;
  for (const Entry& e : entries_) all.push_back(e.key);
  return all;
}

std::vector<const Configuration::Entry*> Configuration::in_force() const {
  std::vector<const Entry*> order;
  for (const Entry& e : entries_)
    if (!overruled(e)) order.push_back(&e);
  std::stable_sort(order.begin(), order.end(), [](const Entry* a, const Entry* b) { return a->layer < b->layer; });
  return order;
}

const Configuration::Entry* Configuration::last(std::string_view key) const {
  const Entry* found = nullptr;
  for (const Entry* e : in_force())
    if (e->key == key) found = e;
  return found;
}

const Value* Configuration::given(std::string_view key) const {
  const Entry* e = last(key);
  return e && e->layer != Layer::implied ? &e->value : nullptr;
}

std::string Configuration::given(std::string_view key, std::string_view fallback) const {
  const Value* v = given(key);
  return v ? text(*v) : std::string(fallback);
}

// A model named on the command line is a whole set of keys: it replaces the recipe's [model], and with it the encoding
// that recipe chose; an encoding named on the command line replaces [position].
bool Configuration::overruled(const Entry& e) const {
  if (e.layer != Layer::recipe) return false;
  const auto section = section_of(e.key);
  const auto commanded = [&](std::string_view key) {
    return std::any_of(entries_.begin(), entries_.end(),
                       [&](const Entry& c) { return c.layer == Layer::command && c.key == key; });
  };
  if (section == "model") return commanded("model.name");
  return section == "position" && (commanded("position.name") || commanded("model.name"));
}

std::vector<std::string> Configuration::replaced() const {
  std::vector<std::string> sections;
  for (const char* section : {"model", "position"}) {
    const bool any = std::any_of(entries_.begin(), entries_.end(), [&](const Entry& e) {
      return overruled(e) && section_of(e.key) == section && e.key != std::string(section) + ".name";
    });
    if (any) sections.push_back(fmt::format("the recipe's [{}] section", section));
  }
  return sections;
}

// ---- checking ------------------------------------------------------------------------------------------------------

std::string Configuration::apply(const Entry& e, std::span<const Key> keys, Options& to) const {
  const auto find = [&](std::string_view name) {
    return std::find_if(keys.begin(), keys.end(), [&](const Key& k) { return k.name == name; });
  };
  auto key = find(e.key);
  if (key == keys.end() &&
      e.key.find('.') == std::string::npos) {  // a bare name: the model's key, or the only one of that name
    key = find("model." + e.key);
    std::vector<std::string> same;
    for (const Key& k : keys)
      if (k.name.ends_with("." + e.key)) same.push_back(k.name);
    if (key == keys.end() && same.size() == 1) key = find(same[0]);
    if (key == keys.end() && same.size() > 1) wrong_usage("{} is ambiguous: {}", e.key, fmt::join(same, " or "));
  }
  const std::string at = e.origin.empty() ? "" : e.origin + ": ";
  if (key == keys.end()) {
    if (e.layer == Layer::implied) return "";
    const auto all = names(keys);
    const auto section = std::string(section_of(e.key));
    const bool known_section =
        std::any_of(all.begin(), all.end(), [&](const auto& n) { return section_of(n) == section; });
    std::string near = nearest(e.key, all);
    if (near.empty() && e.key.find('.') == std::string::npos) {
      std::vector<std::string> bare;
      for (const auto& n : all) bare.push_back(n.substr(n.find('.') + 1));
      near = nearest(e.key, bare);
    }
    if (!near.empty()) wrong_usage("{}unknown key {}; did you mean {}?", at, e.key, near);
    if (section == "model") wrong_usage("{}the model {} has no key {}", at, text(to["model.name"]), e.key);
    if (section == "position") wrong_usage("{}the encoding {} has no key {}", at, text(to["position.name"]), e.key);
    if (!known_section && e.key.find('.') != std::string::npos)
      wrong_usage("{}unknown section {} (there are model, position, data, augment, optim, sched, train)", at, section);
    wrong_usage("{}unknown key {} (tessera train --help lists them)", at, e.key);
  }
  try {
    to[key->name] = convert(e.key, e.value, key->value);
    return key->name;
  } catch (const Error& error) {
    wrong_usage("{}{}", at, error.what());
  }
}

Config Configuration::resolve(bool complete) const try {
  const auto name = [&](std::string_view key, const std::string& fallback) {
    const Entry* e = last(key);
    return e ? text(e->value) : fallback;
  };
  std::vector<Key> keys = model_keys(name("model.name", Config().model));
  const auto standard = std::find_if(keys.begin(), keys.end(), [](const Key& k) { return k.name == "position.name"; });
  const std::string position = name("position.name", text(standard->value));
  keys.insert(keys.end(), run_keys().begin(), run_keys().end());
  for (const Key& k : position_keys(position)) keys.push_back(k);
  Options all;
  for (const Key& k : keys) all[k.name] = k.value;
  all["position.name"] = position;
  Options said = all;
  std::erase_if(said, [](const auto& k) { return k.first.starts_with("model.") && k.first != "model.name"; });
  for (const Entry* e : in_force()) {
    const std::string key = apply(*e, keys, all);
    if (!key.empty()) said[key] = all[key];
  }
  Config c = config(complete ? all : said);
  check(c);
  return c;
} catch (const Usage&) {
  throw;
} catch (const Error& e) {
  throw Usage(e.what());
}

std::string describe(std::span<const Key> keys) {
  std::string out;
  for (const Key& k : keys) {
    const std::string assignment = k.name + "=" + text(k.value);
    out += k.help.empty() ? fmt::format("  {}\n", assignment) : fmt::format("  {:<34} {}\n", assignment, k.help);
  }
  return out;
}

}  // namespace tessera::cli
