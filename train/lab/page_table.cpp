// The tables of a study: accuracy with its interval drawn, costs, and what answers hang on.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tessera/train/lab/page_parts.h"
#include "tessera/train/report/chart.h"
#include "tessera/train/report/html.h"

namespace tessera::lab {
namespace {

using report::breakable;
using report::escape;
using report::number;

constexpr double width = 200, height = 22;  // of an interval's picture, in its own units; it stretches to its cell

/// What the intervals of a facet's groups, their seeds and their baselines lie between.
struct Axis {
  double low = 1, high = 0;
  std::vector<double> ticks;
  double at(double v) const { return std::clamp((v - low) / (high - low), 0.0, 1.0) * width; }
};

Axis axis(const Findings& study, size_t facet, const std::string& measure) {
  Axis a;
  for (const StudyGroup& g : study.groups) {
    if (g.facet != facet) continue;
    const Measured m = measured(g, measure);
    if (const StudyGroup* base = study.baseline_of(g, measure))  // maybe of another facet
      if (const Measured b = measured(*base, measure); b.n > 0)
        a.low = std::min(a.low, b.mean), a.high = std::max(a.high, b.mean);
    for (const double v : m.values) a.low = std::min(a.low, v), a.high = std::max(a.high, v);
    if (!std::isfinite(m.low)) continue;
    // of two or three runs an interval may be wider than all accuracies: the picture is of what was measured, then
    const double reach = 1.5 * (std::ranges::max(m.values) - std::ranges::min(m.values)) + 0.01;
    a.low = std::min(a.low, std::max(m.low, m.mean - reach)),
    a.high = std::max(a.high, std::min(m.high, m.mean + reach));
  }
  if (a.low > a.high) return {0, 1, {0, 1}};
  const double pad = 0.04 * (a.high - a.low) + 1e-4;
  a.low -= pad, a.high += pad;
  a.ticks = report::ticks(100 * a.low, 100 * a.high, 4);
  std::erase_if(a.ticks, [&](double t) { return t < 100 * a.low || t > 100 * a.high; });
  return a;
}

/// The line of the baseline, the seeds, the interval, the mean.
std::string interval_picture(const Measured& m, const Axis& a, double baseline, size_t encoding) {
  std::string svg =
      fmt::format("<svg viewBox=\"0 0 {} {}\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{}\">", width,
                  height, m.n > 0 ? points(m.mean) + " %" : "no run has ended");
  if (std::isfinite(baseline)) svg += fmt::format("<path class=\"zero\" d=\"M{:.1f} 0V{}\"/>", a.at(baseline), height);
  const double middle = height / 2;
  if (m.n > 1)
    for (const double v : m.values)
      svg += fmt::format("<path class=\"seed\" d=\"M{:.1f} {} h.01\"/>", a.at(v), middle + 7);
  const std::string color = fmt::format("style=\"stroke: var(--s{})\"", encoding % 8);
  if (std::isfinite(m.low))
    svg += fmt::format("<path class=\"span\" {} d=\"M{:.1f} {} H{:.1f}\"/>", color, a.at(m.low), middle, a.at(m.high));
  if (m.n > 0) svg += fmt::format("<path class=\"mean\" {} d=\"M{:.1f} {} h.01\"/>", color, a.at(m.mean), middle);
  return svg + "</svg>";
}

std::string axis_labels(const Axis& a) {
  std::string html = "<div class=\"scale2\">";
  for (const double t : a.ticks)
    html += fmt::format("<span style=\"left: {:.1f}%\">{}</span>", 100 * a.at(t / 100) / width, number(t, 6));
  return html + "</div>";
}

/// "better", "worse"; of the others what the sentence begins with: "no difference seen".
std::string verdict_in_words(const StudyComparison& c) {
  if (c.verdict == "better" || c.verdict == "worse") return fmt::format("<span class=\"{0}\">{0}</span>", c.verdict);
  return escape(c.words.substr(0, c.words.find_first_of(":,(;")));
}

std::string difference_cell(const StudyComparison* c) {
  if (c == nullptr) return "<td class=\"n\" data-v=\"\">\u2013</td>";
  if (c->verdict == "baseline") return "<td class=\"n\" data-v=\"0\"><span class=\"verdict\">baseline</span></td>";
  if (!std::isfinite(c->difference))
    return fmt::format("<td class=\"n\" data-v=\"\"><span class=\"verdict\" title=\"{}\">{}</span></td>",
                       escape(c->words), verdict_in_words(*c));
  std::string html = fmt::format("<td class=\"n\" data-v=\"{}\" title=\"{}\">{:+.2f}", c->difference, escape(c->words),
                                 100 * c->difference);
  if (std::isfinite(c->low))
    html += fmt::format(" <small class=\"interval\">[{:+.2f}, {:+.2f}]</small>", 100 * c->low, 100 * c->high);
  return html + "<span class=\"verdict\">" + verdict_in_words(*c) + "</span></td>";
}

/// Groups by facet and then by accuracy, the best first; those without a finished run last.
std::vector<const StudyGroup*> ranked(const Findings& study, const std::string& measure) {
  std::vector<const StudyGroup*> order;
  for (const StudyGroup& g : study.groups) order.push_back(&g);
  const auto rank = [&](const StudyGroup* g) {
    const double mean = measured(*g, measure).mean;
    return std::pair(g->facet, std::isfinite(mean) ? -mean : 2);
  };
  std::stable_sort(order.begin(), order.end(), [&](auto* a, auto* b) { return rank(a) < rank(b); });
  return order;
}

std::string number_cell(const Measured& m, const std::string& text, const char* more = "") {
  return fmt::format("<td class=\"n{}\" data-v=\"{}\">{}</td>", more, m.n > 0 ? fmt::format("{}", m.mean) : "",
                     m.n > 0 ? text : "\u2013");
}

bool any(const Findings& study, const std::string& measure) {
  return std::ranges::any_of(study.groups, [&](const StudyGroup& g) { return measured(g, measure).n > 0; });
}

bool with_facets(const Findings& study) { return study.facets.size() > 1; }

std::string tools(const Findings& study) {
  std::string html =
      "<div class=\"tools\" id=\"tools\" hidden=\"hidden\"><input id=\"filter\" type=\"search\" placeholder=\"filter: "
      "rope -axial\" aria-label=\"filter\"/>";
  if (with_facets(study)) {
    html += "<select id=\"facet\" aria-label=\"setting\"><option value=\"\">all settings</option>";
    for (size_t f = 0; f < study.facets.size(); ++f)
      html += fmt::format("<option value=\"{}\">{}</option>", f, escape(study.facets[f]));
    html += "</select>";
  }
  return html +
         "<button id=\"clear\" type=\"button\">show all</button><span id=\"shown\" role=\"status\"></span></div>\n";
}

}  // namespace

std::string accuracy_table(const Findings& study) {
  const std::string measure = ranked_by(study);
  std::vector<Axis> axes;
  for (size_t f = 0; f < study.facets.size(); ++f) axes.push_back(axis(study, f, measure));
  const std::string against = "to " + study.against();
  const bool sized = any(study, "params_added"), facets = with_facets(study);
  std::string html = tools(study) + "<div class=\"card scroll\"><table class=\"study\" id=\"accuracy\"><thead><tr>";
  html +=
      "<th data-sort=\"encoding\">" + breakable(study.grid.empty() ? "encoding" : study.grid[study.along]) + "</th>";
  if (facets) html += "<th data-sort=\"setting\">setting</th>";
  html += fmt::format("<th class=\"n\" data-sort=\"accuracy\"{}>test accuracy, %</th>",
                      facets ? "" : " aria-sort=\"descending\"");
  html += "<th class=\"whisk\">" +
          (facets ? std::string("each setting has its own scale")
                  : axis_labels(axes.empty() ? Axis{0, 1, {0, 1}} : axes[0])) +
          "</th>";
  html += "<th class=\"n\" data-sort=\"difference\">" + breakable(against) + ", points</th>";
  if (sized) html += "<th class=\"n less\" data-sort=\"params\">parameters added</th>";
  html += "<th class=\"n less\" data-sort=\"runs\">runs</th></tr></thead><tbody>\n";
  for (const StudyGroup* g : ranked(study, measure)) {
    const Measured m = measured(*g, measure), more = measured(*g, "params_added");
    const StudyGroup* baseline = study.baseline_of(*g, measure);
    html += fmt::format("<tr {} data-words=\"{}\"><td>{}</td>", mark(*g), escape(study.label(*g)),
                        chip(g->encoding, fmt::format("<a href=\"#group-{}\">{}</a>", g - study.groups.data() + 1,
                                                      breakable(study.encodings[g->encoding])) +
                                              dagger(*g)));
    if (facets) html += "<td>" + breakable(study.facets[g->facet]) + "</td>";
    html += number_cell(m, with_interval(m));
    html += "<td class=\"whisk\">" +
            interval_picture(m, axes[g->facet], baseline ? measured(*baseline, measure).mean : NAN, g->encoding) +
            "</td>";
    html += difference_cell(study.comparison(*g, measure));
    if (sized) html += number_cell(more, number(more.mean, 12), " less");
    html += fmt::format("<td class=\"n less\" data-v=\"{0}\">{0}</td></tr>\n", m.n);
  }
  const bool compared =
      std::ranges::any_of(study.groups, [&](const StudyGroup& g) { return study.baseline_of(g, measure); });
  const std::string base = compared ? " The dashed line is " + study.against() + "." : "";
  return report::section(
      "Accuracy",
      "Mean over seeds with Student's 95 % interval, of the last epoch on the test split; small dots are the seeds." +
          base +
          " A difference is that of runs with the same seed; it is called better or worse only if a paired t-test "
          "gives "
          "p < 0.05 after Holm's correction. That is within one measure: a family are the comparisons of one measure "
          "with "
          "the baseline, and of twenty measures without any difference one may still have a verdict. No difference "
          "seen "
          "does not mean that there is none.",
      html + "</tbody></table></div>\n");
}

std::string cost_table(const Findings& study) {
  struct Column {
    const char *measure, *heading;
    bool whole;  ///< a count, and not a ratio
  };
  std::vector<Column> columns = {{"params", "parameters", true},
                                 {"params_added", "added", true},
                                 {"macs", "multiplications", true},
                                 {"macs_added", "added", true},
                                 {"images_per_s", "samples a second", true},
                                 {"images_per_s_vs_none", "speed beside none", false},
                                 {"peak_tensors_mb", "tensors at the peak, MB", true},
                                 {"peak_tensors_vs_none", "beside none", false}};
  std::erase_if(columns, [&](const Column& c) { return !any(study, c.measure); });
  if (columns.empty()) return "";
  std::string html = "<div class=\"card scroll\"><table class=\"dense\"><thead><tr><th></th>";
  for (const Column& c : columns) html += fmt::format("<th class=\"n\">{}</th>", c.heading);
  html += "</tr></thead><tbody class=\"sifted\">\n";
  for (const StudyGroup& g : study.groups) {
    html += fmt::format("<tr {}><td>{}</td>", mark(g), chip(g.encoding, breakable(study.label(g)) + dagger(g)));
    for (const Column& c : columns) {
      const Measured m = measured(g, c.measure);
      html += number_cell(m, c.whole ? report::si(m.mean) : fmt::format("{:.2f} \u00d7", m.mean));
    }
    html += "</tr>\n";
  }
  return report::section(
      "Cost",
      "Parameters and multiplications of one sample through the model; samples a second are those of the "
      "whole training, with the threads it had and beside whatever else ran; speed and memory beside "
      "none are of training steps that took turns with those of none in the same model.",
      html + "</tbody></table></div>\n");
}

std::string reliance_table(const Findings& study) {
  std::vector<std::pair<std::string, std::string>> columns = {{"subset_acc1", "as trained"},
                                                              {"positions.zeroed.acc1", "positions taken out"},
                                                              {"positions.transposed.acc1", "x and y swapped"},
                                                              {"positions.reversed.acc1", "reversed"},
                                                              {"permuted.same.acc1", "tokens shuffled, all alike"},
                                                              {"permuted.each.acc1", "tokens shuffled"}};
  for (const std::string& k : between(study, "grid_shuffle.", ".acc1"))
    columns.emplace_back("grid_shuffle." + k + ".acc1", k + " \u00d7 " + k + " tiles shuffled");
  columns.insert(columns.end(), {{"flip.acc1", "mirrored"},
                                 {"flip.consistency", "unchanged when mirrored"},
                                 {"lossless_acc1", "lossless images"}});
  std::erase_if(columns, [&](const auto& c) { return !any(study, c.first); });
  if (columns.empty() || (columns.size() == 1 && columns[0].first == "subset_acc1")) return "";
  std::string html = "<div class=\"card scroll\"><table class=\"dense\"><thead><tr><th></th>";
  for (const auto& [name, heading] : columns) html += "<th class=\"n\">" + escape(heading) + "</th>";
  html += "</tr></thead><tbody class=\"sifted\">\n";
  for (const StudyGroup& g : study.groups) {
    html += fmt::format("<tr {}><td>{}</td>", mark(g), chip(g.encoding, breakable(study.label(g)) + dagger(g)));
    for (const auto& [name, heading] : columns) {
      const Measured m = measured(g, name);
      html += m.n == 0 ? "<td class=\"n\">\u2013</td>"
                       : fmt::format("<td class=\"n shade\" style=\"--by: {:.3f}\" title=\"{}\">{}</td>",
                                     std::clamp(m.mean, 0.0, 1.0), escape(name), with_interval(m));
    }
    html += "</tr>\n";
  }
  return report::section("What answers hang on",
                         "Accuracy (%) of the trained networks when the test is changed; the darker, the more of it is "
                         "left. Mean over seeds with Student's 95 % interval.",
                         html + "</tbody></table></div>\n");
}

}  // namespace tessera::lab
