#include "tessera/train/lab/page_findings.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <set>

#include "tessera/core/error.h"
#include "tessera/core/io/replace_file.h"
#include "tessera/train/lab/baseline.h"
#include "tessera/train/report/groups.h"

namespace tessera::lab {
namespace {

namespace fs = std::filesystem;
constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr uint64_t largest_file = uint64_t{1} << 28;

/// The columns that say which run a row is about: everything before "seed".
std::vector<std::string> grid_of(const Csv& table, const std::string& file) {
  const size_t seed = table.column("seed");
  if (seed == table.columns.size())
    fail("report", "{}: there is no column seed; is it the table of an ablation?", file);
  return {table.columns.begin(), table.columns.begin() + static_cast<std::ptrdiff_t>(seed)};
}

/// Tables of one folder, with the grid of results.csv.
class Reader {
 public:
  Reader(const StudyFiles& files, const std::string& folder) : files_(files), folder_(folder) {}

  Csv table(const std::string& name) const {
    const auto it = files_.find(name);
    return it == files_.end() ? Csv{} : parse_csv(it->second, path(name));
  }
  std::string path(const std::string& name) const { return folder_ + "/" + name; }
  std::string text(const std::string& name) const {
    const auto it = files_.find(name);
    return it == files_.end() ? "" : it->second;
  }
  /// The grid's values in a row. Throws Error if the table lacks a key of the grid.
  std::vector<std::string> keys(const Csv& table, size_t row, const std::string& name, const Findings& study) const {
    std::vector<std::string> values;
    for (const std::string& key : study.grid) {
      if (table.column(key) == table.columns.size())
        fail("report", "{}: there is no column {}, which results.csv has; write both anew with tessera report",
             path(name), key);
      values.push_back(table.at(row, key));
    }
    return values;
  }

 private:
  const StudyFiles& files_;
  const std::string& folder_;
};

/// "48" and "32x48" as numbers, so that 8 comes before 16; what is none comes last.
std::pair<double, double> sides(const std::string& name) {
  const size_t x = name.find('x');
  const double a = number_in(name.substr(0, x)), b = x == std::string::npos ? 0 : number_in(name.substr(x + 1));
  constexpr double last = std::numeric_limits<double>::max();
  return {std::isfinite(a) ? a : last, std::isfinite(b) ? b : last};
}

size_t place(std::vector<std::string>& values, const std::string& value) {
  const auto it = std::find(values.begin(), values.end(), value);
  if (it != values.end()) return static_cast<size_t>(it - values.begin());
  values.push_back(value);
  return values.size() - 1;
}

StudyGroup* group_with(Findings& study, const std::vector<std::string>& keys) {
  const auto it = std::find_if(study.groups.begin(), study.groups.end(), [&](const auto& g) { return g.keys == keys; });
  return it == study.groups.end() ? nullptr : &*it;
}

StudyRun* run_of(Findings& study, const std::vector<std::string>& keys, const std::string& seed) {
  StudyGroup* group = group_with(study, keys);
  if (group == nullptr) return nullptr;
  const auto it = std::find_if(group->runs.begin(), group->runs.end(), [&](const auto& r) { return r.seed == seed; });
  return it == group->runs.end() ? nullptr : &*it;
}

void read_row(StudyRun& run, const Csv& table, size_t row) {
  for (size_t c = table.column("seed") + 1; c < table.columns.size(); ++c) {
    const std::string& text = table.rows[row][c];
    if (const double v = number_in(text); std::isfinite(v))
      run.numbers[table.columns[c]] = v;
    else if (!text.empty())
      run.words[table.columns[c]] = text;
  }
}

void read_runs(Findings& study, const Reader& from) {
  const Csv results = from.table("results.csv");
  study.grid = grid_of(results, from.path("results.csv"));
  for (size_t r = 0; r < results.rows.size(); ++r) {
    const std::vector<std::string> keys = from.keys(results, r, "results.csv", study);
    if (group_with(study, keys) == nullptr) study.groups.push_back({keys, 0, 0, {}});
    const std::string& seed = results.at(r, "seed");
    if (run_of(study, keys, seed) != nullptr)
      fail("report", "{}: two rows of the same keys and seed ({})", from.path("results.csv"), seed);
    StudyRun& run = group_with(study, keys)->runs.emplace_back();
    run.seed = seed;
    read_row(run, results, r);
  }
  const Csv timings = from.table("timings.csv");
  for (size_t r = 0; r < timings.rows.size(); ++r)
    if (StudyRun* run = run_of(study, from.keys(timings, r, "timings.csv", study), timings.at(r, "seed")))
      read_row(*run, timings, r);
  const Csv curves = from.table("curves.csv");
  for (size_t r = 0; r < curves.rows.size(); ++r) {
    StudyRun* run = run_of(study, from.keys(curves, r, "curves.csv", study), curves.at(r, "seed"));
    if (run == nullptr) continue;
    const auto number = [&](const char* name) { return number_in(curves.at(r, name)); };
    run->epochs.push_back(
        {number("epoch"), number("train.loss"), number("train.acc1"), number("val.loss"), number("val.acc1")});
  }
}

/// A value of a key in a name: "shaw", "model.global_pool avg".
std::string named(const std::string& key, const std::string& value) {
  return key.ends_with(".name") || key == "model" ? value : key + " " + value;
}

/// Keys that are options of some encodings alone: of its section, and of no use to others.
std::vector<bool> own_options(const Findings& study, const std::vector<KeyValues>& used) {
  const std::string& along = study.grid[study.along];
  const std::string section = along.substr(0, along.find('.') + 1);
  std::vector<bool> own(study.grid.size());
  for (size_t k = 0; k < own.size(); ++k)
    own[k] = k != study.along && !section.empty() && study.grid[k].starts_with(section) &&
             std::ranges::any_of(used, [&](const KeyValues& values) { return values[k].empty(); });
  return own;
}

/// Which key tells encodings apart, and what the others say.
void arrange(Findings& study) {
  const auto position = std::find(study.grid.begin(), study.grid.end(), "position.name");
  study.along = position == study.grid.end() ? 0 : static_cast<size_t>(position - study.grid.begin());
  if (study.grid.empty()) {
    if (!study.groups.empty()) study.encodings = {"all runs"}, study.facets = {""};
    return;
  }
  std::vector<KeyValues> used;
  for (const StudyGroup& g : study.groups) used.push_back(in_use(study.grid, g.keys));
  const std::vector<bool> own = own_options(study, used);
  // values of a key: of all groups, or where it is an option of an encoding, of the groups of that encoding
  const auto telling = [&](const StudyGroup& g, size_t k) {
    return std::ranges::any_of(study.groups, [&](const StudyGroup& o) {
      return (!own[k] || o.keys[study.along] == g.keys[study.along]) && o.keys[k] != g.keys[k];
    });
  };
  for (size_t i = 0; i < study.groups.size(); ++i) {
    StudyGroup& g = study.groups[i];
    std::string encoding = g.keys[study.along], facet;
    for (size_t k = 0; k < g.keys.size(); ++k) {
      if (k == study.along || used[i][k].empty() || !telling(g, k)) continue;
      if (own[k])
        encoding += ", " + study.grid[k].substr(study.grid[k].find('.') + 1) + " = " + g.keys[k];
      else
        facet += (facet.empty() ? "" : ", ") + named(study.grid[k], g.keys[k]);
    }
    g.encoding = place(study.encodings, encoding), g.facet = place(study.facets, facet);
  }
  std::stable_sort(study.groups.begin(), study.groups.end(), [](const StudyGroup& a, const StudyGroup& b) {
    return std::pair(a.facet, a.encoding) < std::pair(b.facet, b.encoding);
  });
}

/// What all baselines have and some other group has not: their encoding, or values of other keys.
void name_baseline(Findings& study) {
  std::vector<bool> is(study.groups.size());
  for (const StudyComparison& c : study.comparisons)
    if (c.verdict == "baseline") is[c.group] = true;
  const auto first = static_cast<size_t>(std::ranges::find(is, true) - is.begin());
  if (first == is.size()) return;
  const StudyGroup& base = study.groups[first];
  const auto only_theirs = [&](auto of) {  // the same in all of them, and something else elsewhere
    bool elsewhere = false;
    for (size_t g = 0; g < is.size(); ++g) {
      if (is[g] && of(study.groups[g]) != of(base)) return false;
      elsewhere = elsewhere || (!is[g] && of(study.groups[g]) != of(base));
    }
    return elsewhere;
  };
  if (only_theirs([](const StudyGroup& g) { return g.encoding; })) {
    study.baseline = study.encodings[base.encoding];
    return;
  }
  for (size_t k = 0; k < study.grid.size(); ++k)
    if (!base.keys[k].empty() && only_theirs([&](const StudyGroup& g) { return g.keys[k]; }))
      study.baseline += (study.baseline.empty() ? "" : ", ") + named(study.grid[k], base.keys[k]);
}

void read_comparisons(Findings& study, const Reader& from) {
  const Csv table = from.table("comparisons.csv");
  std::map<std::string, size_t> baselines;  // by the label that the column baseline has
  std::vector<std::string> labels;
  for (size_t r = 0; r < table.rows.size(); ++r) {
    const StudyGroup* group = group_with(study, from.keys(table, r, "comparisons.csv", study));
    if (group == nullptr) continue;
    const auto number = [&](const char* name) { return number_in(table.at(r, name)); };
    const double pairs = number("pairs");
    const auto g = static_cast<size_t>(group - study.groups.data());
    study.comparisons.push_back(
        {g, study.groups.size(), table.at(r, "measure"), pairs > 0 ? static_cast<int>(pairs) : 0, number("difference"),
         number("difference_low"), number("difference_high"), table.at(r, "verdict"), table.at(r, "words")});
    labels.push_back(table.at(r, "baseline"));
    if (study.comparisons.back().verdict == "baseline") baselines[labels.back()] = g;
  }
  for (size_t i = 0; i < labels.size(); ++i)
    if (const auto it = baselines.find(labels[i]); it != baselines.end()) study.comparisons[i].other = it->second;
  name_baseline(study);
}

void read_gaps_and_settings(Findings& study, const Reader& from) {
  const Csv missing = from.table("missing.csv");
  for (size_t r = 0; r < missing.rows.size(); ++r)
    study.gaps.push_back({from.keys(missing, r, "missing.csv", study), missing.at(r, "seed"), missing.at(r, "measure"),
                          missing.at(r, "reason")});
  const Csv settings = from.table("settings.csv");
  for (size_t r = 0; r < settings.rows.size(); ++r)
    study.settings.push_back({settings.at(r, "of"), from.keys(settings, r, "settings.csv", study),
                              settings.at(r, "seed"), settings.at(r, "key"), settings.at(r, "value")});
}

}  // namespace

std::string Findings::label(const StudyGroup& group) const {
  const std::string& facet = facets[group.facet];
  return encodings[group.encoding] + (facet.empty() ? "" : ", " + facet);
}

const StudyComparison* Findings::comparison(const StudyGroup& group, std::string_view measure) const {
  for (const StudyComparison& c : comparisons)
    if (&groups[c.group] == &group && c.measure == measure) return &c;
  return nullptr;
}

const StudyGroup* Findings::baseline_of(const StudyGroup& group, std::string_view measure) const {
  const StudyComparison* c = comparison(group, measure);
  return c == nullptr || c->other >= groups.size() ? nullptr : &groups[c->other];
}

std::string Findings::common(std::string_view key) const {
  for (const StudySetting& s : settings)
    if (s.of == "all" && s.key == key) return s.value;
  return "";
}

Measured measured(const StudyGroup& group, const std::string& measure) {
  Measured m{0, nan, nan, nan, {}};
  for (const StudyRun& run : group.runs)
    if (const auto it = run.numbers.find(measure); it != run.numbers.end()) m.values.push_back(it->second);
  const report::Statistics s = report::statistics(m.values);
  m.n = s.count, m.mean = s.mean, m.low = s.mean - s.half, m.high = s.mean + s.half;
  return m;
}

std::string ranked_by(const Findings& study) {
  for (const char* name : {"last_acc1", "test_acc1"})
    for (const StudyGroup& g : study.groups)
      if (measured(g, name).n > 0) return name;
  return "last_acc1";
}

std::vector<std::string> between(const Findings& study, std::string_view before, std::string_view after) {
  std::set<std::string> found;
  for (const StudyGroup& g : study.groups)
    for (const StudyRun& run : g.runs)
      for (auto it = run.numbers.lower_bound(std::string(before));
           it != run.numbers.end() && it->first.starts_with(before); ++it)
        if (it->first.ends_with(after) && it->first.size() > before.size() + after.size())
          found.insert(it->first.substr(before.size(), it->first.size() - before.size() - after.size()));
  std::vector<std::string> names(found.begin(), found.end());
  std::stable_sort(names.begin(), names.end(), [](const auto& a, const auto& b) { return sides(a) < sides(b); });
  return names;
}

StudyFiles read_study_files(const std::string& folder) {
  StudyFiles files;
  for (const char* name : {"results.csv", "timings.csv", "comparisons.csv", "pairwise.csv", "curves.csv",
                           "settings.csv", "missing.csv", "probe.csv", "probe.toml", "pictures.json", "plan.toml"}) {
    const fs::path path = fs::path(folder) / name;
    std::error_code none;
    if (fs::exists(path, none)) files[name] = io::read_file(path.string(), largest_file);
  }
  return files;
}

Findings read_findings(const StudyFiles& files, const std::string& folder) {
  Findings study;
  const Reader from(files, folder);
  study.probe = from.table("probe.csv"), study.probe_made = from.text("probe.toml");
  if (files.contains("results.csv") || study.probe.rows.empty()) read_runs(study, from);
  arrange(study);
  read_comparisons(study, from);
  read_gaps_and_settings(study, from);
  study.plan = from.text("plan.toml"), study.pictures = from.text("pictures.json");
  for (const auto& [name, bytes] : files) study.files.push_back(name);
  return study;
}

}  // namespace tessera::lab
