#include "tessera/train/report/results.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <limits>
#include <map>
#include <set>
#include <string_view>

#include "tessera/train/report/groups.h"
#include "tessera/train/report/html.h"

namespace tessera::report {
namespace {

using Row = std::map<std::string, std::string>;
constexpr std::array<const char*, 6> temporal = {"seconds", "images_per_s", "threads", "isa", "version", "environment"};
constexpr std::array<const char*, 2> measures = {"test_acc1", "best_val_acc1"};

/// The number that is the whole text, or NaN.
double parsed(std::string_view text) {
  double v = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), v);
  return error == std::errc() && end == text.data() + text.size() && std::isfinite(v)
             ? v
             : std::numeric_limits<double>::quiet_NaN();
}

std::string where(const RunFiles& run, const std::string& root) {
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::path path = fs::relative(run.dir, root, error);
  return error || path.empty() ? run.dir : path.string();
}

std::string table(const std::vector<std::string>& columns, const std::vector<Row>& rows) {
  const auto line = [&](const auto& cell_of) {
    std::string s;
    for (size_t c = 0; c < columns.size(); ++c) s += (c ? "," : "") + csv_cell(cell_of(columns[c]));
    return s + "\n";
  };
  std::string csv = line([](const std::string& c) { return c; });
  for (const Row& row : rows)
    csv += line([&](const std::string& c) {
      const auto it = row.find(c);
      return it == row.end() ? std::string() : it->second;
    });
  return csv;
}

/// Finished runs only, so that a group says the same before and after another run of the folder has begun.
Runs finished(const Runs& runs) {
  Runs those;
  for (const RunFiles& r : runs)
    if (!r.summary.empty() && r.said("finished") != "false")
      those.push_back(r);  // an interrupted one has a summary, too
  return those;
}

}  // namespace

std::string csv_cell(std::string_view text) {
  std::string s = printable(text);
  const bool formula = !s.empty() && std::string_view("=+-@\t").find(s[0]) != std::string_view::npos;
  if (formula && !std::isfinite(parsed(s))) s.insert(0, "'");
  if (s.find_first_of(",\"\n") == std::string::npos) return s;
  std::string quoted = "\"";
  for (const char c : s) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

std::string results_csv(const Runs& all, const std::string& root) {
  const Runs runs = finished(all);
  std::vector<std::string> order = {"run", "model", "position", "seed"};
  std::vector<std::string> keys = differing(runs);
  std::erase_if(keys, [](const std::string& k) { return k == "model.name" || k == "position.name"; });
  order.insert(order.end(), keys.begin(), keys.end());

  std::vector<Row> rows;
  std::set<std::string> rest;
  for (const RunFiles& r : runs) {
    Row& row = rows.emplace_back();
    for (const auto& [key, value] : r.summary)
      if (std::find(temporal.begin(), temporal.end(), key) == temporal.end()) row[key] = value;
    for (const std::string& key : keys)
      if (const auto it = r.config.find(key); it != r.config.end()) row[key] = plain(it->second);
    row["run"] = where(r, root);
  }
  const std::vector<Group> sets = groups(runs);
  for (size_t g = 0; g < sets.size(); ++g) {
    for (const char* measure : measures) {
      const Statistics s =
          statistics(measured(runs, sets[g], [&](const RunFiles& r) { return parsed(r.said(measure)); }));
      if (s.count == 0) continue;
      for (const size_t i : sets[g].runs) {
        const std::string name = std::string("group.") + measure;
        rows[i][name + ".mean"] = fmt::format("{}", s.mean);
        rows[i][name + ".n"] = fmt::format("{}", s.count);
        rows[i][name + ".sd"] = std::isfinite(s.sd) ? fmt::format("{}", s.sd) : "";
      }
    }
    for (const size_t i : sets[g].runs) rows[i]["group"] = std::to_string(g + 1);
  }
  for (const Row& row : rows)
    for (const auto& [key, value] : row)
      if (std::find(order.begin(), order.end(), key) == order.end()) rest.insert(key);
  order.insert(order.end(), rest.begin(), rest.end());
  return table(order, rows);
}

std::string timings_csv(const Runs& all, const std::string& root) {
  const Runs runs = finished(all);
  std::vector<Row> rows(runs.size());
  const std::vector<Group> sets = groups(runs);
  for (size_t g = 0; g < sets.size(); ++g)
    for (const size_t i : sets[g].runs) rows[i]["group"] = std::to_string(g + 1);
  for (size_t i = 0; i < runs.size(); ++i) {
    rows[i]["run"] = where(runs[i], root);
    for (const char* key : temporal) rows[i][key] = runs[i].said(key);
  }
  std::vector<std::string> columns = {"run", "group"};
  columns.insert(columns.end(), temporal.begin(), temporal.end());
  return table(columns, rows);
}

}  // namespace tessera::report
