// From what was said to the cells of a study.
#include "tessera/train/lab/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <map>
#include <set>

#include "tessera/core/io/checksum.h"
#include "tessera/core/io/read_file.h"
#include "tessera/core/io/text.h"
#include "tessera/train/cli/config_file.h"
#include "tessera/train/cli/data_name.h"
#include "tessera/train/cli/recipes.h"
#include "tessera/train/cli/run_config.h"
#include "tessera/train/data/named.h"
#include "tessera/train/lab/baseline.h"

namespace tessera::lab {
using namespace cli;
namespace {

constexpr size_t most_cells = 20'000;

/// "position" for position.name: how a key is called where names are short.
std::string short_key(const std::string& key) {
  for (const char* name : {"position.name", "model.name", "data.name"})
    if (key == name) return key.substr(0, key.find('.'));
  return key;
}

/// A part of a folder's name: what a shell or a file system may take for something else becomes _.
std::string safe(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto u = static_cast<unsigned char>(c);
    out += u < 128 && (std::isalnum(u) || std::string_view("._+-").find(c) != std::string_view::npos) ? c : '_';
  }
  return out;
}

std::string folder_name(const std::vector<std::pair<std::string, std::string>>& said, int64_t seed) {
  std::string name;
  for (const auto& [key, value] : said) name += fmt::format("{}={},", safe(short_key(key)), safe(value));
  name += fmt::format("seed={}", seed);
  constexpr size_t most = 120;  // the file systems' 255 less what is put around it
  if (name.size() <= most) return name;
  io::Checksum sum;
  sum.add(name.data(), name.size());
  return name.substr(0, most - 24) + "~" + sum.hex().substr(0, 16);
}

void read_recipe(Words& w) {
  if (w.recipe.empty() || !w.recipe_text.empty()) return;
  ConfigLayers looked;
  looked.read_recipe(w.recipe);  // refuses what is none
  for (const Recipe& r : recipes())
    if (r.name == w.recipe) w.recipe_text = r.text;
  if (w.recipe_text.empty()) w.recipe_text = io::read_file(w.recipe, io::limit::recipe, "recipe");
}

/// What every cell starts from.
ConfigLayers shared(const Words& w) {
  ConfigLayers layers;
  if (!w.recipe.empty()) layers.read(w.recipe_text, w.recipe);
  return layers;
}

bool says(const Assignments& in, std::string_view key) {
  return std::any_of(in.begin(), in.end(), [&](const Assignment& a) { return a.key == key; });
}

/// A study's data must not depend on which machine looks for them, so they are named before there are cells.
std::string name_data(Words& w) {
  if (says(w.run, "data.name") || says(w.grid, "data.name") || shared(w).given("data.name")) return "";
  std::string dir;
  for (const Assignment& a : w.run)
    if (a.key == "data.dir") dir = a.values[0];
  const cli::DefaultData found = cli::default_data(dir);
  w.run.push_back({"data.name", {found.name}, false});
  return found.line;
}

/// What tells a cell from the others, before it is resolved.
struct Point {
  std::vector<std::pair<std::string, std::string>> said;
  std::vector<int64_t> seeds;
};

std::vector<Point> points(const Words& w) {
  size_t n = 1;
  for (const Assignment& axis : w.grid) {
    if (std::set<std::string>(axis.values.begin(), axis.values.end()).size() != axis.values.size())
      wrong_usage("{} has a value twice", short_key(axis.key));
    n *= axis.values.size();
    if (n > most_cells) wrong_usage("the grid has more than {} cells", most_cells);
  }
  std::vector<Point> all(w.grid.empty() && !w.extra.empty() ? 0 : n);
  for (size_t i = 0; i < all.size(); ++i) {
    all[i].seeds = w.seeds;
    size_t below = n;
    for (const Assignment& axis : w.grid) {
      below /= axis.values.size();
      all[i].said.emplace_back(axis.key, axis.values[i / below % axis.values.size()]);
    }
  }
  for (const Extra& e : w.extra) {
    if (e.said.empty()) wrong_usage("an [[extra]] cell says nothing");
    for (const int64_t seed : e.seeds)
      if (std::find(w.seeds.begin(), w.seeds.end(), seed) == w.seeds.end())
        wrong_usage("an [[extra]] cell asks for seed {}, with which the study trains nothing to compare it with", seed);
    all.push_back({{}, e.seeds.empty() ? w.seeds : e.seeds});
    for (const Assignment& a : e.said) all.back().said.emplace_back(a.key, a.values[0]);
  }
  return all;
}

/// The configuration of a point: what all cells share, then its own words, as on the command line of `tessera train`.
struct Resolved {
  RunConfig config;
  Options values;  ///< of all keys, defaults of the model too, where they make sense together
  std::string refused;
};
Resolved resolve(const Words& w, const Point& point) {
  ConfigLayers layers = shared(w);
  for (const Assignment& a : w.run) layers.set(a.key, a.values[0]);
  for (const auto& [key, value] : point.said) layers.set(key, value);
  Resolved r;  // where its data are not on this machine a cell still says which they are
  r.config.data.name = layers.given("data.name", ""), r.config.data.dir = layers.given("data.dir", "");
  try {
    check_data_name(r.config.data.name);
    std::string recipe = w.recipe;
    r.config = run_config(layers, recipe, [](std::string_view) {});
    r.values = values(layers.resolve());
  } catch (const Error& e) {
    r.refused = e.what();
  }
  return r;
}

/// A value of a key, written as the configuration writes it, so that 0.10 and 0.1 are one.
std::string value_of(const Resolved& r, const Point& point, const std::string& key) {
  if (const auto it = r.values.find(key); it != r.values.end()) return text(it->second);
  for (const auto& [said, value] : point.said)
    if (said == key) return value;
  return "";
}

/// A value as cells have it, where somebody typed it otherwise: 1e-3 is 0.001.
std::string as_resolved(const Words& w, const std::vector<Point>& points, const std::string& key,
                        const std::string& value) {
  for (Point point : points)
    for (auto& [said, old] : point.said) {
      if (said != key) continue;
      old = value;
      if (const Resolved r = resolve(w, point); r.refused.empty()) return value_of(r, point, key);
    }
  return value;
}

void choose_baseline(Plan& plan, const Words& w, const std::vector<Point>& points, const Plan* before) {
  if (plan.grid.empty()) return;  // one cell, and nothing to compare it with
  std::string said = w.baseline;
  const auto has = [&](const std::string& key, const std::string& value) {
    const auto k = static_cast<size_t>(std::find(plan.grid.begin(), plan.grid.end(), key) - plan.grid.begin());
    return k < plan.grid.size() &&
           std::any_of(plan.cells.begin(), plan.cells.end(), [&](const Cell& c) { return c.keys[k].second == value; });
  };
  std::string key = plan.grid[0];
  const bool positions = std::find(plan.grid.begin(), plan.grid.end(), "position.name") != plan.grid.end();
  if (said.empty()) {  // no positions at all, if that is a cell; or else the first of the first axis
    if (before && before->stop.margin > 0 && has(before->baseline_key, before->baseline_value))
      key = before->baseline_key, said = before->baseline_value;
    else if (positions && has("position.name", "none"))
      key = "position.name", said = "none";
    else
      said = plan.cells[0].keys[0].second;
  } else if (const size_t equals = said.find('='); equals != std::string::npos) {
    key = full_key(said.substr(0, equals)), said = said.substr(equals + 1);
  } else if (!has(key, said) && !has(key, as_resolved(w, points, key, said)) && positions) {
    key = "position.name";
  }
  if (!has(key, said)) said = as_resolved(w, points, key, said);
  if (!has(key, said)) {
    std::vector<std::string> known;
    const auto k = static_cast<size_t>(std::find(plan.grid.begin(), plan.grid.end(), key) - plan.grid.begin());
    for (const Cell& c : plan.cells)
      if (k < plan.grid.size() && std::find(known.begin(), known.end(), c.keys[k].second) == known.end())
        known.push_back(c.keys[k].second);
    wrong_usage("baseline {}={}: no cell has that{}", short_key(key), shown(said),
                known.empty() ? fmt::format(" (cells differ in {})", fmt::join(plan.grid, ", "))
                              : fmt::format(" (there are {})", fmt::join(known, ", ")));
  }
  plan.baseline_key = key, plan.baseline_value = said;
}

bool is_baseline(const Plan& plan, const Cell& c) {
  return std::ranges::any_of(
      c.keys, [&](const auto& k) { return k.first == plan.baseline_key && k.second == plan.baseline_value; });
}

KeyValues values_of(const Cell& c) {
  KeyValues values;
  for (const auto& [key, value] : c.keys) values.push_back(value);
  return values;
}

/// Cells stand in the order of the plan, so that where several are as like it is the grid's own.
void find_references(Plan& plan) {
  const auto key = static_cast<size_t>(std::ranges::find(plan.grid, plan.baseline_key) - plan.grid.begin());
  std::vector<KeyValues> values;
  for (const Cell& c : plan.cells) values.push_back(in_use(plan.grid, values_of(c)));
  struct Bases {
    std::vector<KeyValues> values;
    std::vector<int> cells;
  };
  std::map<int64_t, Bases> by_seed;
  for (size_t i = 0; i < plan.cells.size(); ++i)
    if (const Cell& c = plan.cells[i]; is_baseline(plan, c) && c.refused.empty())
      by_seed[c.seed].values.push_back(values[i]), by_seed[c.seed].cells.push_back(static_cast<int>(i));
  for (size_t i = 0; i < plan.cells.size(); ++i) {
    Cell& c = plan.cells[i];
    const Bases& of = by_seed[c.seed];
    const size_t base = baseline_among(of.values, values[i], key);
    if (base < of.cells.size() && !is_baseline(plan, c)) c.reference = of.cells[base];
  }
}

/// Two cells that are one run would be one in every table, and the study never at its end.
void refuse_twins(const Plan& plan) {
  std::map<std::pair<int64_t, KeyValues>, const Cell*> known;
  for (const Cell& c : plan.cells)
    if (const auto [it, fresh] = known.try_emplace({c.seed, values_of(c)}, &c); !fresh)
      wrong_usage("{} and {} are one run: every key has the same value in both; leave one of them out",
                  it->second->name, c.name);
}

void check_stop(const Plan& plan) {
  if (plan.stop.margin == 0) return;
  if (plan.baseline_key.empty()) wrong_usage("stop_worse compares with a baseline, and there is one cell alone");
  for (const Cell& c : plan.cells) {
    if (c.refused.empty() && c.reference < 0 && !is_baseline(plan, c))
      wrong_usage("stop_worse compares {} with a run of the baseline with its seed and other keys, and there is none",
                  c.name);
    const data::NamedData* named = data::find_named(c.config.data.name);
    const bool own = named && named->own_splits;
    if (c.refused.empty() && c.config.data.val_size == 0 && !own)
      wrong_usage(
          "stop_worse looks at validation, and {} has none: set data.val_size (the test split has no say in what is "
          "stopped)",
          c.name);
  }
}

}  // namespace

Plan make_plan(Words w, const Plan* before) {
  Plan plan;
  read_recipe(w);
  if (before) w.arithmetic = before->arithmetic;
  plan.note = name_data(w);
  refuse_unknown(w);
  if (w.seeds.empty()) w.seeds = {1, 2, 3};
  if (w.arithmetic.empty()) w.arithmetic = arithmetic();
  for (const Assignment& axis : w.grid) plan.grid.push_back(axis.key);
  for (const Extra& e : w.extra)
    for (const Assignment& a : e.said)
      if (std::find(plan.grid.begin(), plan.grid.end(), a.key) == plan.grid.end()) plan.grid.push_back(a.key);
  const std::vector<Point> all = points(w);
  size_t runs = 0;
  for (const Point& point : all) runs += point.seeds.size();
  if (runs > most_cells) wrong_usage("there are more than {} runs", most_cells);
  std::set<std::string> names;
  for (const Point& point : all) {
    Resolved r = resolve(w, point);
    std::vector<std::pair<std::string, std::string>> said;
    for (const auto& [key, unused] : point.said) said.emplace_back(key, value_of(r, point, key));
    for (const int64_t seed : point.seeds) {
      Cell cell{folder_name(said, seed), {}, seed, r.config, r.refused, -1};
      for (const std::string& key : plan.grid) cell.keys.emplace_back(key, value_of(r, point, key));
      cell.config.train.seed = seed;
      if (!names.insert(cell.name).second)
        wrong_usage(
            "two cells would be {}: one of them is there twice, or their values differ only in signs that no "
            "folder's name has",
            cell.name);
      plan.cells.push_back(std::move(cell));
    }
  }
  refuse_twins(plan);
  if (plan.grid.empty() && !w.baseline.empty()) {  // of a plan whose grid was narrowed to one cell, to repeat it
    plan.note += fmt::format("{}one cell: there is nothing to compare, and baseline {} is left out",
                             plan.note.empty() ? "" : "; ", shown(w.baseline));
    w.baseline.clear();
  }
  choose_baseline(plan, w, all, before);
  find_references(plan);
  if (w.stop_epochs && !w.stop_worse)
    wrong_usage("stop_epochs is of stop_worse, and there is none: say both, or neither");
  plan.stop = {w.stop_worse.value_or(0), w.stop_epochs.value_or(StopRule().epochs)};
  plan.report = w.report, plan.arithmetic = w.arithmetic;
  check_stop(plan);
  if (!plan.baseline_key.empty()) w.baseline = plan.baseline_key + "=" + plan.baseline_value;
  plan.text = plan_text(w);
  return plan;
}

std::string differs(const Plan& before, const Plan& now) {
  std::map<std::string, const Cell*> cells;
  for (const Cell& c : now.cells) cells[c.name] = &c;
  for (const Cell& c : before.cells) {
    const auto it = cells.find(c.name);
    if (it == cells.end()) return fmt::format("it has the cell {}, which is not asked for now", c.name);
    const Options was = values(c.config), is = values(it->second->config);
    for (const auto& [key, value] : was) {
      const auto other = is.find(key);
      if (other == is.end() || other->second != value)
        return fmt::format("{} is {} there and {} now", key, text(value),
                           other == is.end() ? "not said" : text(other->second));
    }
    for (const auto& [key, value] : is)
      if (!was.contains(key)) return fmt::format("{} is not said there and {} now", key, text(value));
    if (c.keys.size() != it->second->keys.size()) return "its cells differ in other keys";
  }
  const bool stops = before.stop.margin > 0;
  if (before.stop.margin != now.stop.margin || (stops && before.stop.epochs != now.stop.epochs))
    return "its rule for stopping (stop_worse, stop_epochs) is another";
  const auto beside = [](const Plan& plan, const Cell& c) {
    return c.reference < 0 ? std::string("no other") : plan.cells[static_cast<size_t>(c.reference)].name;
  };
  for (const Cell& c : before.cells)
    if (const Cell& is = *cells[c.name]; stops && beside(before, c) != beside(now, is))
      return fmt::format("its baseline is {}={}, and {}={} now: stop_worse judges {} beside {}, and would beside {}",
                         before.baseline_key, before.baseline_value, now.baseline_key, now.baseline_value, c.name,
                         beside(before, c), beside(now, is));
  const auto same = [](const Assignment& a, const Assignment& b) { return a.key == b.key && a.values == b.values; };
  if (!std::equal(before.report.begin(), before.report.end(), now.report.begin(), now.report.end(), same))
    return "its [report] asks for other measures";
  return "";
}

}  // namespace tessera::lab
