#include "tessera/train/lab/results_plan.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>

#include "tessera/core/error.h"
#include "tessera/core/io/json.h"
#include "tessera/core/io/read_file.h"

namespace tessera::lab {
namespace {

std::string text_of(const toml::node& n) {
  if (const auto* s = n.as_string()) return s->get();
  if (const auto* b = n.as_boolean()) return b->get() ? "true" : "false";
  if (const auto* i = n.as_integer()) return fmt::format("{}", i->get());
  if (const auto* f = n.as_floating_point()) return fmt::format("{}", f->get());
  return "";
}

/// A list's values; a single one is a list of it, and a text one of what stands between its commas.
std::vector<std::string> list_of(const toml::node& n) {
  std::vector<std::string> values;
  if (const auto* a = n.as_array()) {
    for (const toml::node& e : *a) values.push_back(text_of(e));
    return values;
  }
  const std::string text = text_of(n);
  for (size_t from = 0; from <= text.size();) {
    const size_t comma = std::min(text.find(',', from), text.size());
    const std::string part = text.substr(from, comma - from);
    const size_t a = part.find_first_not_of(' '), b = part.find_last_not_of(' ');
    if (a != std::string::npos) values.push_back(part.substr(a, b - a + 1));
    from = comma + 1;
  }
  return values;
}

/// The parser, and whoever takes its tree apart, calls itself for every bracket and every dot of a key.
void check_depth(std::string_view text, const std::string& file) {
  constexpr int deepest = 64, most_dots = 200;
  int dots = 0;
  for (const char c : text) {
    if (c == '.') ++dots;
    if (c == '\n' || c == '=' || c == ',') dots = 0;
    if (dots > most_dots) fail("results", "{}: a name of more than {} parts: it is no plan", file, most_dots);
  }
  if (io::nesting(text) > deepest) fail("results", "{}: brackets nest more than {} deep: it is no plan", file, deepest);
}

/// Is `said` in a plan what `key` is in a cell: the same, a name without ".name", or a key of the model without its section?
bool same_key(const std::string& said, const std::string& key) {
  return key == said || key == said + ".name" || key.ends_with("." + said);
}

double as_number(const std::string& text) {
  double v = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), v);
  return error == std::errc() && end == text.data() + text.size() && std::isfinite(v) ? v : INFINITY;
}

bool same_value(const std::string& a, const std::string& b) {
  return a == b || (std::isfinite(as_number(a)) && as_number(a) == as_number(b));
}

}  // namespace

size_t PlanSays::place(const std::vector<std::string>& keys, const std::vector<std::string>& values) const {
  size_t best = 0, most = 0;
  for (size_t e = 0; e < extra.size(); ++e) {
    const bool fits = std::ranges::all_of(extra[e], [&](const auto& said) {
      for (size_t k = 0; k < keys.size(); ++k)
        if (same_key(said.first, keys[k]) && same_value(said.second, values[k])) return true;
      return false;
    });
    if (fits && extra[e].size() > most) best = e + 1, most = extra[e].size();
  }
  return best;
}

std::vector<PlanSays::Rank> PlanSays::ranks(const std::vector<std::string>& keys,
                                            const std::vector<std::string>& values) const {
  std::vector<Rank> all;
  for (size_t k = 0; k < keys.size(); ++k) {
    const auto axis = std::ranges::find_if(grid, [&](const auto& a) { return same_key(a.first, keys[k]); });
    const double number = as_number(values[k]);
    size_t place = 0;
    if (axis != grid.end())
      place = static_cast<size_t>(
          std::ranges::find_if(axis->second, [&](const std::string& v) { return same_value(v, values[k]); }) -
          axis->second.begin());
    all.push_back({{place, number}, values[k]});
  }
  return all;
}

bool PlanSays::is_axis(const std::string& key) const {
  return std::ranges::any_of(grid, [&](const auto& axis) { return same_key(axis.first, key); });
}

void PlanSays::sort_keys(std::vector<std::string>& keys) const {
  std::ranges::stable_sort(keys, {}, [&](const std::string& key) {
    return std::ranges::find_if(grid, [&](const auto& a) { return same_key(a.first, key); }) - grid.begin();
  });
}

PlanSays read_plan_says(const std::string& file) {
  std::error_code error;
  if (std::filesystem::symlink_status(file, error).type() == std::filesystem::file_type::not_found) return {};
  return plan_says(io::read_file(file, io::limit::recipe, "results"), file);
}

PlanSays plan_says(std::string_view text, const std::string& file) {
  PlanSays says;
  check_depth(text, file);
  toml::table root;
  try {
    root = toml::parse(text, file);
  } catch (const toml::parse_error& e) {
    fail("results", "{}:{}: {}", file, e.source().begin.line, e.description());
  }
  if (root.empty()) fail("results", "{} says nothing: it was emptied; write it again from a copy", file);
  struct Axis {
    toml::source_position at;
    std::string key;
    std::vector<std::string> values;
  };
  std::vector<Axis> axes;
  const auto walk = [](const auto& self, const toml::table& table, const std::string& prefix,
                       const auto& tell) -> void {
    for (const auto& [key, node] : table) {
      const std::string name = prefix + std::string(key.str());
      if (const auto* inner = node.as_table())
        self(self, *inner, name + ".", tell);
      else
        tell(name, node);
    }
  };
  if (const auto* grid = root["grid"].as_table())
    walk(walk, *grid, "", [&](const std::string& name, const toml::node& node) {
      axes.push_back({node.source().begin, name, list_of(node)});
    });
  if (const auto* extra = root["extra"].as_array())
    for (const toml::node& cell : *extra) {
      auto& said = says.extra.emplace_back();
      if (const auto* keys = cell.as_table())
        walk(walk, *keys, "", [&](const std::string& name, const toml::node& node) {
          if (name != "seeds") said.emplace_back(name, text_of(node));
        });
    }
  std::ranges::stable_sort(axes, [](const Axis& a, const Axis& b) { return a.at < b.at; });  // the table is by name
  for (Axis& a : axes) says.grid.emplace_back(std::move(a.key), std::move(a.values));
  if (const auto* baseline = root["report"]["baseline"].node()) says.baseline = text_of(*baseline);
  says.stops = root["report"]["stop_worse"].value_or(0.0) > 0;
  return says;
}

}  // namespace tessera::lab
