#include "tessera/train/lab/results.h"

#include <algorithm>
#include <climits>
#include <cmath>
#include <filesystem>
#include <set>
#include <tuple>

#include "tessera/core/error.h"
#include "tessera/core/io/json.h"
#include "tessera/core/io/read_file.h"
#include "tessera/core/io/replace_file.h"
#include "tessera/core/io/safetensors.h"
#include "tessera/core/io/text.h"
#include "tessera/train/lab/baseline.h"
#include "tessera/train/lab/results_plan.h"

namespace tessera::lab {
namespace {

namespace fs = std::filesystem;
using io::Json;

constexpr uint64_t small_file = uint64_t{1} << 24;
constexpr int64_t most_images = 100'000'000;
constexpr double most = 1e30;  // beyond it nothing is a measurement, and sums of squares overflow

/// What cell.json says, and what failed/CELL.json says beside a reason.
struct Said {
  std::vector<std::pair<std::string, std::string>> keys;
  int64_t seed = 0;
};

const Json& member(const Json& document, const char* name, const std::string& file) {
  const auto it = document.is_object() ? document.find(name) : document.end();
  if (it == document.end()) fail("results", "{}: there is no \"{}\"", file, name);
  return *it;
}

Json document(const std::string& file) {
  Json d = io::read_json(file, small_file, "results");
  io::integer(member(d, "format", file), file + ": format", 1, 1, "results");
  return d;
}

std::string text_of(const Json& value, const std::string& what) {
  if (!value.is_string()) fail("results", "{} is no text", what);
  auto text = value.get<std::string>();
  io::check_text("results", what, text);
  return text;
}

Said said(const Json& d, const std::string& file) {
  Said s;
  const Json& keys = member(d, "keys", file);
  if (!keys.is_object()) fail("results", "{}: \"keys\" is no object", file);
  for (const auto& [key, value] : keys.items()) {
    io::check_text("results", file + ": a key", key);
    const bool of_curves = key == "train.loss" || key == "train.acc1" || key == "val.loss" || key == "val.acc1";
    if (key.find('.') == std::string::npos || of_curves)  // a table has a column of that name already
      fail("results", "{}: {} is no key of a configuration (section.key)", file, key);
    if (std::ranges::find(s.keys, key, &std::pair<std::string, std::string>::first) != s.keys.end())
      fail("results", "{}: {} stands there twice", file, key);
    s.keys.emplace_back(key, text_of(value, file + ": " + key));
  }
  s.seed = io::integer(member(d, "seed", file), file + ": seed", INT64_MIN, INT64_MAX, "results");
  return s;
}

std::map<std::string, double> numbers(const Json& d, const char* name, const std::string& file) {
  std::map<std::string, double> all;
  const Json& members = member(d, name, file);
  if (!members.is_object()) fail("results", "{}: \"{}\" is no object", file, name);
  for (const auto& [key, value] : members.items()) {
    io::check_text("results", file + ": a measure", key);
    if (key == "seed") fail("results", "{}: a measure is called seed, as the column of seeds is", file);
    all[key] = io::number(value, file + ": " + key, most, "results");
  }
  return all;
}

template <class T>
std::vector<T> answers(const io::SafeTensors& file, const char* name, bool needed) {
  const io::TensorInfo* info = file.find(name);
  if (info == nullptr && !needed) return {};
  if (info == nullptr) fail("results", "{}: there is no tensor \"{}\"", file.path(), name);
  if (info->shape.size() != 1 || info->size() < 1 || info->size() > most_images)
    fail("results", "{}: \"{}\" is not one number a test sample", file.path(), name);
  std::vector<float> values(static_cast<size_t>(info->size()));
  file.read(*info, std::span<float>(values));
  for (const float v : values)
    if (!(std::abs(v) <= 1e9f)) fail("results", "{}: \"{}\" holds {}, which is no answer", file.path(), name, v);
  return {values.begin(), values.end()};
}

void read_answers(const std::string& path, CellRun& run) {
  std::error_code error;
  if (fs::symlink_status(path, error).type() == fs::file_type::not_found) return;
  const io::SafeTensors file(path);
  run.right = answers<float>(file, "right", true);
  run.prediction = answers<int32_t>(file, "prediction", false);
  if (std::ranges::any_of(run.right, [](float v) { return v != 0 && v != 1; }))
    fail("results", "{}: \"right\" holds something that is neither 0 nor 1", path);
  if (!run.prediction.empty() && run.prediction.size() != run.right.size())
    fail("results", "{}: {} predictions for {} samples", path, run.prediction.size(), run.right.size());
}

/// What the training took, as summary.json has it, beside what measures.json timed. Without it, or with a damaged one, the run is what it is:
/// nothing that is compared stands there.
void read_times(const std::string& path, CellRun& run) {
  std::error_code error;
  if (fs::symlink_status(path, error).type() == fs::file_type::not_found) return;
  try {
    const Json summary = io::read_json(path, small_file, "results");
    if (!summary.is_object()) return;
    for (const char* name : {"seconds", "threads", "images_per_s"})
      if (const auto it = summary.find(name); it != summary.end() && it->is_number())
        run.timed.try_emplace(name, io::number(*it, path + ": " + name, most, "results"));
  } catch (const Error&) {}
}

/// Of one cell, with what it said of itself; values are put in order when all keys are known.
struct Read {
  CellRun run;
  Said said;
};

Read read_cell(const fs::path& dir) {
  Read r;
  r.run.cell = dir.filename().string(), r.run.dir = dir.string();
  const std::string cell = (dir / "cell.json").string(), measures = (dir / "measures.json").string();
  const Json c = document(cell), d = document(measures);
  r.said = said(c, cell);
  r.run.seed = r.said.seed;
  r.run.numbers = numbers(d, "numbers", measures);
  if (const auto stopped = c.find("stopped"); stopped != c.end())
    r.run.numbers[stopped_epoch] = static_cast<double>(
        io::integer(member(*stopped, "epoch", cell), cell + ": stopped.epoch", 1, INT_MAX, "results"));
  if (d.contains("timed")) r.run.timed = numbers(d, "timed", measures);
  read_times((dir / "summary.json").string(), r.run);
  if (const auto it = d.find("absent"); it != d.end()) {
    if (!it->is_object()) fail("results", "{}: \"absent\" is no object", measures);
    for (const auto& [name, reason] : it->items()) {
      io::check_text("results", measures + ": a measure", name);
      r.run.absent[name] = text_of(reason, measures + ": " + name);
    }
  }
  read_answers((dir / "answers.safetensors").string(), r.run);
  return r;
}

/// Names of what is in a folder, sorted; none where there is no folder.
std::vector<fs::path> entries(const fs::path& folder) {
  std::vector<fs::path> all;
  std::error_code error;
  if (!fs::exists(folder, error) && !error) return all;
  for (fs::directory_iterator e(folder, error), end; !error && e != end; e.increment(error))
    if (!e->path().filename().string().starts_with(".")) all.push_back(e->path());
  if (error) fail("results", "{}: {}", folder.string(), io::explain_read(error.value()));
  std::ranges::sort(all);
  return all;
}

void add_keys(const Said& said, std::vector<std::string>& keys) {
  for (const auto& [key, value] : said.keys)
    if (std::ranges::find(keys, key) == keys.end()) keys.push_back(key);
}

std::vector<std::string> values_of(const Said& said, const std::vector<std::string>& keys) {
  std::vector<std::string> values(keys.size());
  for (const auto& [key, value] : said.keys)
    values[static_cast<size_t>(std::ranges::find(keys, key) - keys.begin())] = value;
  return values;
}

/// A name is that of a key or of a measure, and no table has two columns of one: what fewer say is their slip, and costs them alone.
void refuse_two_meanings(std::vector<Read>& read, std::vector<std::pair<FailedCell, Said>>& failed, Results& all) {
  struct Uses {
    int as_key = 0, as_measure = 0;
  };
  std::map<std::string, Uses> uses;
  const auto count_keys = [&](const Said& said) {
    for (const auto& [key, value] : said.keys) ++uses[key].as_key;
  };
  for (const Read& r : read) {
    count_keys(r.said);
    std::set<std::string> measures;
    for (const auto* numbers : {&r.run.numbers, &r.run.timed})
      for (const auto& [name, value] : *numbers) measures.insert(name);
    for (const std::string& name : measures) ++uses[name].as_measure;
  }
  for (const auto& [f, said] : failed) count_keys(said);
  const auto slip = [&](const Said& said, const CellRun* run) -> std::string {
    for (const auto& [key, value] : said.keys)
      if (const Uses& u = uses[key]; u.as_measure >= u.as_key && u.as_measure > 0) return key + " is a key here";
    for (const auto& [name, u] : uses)
      if (run && u.as_key > u.as_measure && std::isfinite(run->number(name))) return name + " is a measure here";
    return "";
  };
  const auto told = [&](const std::string& file, const std::string& what) {
    if (!what.empty()) all.skipped.push_back(fmt::format("[results] {}: {}, and something else in others", file, what));
    return !what.empty();
  };
  std::erase_if(read, [&](const Read& r) { return told(r.run.dir, slip(r.said, &r.run)); });
  std::erase_if(failed, [&](const auto& f) {
    return told(all.dir + "/failed/" + f.first.cell + ".json", slip(f.second, nullptr));
  });
}

void group(Results& all) {
  for (size_t i = 0; i < all.runs.size(); ++i) {
    if (all.groups.empty() || all.groups.back().values != all.runs[i].values)
      all.groups.push_back({all.runs[i].values, "", {}, 0});
    all.groups.back().runs.push_back(i);
  }
  // an option of some encodings alone tells those of one encoding apart, and no others
  const auto named = [&](size_t k) {
    const std::string name = all.keys[k].substr(0, all.keys[k].find('.') + 1) + "name";
    return static_cast<size_t>(std::ranges::find(all.keys, name) - all.keys.begin());
  };
  const auto telling = [&](const CellGroup& g, size_t k) {
    const size_t name = named(k);
    const bool own = name < all.keys.size() && name != k &&
                     std::ranges::any_of(all.groups, [&](const CellGroup& o) { return o.values[k].empty(); });
    return std::ranges::any_of(all.groups, [&](const CellGroup& o) {
      return (!own || o.values[name] == g.values[name]) && o.values[k] != g.values[k];
    });
  };
  for (CellGroup& g : all.groups)
    for (size_t k = 0; k < all.keys.size(); ++k) {
      if ((!telling(g, k) && all.groups.size() > 1) || g.values[k].empty()) continue;
      g.label += (g.label.empty() ? "" : ", ") + (named(k) == k ? "" : all.keys[k] + " = ") + g.values[k];
    }
}

void choose_baseline(Results& all, const std::string& said) {
  const size_t equals = said.find('=');
  if (equals != std::string::npos && std::ranges::count(all.keys, said.substr(0, equals)) > 0) {
    all.baseline_key = said.substr(0, equals), all.baseline_value = said.substr(equals + 1);
    return;
  }
  std::vector<std::string> keys = all.keys;  // the encodings' key is asked first
  std::ranges::stable_partition(keys, [](const std::string& k) { return k == "position.name"; });
  const std::string wanted = said.empty() ? "none" : said;
  for (const std::string& key : keys) {
    const auto k = static_cast<size_t>(std::ranges::find(all.keys, key) - all.keys.begin());
    if (std::ranges::none_of(all.groups, [&](const CellGroup& g) { return g.values[k] == wanted; })) continue;
    all.baseline_key = key, all.baseline_value = wanted;
    return;
  }
  if (keys.empty()) return;
  const auto k = static_cast<size_t>(std::ranges::find(all.keys, keys[0]) - all.keys.begin());
  all.baseline_key = keys[0];
  all.baseline_value = !said.empty() || all.groups.empty() ? said : all.groups.front().values[k];
}

void find_baselines(Results& all, const PlanSays& plan) {
  const auto key = static_cast<size_t>(std::ranges::find(all.keys, all.baseline_key) - all.keys.begin());
  std::vector<std::pair<size_t, size_t>> bases;  // place in the plan, group
  for (size_t g = 0; g < all.groups.size() && key < all.keys.size(); ++g)
    if (all.groups[g].values[key] == all.baseline_value)
      bases.emplace_back(plan.place(all.keys, all.groups[g].values), g);
  std::ranges::sort(bases);
  std::vector<KeyValues> values;
  for (const auto& [place, g] : bases) values.push_back(in_use(all.keys, all.groups[g].values));
  for (CellGroup& g : all.groups) {
    const size_t base = baseline_among(values, in_use(all.keys, g.values), key);
    g.baseline = base < bases.size() ? bases[base].second : all.groups.size();
  }
}

/// Every accuracy and consistency that some run has: which were measured at all is what the plan says.
void choose_measures(Results& all) {
  std::set<std::string> names;
  for (const CellRun& run : all.runs)
    for (const auto& [name, value] : run.numbers)
      if (name.ends_with("acc1") || name.ends_with(".consistency")) names.insert(name);
  if (names.erase("last_acc1")) all.measures.emplace_back("last_acc1");
  all.measures.insert(all.measures.end(), names.begin(), names.end());
}

}  // namespace

double CellRun::number(const std::string& measure) const {
  for (const auto* from : {&numbers, &timed})
    if (const auto it = from->find(measure); it != from->end()) return it->second;
  return unknown_number;
}

std::vector<double> Results::of(const CellGroup& group, const std::string& measure) const {
  std::vector<double> values;
  for (const size_t i : group.runs)
    if (const double v = runs[i].number(measure); std::isfinite(v)) values.push_back(v);
  return values;
}

int Results::stopped(const CellGroup& group) const {
  return static_cast<int>(
      std::ranges::count_if(group.runs, [&](size_t i) { return std::isfinite(runs[i].number(stopped_epoch)); }));
}

bool only_tables_are_left(const Results& results) {
  const std::string file = results.dir + "/results.csv";
  std::error_code none;
  if (!results.runs.empty() || !fs::exists(file, none)) return false;
  const std::string text = io::read_file(file);
  const size_t head = text.find('\n');
  return head != std::string::npos && text.find_first_not_of("\r\n", head) != std::string::npos;
}

Results read_results(const std::string& dir) {
  std::error_code error;
  if (!fs::is_directory(dir, error))
    fail("results", "{} is no folder; name the one that `tessera ablate --out` made", dir);
  Results all;
  all.dir = dir;
  const PlanSays plan = read_plan_says(dir + "/plan.toml");
  std::vector<Read> read;
  std::vector<std::pair<FailedCell, Said>> failed;
  for (const fs::path& path : entries(fs::path(dir) / "cells")) {
    try {
      read.push_back(read_cell(path));
    } catch (const Error& e) {
      all.skipped.push_back(e.what());
    }
  }
  for (const fs::path& path : entries(fs::path(dir) / "failed")) {
    try {
      const std::string file = path.string();
      const Json d = document(file);
      const Said s = said(d, file);
      failed.push_back({{path.stem().string(), {}, s.seed, text_of(member(d, "reason", file), file + ": reason")}, s});
    } catch (const Error& e) {
      all.skipped.push_back(e.what());
    }
  }
  refuse_two_meanings(read, failed, all);
  for (const Read& r : read) add_keys(r.said, all.keys);
  for (const auto& [f, s] : failed) add_keys(s, all.keys);
  plan.sort_keys(all.keys);
  for (Read& r : read) r.run.values = values_of(r.said, all.keys), all.runs.push_back(std::move(r.run));
  for (auto& [cell, s] : failed) cell.values = values_of(s, all.keys), all.failed.push_back(std::move(cell));
  const auto before = [&](const auto& a, const auto& b) {
    return std::tuple(plan.ranks(all.keys, a.values), a.seed, a.cell) <
           std::tuple(plan.ranks(all.keys, b.values), b.seed, b.cell);
  };
  std::ranges::sort(all.runs, before);
  std::ranges::sort(all.failed, before);
  for (size_t i = 1; i < all.runs.size();)
    if (all.runs[i].values == all.runs[i - 1].values && all.runs[i].seed == all.runs[i - 1].seed) {
      all.skipped.push_back(
          fmt::format("[results] {}: has the keys and the seed of {}", all.runs[i].dir, all.runs[i - 1].cell));
      all.runs.erase(all.runs.begin() + static_cast<std::ptrdiff_t>(i));
    } else {
      ++i;
    }
  group(all);
  choose_baseline(all, plan.baseline);
  find_baselines(all, plan);
  choose_measures(all);
  return all;
}

}  // namespace tessera::lab
