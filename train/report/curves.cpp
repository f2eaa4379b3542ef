#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tessera/train/report/chart.h"
#include "tessera/train/report/html.h"
#include "tessera/train/report/page.h"

namespace tessera::report {
namespace {

/// Runs without epochs are drawn over steps, all of them then.
bool by_epoch(const Runs& runs) {
  for (const RunFiles& r : runs)
    for (const Metric& m : r.metrics)
      if (std::isfinite(m.epoch)) return true;
  return false;
}

Series curve(const RunFiles& run, const std::string& split, double Metric::*measure, double Metric::*over,
             std::string label, size_t color) {
  Series s{std::move(label), {}, static_cast<int>(color % 32), ""};
  for (const Metric& m : run.metrics)
    if (m.split == split && std::isfinite(m.*over) && std::isfinite(m.*measure))
      s.points.emplace_back(m.*over, m.*measure);
  std::stable_sort(s.points.begin(), s.points.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  return s;
}

}  // namespace

/// One run: a line per split. Several: a chart per split, a line per run, so that colour means the same in every chart.
std::string curves(const Runs& runs, const Colours& colours) {
  struct Measure {
    const char* title;
    double Metric::*of;
    bool from_zero;
    const char* unit;
    bool every_split;
  };
  const Measure measures[] = {{"loss", &Metric::loss, false, "", true},
                              {"accuracy", &Metric::acc1, false, " %", true},
                              {"learning rate", &Metric::lr, true, "", false},
                              {"samples a second", &Metric::images_per_s, true, "", false}};
  const std::pair<const char*, const char*> splits[] = {{"train", "training"}, {"val", "validation"}, {"test", "test"}};
  const bool epochs = by_epoch(runs);
  double Metric::*over = epochs ? &Metric::epoch : &Metric::step;
  std::string html;
  for (const Measure& m : measures) {
    if (runs.size() == 1) {
      Chart chart{m.title, epochs ? "epoch" : "step", {}, m.from_zero, m.unit};
      size_t color = 0;
      for (const auto& [split, label] : splits) {
        if (m.every_split || color == 0)
          chart.series.push_back(curve(runs[0], split, m.of, over, m.every_split ? label : "", color));
        ++color;
      }
      html += line_chart(chart);
      continue;
    }
    for (const auto& [split, label] : splits) {
      if (!m.every_split && std::string_view(split) != "train") continue;
      Chart chart{m.every_split ? std::string(label) + " " + m.title : m.title,
                  epochs ? "epoch" : "step",
                  {},
                  m.from_zero,
                  m.unit};
      for (size_t i = 0; i < runs.size(); ++i) {
        chart.series.push_back(curve(runs[i], split, m.of, over, runs[i].label, colours.of[i]));
        if (colours.repeats) chart.series.back().legend = colours.groups[colours.of[i]].label;
      }
      // a test set measured once a run is in the table of results
      const auto curved = [](const Series& series) { return series.points.size() > 1; };
      if (std::any_of(chart.series.begin(), chart.series.end(), curved)) html += line_chart(chart);
    }
  }
  const char* note = colours.repeats
                         ? "Runs that differ only in their seeds share a colour, and in the legend the mean "
                           "of their last values. Hover over a point for its numbers."
                         : "Hover over a point for its numbers.";
  return html.empty() ? "" : section("Curves", note, "<div class=\"charts\">\n" + html + "</div>\n");
}

}  // namespace tessera::report
