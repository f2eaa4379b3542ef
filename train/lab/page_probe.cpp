// The answers of `tessera probe` (probe.csv) as heat maps: what encodings can express.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "tessera/train/lab/page_parts.h"
#include "tessera/train/lab/probe.h"
#include "tessera/train/report/html.h"

namespace tessera::lab {
namespace {

using report::breakable;
using report::escape;

/// The values of a column in order of appearance, in the rows that are asked for.
std::vector<std::string> values(
    const Csv& table, std::string_view column, const std::function<bool(size_t)>& row = [](size_t) { return true; }) {
  std::vector<std::string> all;
  for (size_t r = 0; r < table.rows.size(); ++r)
    if (row(r) && std::ranges::find(all, table.at(r, column)) == all.end()) all.push_back(table.at(r, column));
  return all;
}

/// From nothing at chance to full colour where every answer is right; in brackets what chance would do.
std::string cell(const Csv& table, size_t r) {
  const auto number = [&](const char* column) { return number_in(table.at(r, column)); };
  const double accuracy = number("accuracy"), chance = number("chance"), low = number("low"), high = number("high");
  if (!std::isfinite(accuracy))
    return fmt::format("<td class=\"n\" title=\"{}\">\u2013</td>", escape(table.at(r, "absent")));
  const double by = chance < 1 ? std::clamp((accuracy - chance) / (1 - chance), 0.0, 1.0) : 0;
  const bool above = table.at(r, "standing") == "above chance";
  const std::string title =
      fmt::format("{}, {}: {} %{}, chance {} %, {}", table.at(r, "position"), table.at(r, "task"), points(accuracy, 1),
                  std::isfinite(low) ? fmt::format(" [{}, {}]", points(low, 1), points(high, 1)) : "",
                  points(chance, 1), table.at(r, "standing"));
  return fmt::format("<td class=\"n shade\" style=\"--by: {:.3f}\" title=\"{}\">{}</td>", by, escape(title),
                     above ? points(accuracy, 0) : "(" + points(accuracy, 0) + ")");
}

/// Those of one size and pooling; tables of before 2026-11-29 have no column `pool`.
std::string map(const Csv& table, const std::string& size, const std::string& pool) {
  const bool pools = table.column("pool") < table.columns.size();
  const auto here = [&](size_t r) { return table.at(r, "size") == size && (!pools || table.at(r, "pool") == pool); };
  const std::vector<std::string> tasks = values(table, "task", here);
  if (tasks.empty()) return "";
  std::string html = fmt::format(
      "<div class=\"card scroll\"><h3>{0} \u00d7 {0} pixels{1}</h3>\n<table class=\"dense\"><thead><tr><th></th>",
      escape(size), pool_in_words(pool));
  for (const std::string& task : tasks) html += "<th class=\"n\">" + breakable(task) + "</th>";
  html += "</tr></thead><tbody>\n";
  for (const std::string& position : values(table, "position", here)) {
    html += "<tr><td>" + breakable(position) + "</td>";
    for (const std::string& task : tasks) {
      std::string found = "<td class=\"n\"></td>";
      for (size_t r = 0; r < table.rows.size(); ++r)
        if (here(r) && table.at(r, "position") == position && table.at(r, "task") == task) found = cell(table, r);
      html += found;
    }
    html += "</tr>\n";
  }
  return html + "</tbody></table></div>\n";
}

}  // namespace

std::string probe_maps(const Csv& probe, const std::string& made) {
  if (probe.rows.empty() || probe.column("position") == probe.columns.size()) return "";
  const bool pools = probe.column("pool") < probe.columns.size();
  std::string html = "<div class=\"stack\">\n";
  for (const std::string& size : values(probe, "size"))
    for (const std::string& pool : pools ? values(probe, "pool") : std::vector<std::string>{""})
      html += map(probe, size, pool);
  std::string reasons;
  for (const std::string& reason : values(probe, "absent"))
    if (!reason.empty()) reasons += "<p><small>\u2013 " + escape(reason) + "</small></p>\n";
  const std::string behind = made.empty() ? ""
                                          : "<details class=\"card\"><summary>The command, the program and the "
                                            "configuration of these trainings</summary><pre>" +
                                                escape(made) + "</pre></details>\n";
  return report::section("What encodings can express",
                         "Right answers (%) of small models to questions about where things are, trained at the first "
                         "size; the darker, the further above chance, and in brackets what chance would do.",
                         html + reasons + behind + "</div>\n");
}

}  // namespace tessera::lab
