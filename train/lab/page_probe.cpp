// The answers of `tessera probe` (probe.csv) as heat maps: what encodings can express.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tessera/train/lab/page_parts.h"
#include "tessera/train/report/html.h"

namespace tessera::lab {
namespace {

using report::breakable;
using report::escape;

/// The values of a column in order of appearance.
std::vector<std::string> values(const Csv& table, std::string_view column) {
  std::vector<std::string> all;
  for (size_t r = 0; r < table.rows.size(); ++r)
    if (std::ranges::find(all, table.at(r, column)) == all.end()) all.push_back(table.at(r, column));
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

std::string map(const Csv& table, const std::string& size, const std::vector<std::string>& tasks) {
  std::string html = fmt::format(
      "<div class=\"card scroll\"><h3>{0} \u00d7 {0} pixels</h3>\n<table class=\"dense\"><thead><tr><th></th>",
      escape(size));
  for (const std::string& task : tasks) html += "<th class=\"n\">" + breakable(task) + "</th>";
  html += "</tr></thead><tbody>\n";
  for (const std::string& position : values(table, "position")) {
    html += "<tr><td>" + breakable(position) + "</td>";
    for (const std::string& task : tasks) {
      std::string found = "<td class=\"n\"></td>";
      for (size_t r = 0; r < table.rows.size(); ++r)
        if (table.at(r, "position") == position && table.at(r, "task") == task && table.at(r, "size") == size)
          found = cell(table, r);
      html += found;
    }
    html += "</tr>\n";
  }
  return html + "</tbody></table></div>\n";
}

}  // namespace

std::string probe_maps(const Csv& probe) {
  const std::vector<std::string> tasks = values(probe, "task"), sizes = values(probe, "size");
  if (tasks.empty() || probe.column("position") == probe.columns.size()) return "";
  std::string html = "<div class=\"stack\">\n";
  for (const std::string& size : sizes) html += map(probe, size, tasks);
  std::string reasons;
  for (const std::string& reason : values(probe, "absent"))
    if (!reason.empty()) reasons += "<p><small>\u2013 " + escape(reason) + "</small></p>\n";
  return report::section("What encodings can express",
                         "Right answers (%) of small models to questions about where things are, trained at the first "
                         "size; the darker, the further above chance, and in brackets what chance would do.",
                         html + reasons + "</div>\n");
}

}  // namespace tessera::lab
