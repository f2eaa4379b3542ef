#include "train/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "core/error.h"
#include "core/io/replace_file.h"
#include "train/report/chart.h"
#include "train/report/confusion.h"
#include "train/report/html.h"
#include "train/report/picture.h"
#include "train/report/run.h"

namespace tessera::report {
namespace {

using Runs = std::vector<RunFiles>;
constexpr const char* none = "\u2013";

std::string percent(double v) { return std::isfinite(v) ? fmt::format("{:.2f} %", v) : none; }

/// The accuracy a run is known by: of the summary, else the last one on test or validation.
struct Accuracy {
  double value;
  std::string of;
};
Accuracy accuracy(const RunFiles& run) {
  if (const double v = run.figure("test_acc1"); std::isfinite(v)) return {v, "test accuracy"};
  if (const double v = run.last("test", &Metric::acc1); std::isfinite(v)) return {v, "test accuracy so far"};
  if (const double v = run.last("val", &Metric::acc1); std::isfinite(v)) return {v, "validation accuracy so far"};
  return {run.last("train", &Metric::acc1), "training accuracy so far"};
}

std::string what(const RunFiles& run) {
  const std::string model = run.said("model", run.label), position = run.said("position");
  return position.empty() ? model : model + " with " + position;
}

// --- tiles
// ---------------------------------------------------------------------------------------------------------------------

std::string tile(std::string_view name, const std::string& value, const std::string& small = "") {
  if (value == none) return "";
  return fmt::format("<div class=\"tile\"><span>{}</span><b>{}</b>{}</div>\n", escape(name), escape(value),
                     small.empty() ? "" : "<small>" + escape(small) + "</small>");
}

std::string tiles(const RunFiles& run) {
  const Accuracy acc = accuracy(run);
  double best = NAN, best_epoch = NAN;
  for (const Metric& m : run.metrics)
    if (m.split == "val" && !(m.acc1 <= best)) best = m.acc1, best_epoch = m.epoch;
  const std::string macs = std::isfinite(run.figure("macs")) ? si(run.figure("macs")) + " MACs an image" : "";
  double seconds = run.figure("seconds"), rate = run.figure("images_per_s");
  if (!std::isfinite(rate)) rate = run.last("train", &Metric::images_per_s);
  if (!std::isfinite(seconds)) seconds = run.last("train", &Metric::seconds);
  return "<div class=\"tiles\">\n" + tile(acc.of, percent(acc.value)) +
         tile("best validation", percent(best), std::isfinite(best_epoch) ? "epoch " + number(best_epoch, 6) : "") +
         tile("parameters", std::isfinite(run.figure("params")) ? si(run.figure("params")) : none, macs) +
         tile("training time", duration(seconds)) +
         tile("images a second", std::isfinite(rate) ? si(rate) : none, run.said("precision")) + "</div>\n";
}

// --- curves
// --------------------------------------------------------------------------------------------------------------------

Series curve(const RunFiles& run, const std::string& split, double Metric::*measure, std::string label, int color) {
  Series s{std::move(label), {}, color};
  for (const Metric& m : run.metrics) {
    const double at = std::isfinite(m.epoch) ? m.epoch : m.step;
    if (m.split == split && std::isfinite(at) && std::isfinite(m.*measure)) s.points.emplace_back(at, m.*measure);
  }
  std::stable_sort(s.points.begin(), s.points.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  return s;
}

/// One run: a line per split. Several: a chart per split, a line per run, so that colour means the same in every chart.
std::string curves(const Runs& runs) {
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
                              {"images a second", &Metric::images_per_s, true, "", false}};
  const std::pair<const char*, const char*> splits[] = {{"train", "training"}, {"val", "validation"}, {"test", "test"}};
  std::string html;
  for (const Measure& m : measures) {
    if (runs.size() == 1) {
      Chart chart{m.title, "epoch", {}, m.from_zero, m.unit};
      int color = 0;
      for (const auto& [split, label] : splits) {
        if (m.every_split || color == 0)
          chart.series.push_back(curve(runs[0], split, m.of, m.every_split ? label : "", color));
        ++color;
      }
      html += line_chart(chart);
      continue;
    }
    for (const auto& [split, label] : splits) {
      if (!m.every_split && std::string_view(split) != "train") continue;
      Chart chart{m.every_split ? std::string(label) + " " + m.title : m.title, "epoch", {}, m.from_zero, m.unit};
      for (size_t i = 0; i < runs.size(); ++i)
        chart.series.push_back(curve(runs[i], split, m.of, runs[i].label, static_cast<int>(i)));
      // a test set measured once a run is in the table of results
      const auto curved = [](const Series& series) { return series.points.size() > 1; };
      if (std::any_of(chart.series.begin(), chart.series.end(), curved)) html += line_chart(chart);
    }
  }
  return html.empty()
             ? ""
             : section("Curves", "Hover over a point for its numbers.", "<div class=\"charts\">\n" + html + "</div>\n");
}

// --- tables
// --------------------------------------------------------------------------------------------------------------------

std::string chip(size_t run) { return fmt::format("<i class=\"chip\" style=\"background: var(--s{})\"></i>", run % 8); }

std::string comparison(const Runs& runs) {
  std::string html =
      "<div class=\"card scroll\"><table><thead><tr><th>run</th><th>model</th><th>position</th><th "
      "class=\"n\">accuracy</th>"
      "<th class=\"n\">to the first</th><th class=\"n\">parameters</th><th class=\"n\">images a second</th><th "
      "class=\"n\">time</th></tr></thead><tbody>\n";
  const double first = accuracy(runs[0]).value;
  for (size_t i = 0; i < runs.size(); ++i) {
    const RunFiles& r = runs[i];
    const double a = accuracy(r).value, p = r.figure("params"), rate = r.figure("images_per_s");
    html += fmt::format(
        "<tr><td>{}{}</td><td>{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td "
        "class=\"n\">{}</td><td class=\"n\">{}</td><td "
        "class=\"n\">{}</td></tr>\n",
        chip(i), escape(r.label), escape(r.said("model", none)), escape(r.said("position", none)), percent(a),
        i > 0 && std::isfinite(a - first) ? fmt::format("{:+.2f}", a - first) : "",
        std::isfinite(p) ? fmt::format("{:.0f}", p) : none, si(rate), duration(r.figure("seconds")));
  }
  return section("Results", "Accuracy is that of the test set when a run has ended, else the last one measured.",
                 html + "</tbody></table></div>\n");
}

/// Rows of keys and a column a run, only where not all runs agree. `get` returns the text of a key in a run.
template <class Get>
std::string differences(const Runs& runs, const std::vector<std::string>& keys, Get get) {
  std::string rows;
  for (const std::string& key : keys) {
    bool same = true;
    for (const RunFiles& r : runs) same = same && get(r, key) == get(runs[0], key);
    if (same) continue;
    rows += "<tr><th class=\"key\">" + escape(key) + "</th>";
    for (const RunFiles& r : runs) rows += "<td>" + escape(get(r, key)) + "</td>";
    rows += "</tr>\n";
  }
  if (rows.empty()) return "";
  std::string head = "<tr><th></th>";
  for (size_t i = 0; i < runs.size(); ++i) head += "<th>" + chip(i) + escape(runs[i].label) + "</th>";
  return "<div class=\"card scroll\"><table><thead>" + head + "</tr></thead><tbody>\n" + rows +
         "</tbody></table></div>\n";
}

std::string config_differences(const Runs& runs) {
  std::set<std::string> keys;
  for (const RunFiles& r : runs)
    for (const auto& [key, value] : r.config) keys.insert(key);
  const std::string table =
      differences(runs, {keys.begin(), keys.end()}, [](const RunFiles& r, const std::string& key) {
        const auto it = r.config.find(key);
        return it == r.config.end() ? std::string(none) : it->second;
      });
  return section("Differences in configuration",
                 table.empty() ? "There are none." : "Keys with the same value in all runs are left out.", table);
}

std::string summary(const RunFiles& run) {
  if (run.summary.empty()) return section("Summary", "The run has not ended: there is no summary.json yet.", "");
  std::string html = "<div class=\"card scroll\"><table><tbody>\n";
  for (const auto& [key, value] : run.summary) {
    html += "<tr><th class=\"key\">" + escape(key) + "</th><td>" + escape(value) + "</td></tr>\n";
  }
  return section("Summary", "", html + "</tbody></table></div>\n");
}

std::string config(const Runs& runs) {
  std::string html;
  for (const RunFiles& r : runs) {
    html +=
        fmt::format("<details class=\"card\"{}><summary>{}</summary><pre>{}</pre></details>\n",
                    runs.size() == 1 ? " open=\"open\"" : "", escape(r.label + "/config.toml"), escape(r.config_text));
  }
  return section("Configuration", "", html);
}

// --- what the trainer left
// ---------------------------------------------------------------------------------------------------

std::string sample(const Data& data, const Sample& s) {
  const std::string truth = escape(data.classes[size_t(s.truth)]),
                    predicted = escape(data.classes[size_t(s.predicted)]);
  const bool right = s.truth == s.predicted;
  return fmt::format(
      "<div class=\"sample\" title=\"true: {}, predicted: {} with {:.1f} %\">{}<p{}>{}{}</p><p "
      "class=\"was\">{}</p><div class=\"bar\"><i{} style=\"width: "
      "{:.0f}%\"></i></div></div>\n",
      truth, predicted, 100 * s.probability, photo(s, data.classes[size_t(s.truth)]), right ? "" : " class=\"wrong\"",
      right ? "\u2713 " : "\u2717 ", predicted,
      right ? fmt::format("{:.0f} %", 100 * s.probability) : fmt::format("{:.0f} %, is {}", 100 * s.probability, truth),
      right ? "" : " class=\"no\"", 100 * std::clamp(s.probability, 0.0, 1.0));
}

std::string samples(const Data& data) {
  if (data.samples.empty()) return "";
  std::vector<const Sample*> order;
  for (const Sample& s : data.samples) order.push_back(&s);
  std::stable_sort(order.begin(), order.end(), [](const Sample* a, const Sample* b) {
    const bool ra = a->truth == a->predicted, rb = b->truth == b->predicted;
    return ra != rb ? !ra : a->probability > b->probability;
  });
  std::string wrong, right;
  for (const Sample* s : order) (s->truth == s->predicted ? right : wrong) += sample(data, *s);
  const auto group = [](const char* heading, const std::string& html) {
    return html.empty() ? ""
                        : fmt::format("<h2 class=\"sub\">{}</h2>\n<div class=\"samples\">\n{}</div>\n", heading, html);
  };
  return section(
      "Sample predictions",
      "From the " + data.split + " split, the surest first; the bar is the probability of the predicted class.",
      "<div class=\"card\">" + group("Mistakes", wrong) + group("Correct", right) + "</div>\n");
}

std::string tables(const Data& data) {
  std::string html;
  for (const Table& t : data.tables) html += table_card(t);
  return html.empty() ? ""
                      : section("Learned positions", "The position tables as they are at the end of training.",
                                "<div class=\"tables\">\n" + html + "</div>\n");
}

std::string pictures(const Runs& runs) {
  std::string html;
  for (const RunFiles& r : runs) {
    if (!r.data) continue;
    const std::string part = confusion(*r.data) + (runs.size() == 1 ? samples(*r.data) : "") + tables(*r.data);
    html += runs.size() > 1 && !part.empty() ? section("Run " + r.label, what(r), part) : part;
  }
  return html;
}

}  // namespace

void write(const std::vector<std::string>& rundirs, const std::string& out) {
  if (rundirs.empty()) fail("report", "no run directory was given");
  Runs runs;
  for (const std::string& dir : rundirs) runs.push_back(read_run(dir));
  // runs of the same folder name in different places are told apart by their paths
  for (const RunFiles& a : runs) {
    const auto same = [&](const RunFiles& b) { return b.label == a.label; };
    if (std::count_if(runs.begin(), runs.end(), same) < 2) continue;
    const std::string label = a.label;
    for (RunFiles& b : runs)
      if (b.label == label) b.label = b.dir;
  }

  std::string title, note, body;
  if (runs.size() == 1) {
    const RunFiles& r = runs[0];
    title = what(r);
    note = r.label;
    for (const char* key : {"data.name", "epochs", "seed", "precision", "threads", "isa", "version"}) {
      if (const std::string v = r.said(key); !v.empty())
        note += std::string(" \u00b7 ") + (std::string_view(key) == "data.name" ? "" : std::string(key) + " ") + v;
    }
    body = tiles(r) + curves(runs) + pictures(runs) + summary(r) + config(runs);
  } else {
    title = fmt::format("{} runs compared", runs.size());
    for (const RunFiles& r : runs) note += (note.empty() ? "" : " \u00b7 ") + r.label;
    body = comparison(runs) + curves(runs) + config_differences(runs) + pictures(runs) + config(runs);
  }
  const std::string header =
      fmt::format("<header><h1>{}</h1><p class=\"note\">{}</p></header>\n", escape(title), escape(note));
  io::replace_file(out,
                   page(title + " \u2013 tessera", header + body + "<footer>Written by tessera report.</footer>\n"));
}

}  // namespace tessera::report
