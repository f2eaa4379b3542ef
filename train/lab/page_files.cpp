// The files beside a study's page that are made of its runs: curves, configurations, what is missing, pictures.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <set>

#include "tessera/core/error.h"
#include "tessera/core/io/replace_file.h"
#include "tessera/train/lab/page.h"
#include "tessera/train/lab/page_pictures.h"
#include "tessera/train/report/groups.h"
#include "tessera/train/report/run.h"

namespace tessera::lab {
namespace {

using report::RunFiles;

struct ReadCell {
  const CellRun* cell;
  RunFiles files;
};

Csv headed(const Results& results, const std::vector<std::string>& before, const std::vector<std::string>& after) {
  Csv table{before, {}};
  table.columns.insert(table.columns.end(), results.keys.begin(), results.keys.end());
  table.columns.push_back("seed");
  table.columns.insert(table.columns.end(), after.begin(), after.end());
  return table;
}

void add_row(Csv& table, const std::vector<std::string>& before, const std::vector<std::string>& values,
             const std::string& seed, const std::vector<std::string>& after) {
  auto& row = table.rows.emplace_back(before);
  row.insert(row.end(), values.begin(), values.end());
  row.push_back(seed);
  row.insert(row.end(), after.begin(), after.end());
}

/// Six digits: a curve needs no more.
std::string short_number(double v) { return std::isfinite(v) ? fmt::format("{:.6g}", v) : ""; }

std::string curves_csv(const Results& results, const std::vector<ReadCell>& cells) {
  Csv table = headed(results, {}, {"epoch", "train.loss", "train.acc1", "val.loss", "val.acc1"});
  for (const ReadCell& c : cells) {
    struct Row {
      double train_loss = NAN, train_acc1 = NAN, val_loss = NAN, val_acc1 = NAN;
    };
    std::map<double, Row> epochs;
    for (const report::Metric& m : c.files.metrics) {
      if (!std::isfinite(m.epoch) || (m.split != "train" && m.split != "val")) continue;
      Row& row = epochs[m.epoch];
      (m.split == "train" ? row.train_loss : row.val_loss) = m.loss;
      (m.split == "train" ? row.train_acc1 : row.val_acc1) = m.acc1 / 100;
    }
    for (const auto& [epoch, r] : epochs)
      add_row(table, {}, c.cell->values, std::to_string(c.cell->seed),
              {short_number(epoch), short_number(r.train_loss), short_number(r.train_acc1), short_number(r.val_loss),
               short_number(r.val_acc1)});
  }
  return to_text(table);
}

/// What a run is, key by key: its configuration, the folder it was made in, and the machine that its first line names.
std::map<std::string, std::string> settings_of(const ReadCell& c, const Results& results) {
  std::map<std::string, std::string> all;
  for (const auto& [key, value] : c.files.config) {
    const bool seed = key == "seed" || key.ends_with(".seed");
    if (!seed && key != "data.dir" && std::ranges::find(results.keys, key) == results.keys.end())
      all[key] = report::plain(value);
  }
  const std::string& text = c.files.config_text;
  if (text.starts_with("# ")) all["made by"] = text.substr(2, text.find('\n') - 2);
  all["cell"] = c.cell->cell;
  return all;
}

/// One row for what all runs share, one for what those of a group share, else one for each run.
std::string settings_csv(const Results& results, const std::vector<ReadCell>& cells) {
  std::vector<std::map<std::string, std::string>> of;
  std::set<std::string> keys;
  for (const ReadCell& c : cells)
    for (const auto& [key, value] : of.emplace_back(settings_of(c, results))) keys.insert(key);
  const auto value = [&](size_t run, const std::string& key) {
    const auto it = of[run].find(key);
    return it == of[run].end() ? std::string() : it->second;
  };
  Csv table = headed(results, {"of"}, {"key", "value"});
  const std::vector<std::string> nothing(results.keys.size());
  for (const std::string& key : keys) {
    std::map<std::vector<std::string>, std::set<std::string>> by_group;
    std::set<std::string> different;
    for (size_t i = 0; i < cells.size(); ++i)
      by_group[cells[i].cell->values].insert(value(i, key)), different.insert(value(i, key));
    if (different.size() == 1 && cells.size() > 1) {
      add_row(table, {"all"}, nothing, "", {key, *different.begin()});
      continue;
    }
    std::set<std::vector<std::string>> done;
    for (size_t i = 0; i < cells.size(); ++i) {
      const std::vector<std::string>& group = cells[i].cell->values;
      if (value(i, key).empty() && by_group[group].size() == 1) continue;
      if (by_group[group].size() > 1 || key == "cell")
        add_row(table, {"run"}, group, std::to_string(cells[i].cell->seed), {key, value(i, key)});
      else if (done.insert(group).second)
        add_row(table, {"group"}, group, "", {key, value(i, key)});
    }
  }
  return to_text(table);
}

}  // namespace

StudyFiles study_files(const Results& results, std::vector<std::string>& partial) {
  std::vector<ReadCell> cells;
  for (const CellRun& run : results.runs) try {
      cells.push_back({&run, report::read_run(run.dir)});
    } catch (const Error& e) {
      partial.push_back(std::string(e.what()) + "; the page is without the curves, settings and pictures of this run");
    }
  StudyFiles files{{"results.csv", results_csv(results)},         {"timings.csv", timings_csv(results)},
                   {"comparisons.csv", comparisons_csv(results)}, {"pairwise.csv", pairwise_csv(results)},
                   {"curves.csv", curves_csv(results, cells)},    {"settings.csv", settings_csv(results, cells)},
                   {"missing.csv", missing_csv(results)}};
  // of the seeds of a group the first is drawn
  std::vector<Scene> scenes;
  std::set<std::vector<std::string>> drawn;
  for (const ReadCell& c : cells)
    if (drawn.insert(c.cell->values).second) try {
        scenes.push_back(read_scene(c.cell->values, std::to_string(c.cell->seed), c.cell->dir, c.files));
      } catch (const Error& e) {
        partial.push_back(std::string(e.what()) + "; the page is without the pictures of this run");
      }
  files["pictures.json"] = to_json(scenes);
  for (const char* name : {"plan.toml", "probe.csv", "probe.toml"}) {
    const std::string path = results.dir + "/" + name;
    std::error_code none;
    if (std::filesystem::exists(path, none)) files[name] = io::read_file(path, uint64_t{1} << 26);
  }
  return files;
}

}  // namespace tessera::lab
