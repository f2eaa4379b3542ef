// The curves of a study: over epochs, over the size of the image, over shifts, over depth.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "tessera/train/lab/page_parts.h"
#include "tessera/train/report/chart.h"
#include "tessera/train/report/html.h"

namespace tessera::lab {
namespace {

using report::Chart;
using report::Series;

constexpr size_t most_points = 200;  // of a curve; longer ones are thinned

Series series(const Findings& study, const StudyGroup& group) {
  Series s{study.encodings[group.encoding] + (stopped_early(group) > 0 ? " \u2020" : ""),
           {},
           static_cast<int>(group.encoding % 32),
           ""};
  s.mark = mark(group);
  return s;
}

/// A chart for each facet, made by `draw(chart, group)` for every group; those without a point are left out.
template <class Draw>
std::string by_facet(const Findings& study, const Chart& frame, Draw draw) {
  std::string html;
  for (size_t f = 0; f < study.facets.size(); ++f) {
    Chart chart = frame;
    chart.legend = false;
    if (!study.facets[f].empty()) chart.title += ", " + study.facets[f];
    for (const StudyGroup& g : study.groups)
      if (g.facet == f)
        if (Series s = draw(g); !s.points.empty()) chart.series.push_back(std::move(s));
    html += line_chart(chart);
  }
  return html;
}

std::string charts(const std::string& heading, const std::string& note, const std::string& html) {
  return html.empty() ? "" : report::section(heading, note, "<div class=\"charts\">\n" + html + "</div>\n");
}

/// Mean over seeds at each epoch; the band is what the seeds lie between. Both end where the first of the seeds ends: the mean of those that
/// were not stopped is another curve, and would begin with a jump.
Series over_epochs(const Findings& study, const StudyGroup& group, double Epoch::*measure, double scale) {
  std::map<double, std::vector<double>> at;
  double end = INFINITY;
  for (const StudyRun& run : group.runs) {
    double last = -INFINITY;
    for (const Epoch& e : run.epochs)
      if (std::isfinite(e.epoch) && std::isfinite(e.*measure))
        at[e.epoch].push_back(scale * e.*measure), last = std::max(last, e.epoch);
    if (std::isfinite(last)) end = std::min(end, last);
  }
  at.erase(at.upper_bound(end), at.end());
  Series s = series(study, group);
  s.band = true;
  const size_t stride = 1 + at.size() / most_points;
  size_t i = 0;
  for (const auto& [epoch, values] : at) {
    if (i++ % stride != 0 && i != at.size()) continue;
    double sum = 0;
    for (const double v : values) sum += v;
    s.points.emplace_back(epoch, sum / static_cast<double>(values.size()));
    s.range.emplace_back(std::ranges::min(values), std::ranges::max(values));
  }
  if (s.points.size() < 2) s.points.clear();
  return s;
}

void add(Series& s, double x, const Measured& m) {
  if (m.n == 0) return;
  s.points.emplace_back(x, 100 * m.mean);
  s.range.emplace_back(100 * m.low, 100 * m.high);
}

std::vector<double> squares(const std::vector<std::string>& sizes) {
  std::vector<double> sides;
  for (const std::string& size : sizes) {
    const size_t x = size.find('x');
    if (x != std::string::npos && size.substr(0, x) == size.substr(x + 1))
      sides.push_back(number_in(size.substr(0, x)));
  }
  std::erase_if(sides, [](double v) { return !std::isfinite(v); });
  return sides;
}

/// Ticks where something was measured, but for those whose labels would touch on a phone.
std::vector<double> few(const std::vector<double>& xs) {
  std::vector<double> some;
  for (const double x : xs)
    if (some.empty() || x - some.back() >= 0.075 * (xs.back() - xs.front())) some.push_back(x);
  return some;
}

std::string resolution_table(const Findings& study, const std::vector<std::string>& sizes) {
  std::string html =
      "<details class=\"card scroll\"><summary>Every size as a number, also those that are not square (height x "
      "width)</summary>\n"
      "<table class=\"dense\"><thead><tr><th></th>";
  for (const std::string& size : sizes) html += "<th class=\"n\">" + report::escape(size) + "</th>";
  html += "</tr></thead><tbody class=\"sifted\">\n";
  for (const StudyGroup& g : study.groups) {
    html += fmt::format("<tr {}><td>{}</td>", mark(g), chip(g.encoding, report::breakable(study.label(g)) + dagger(g)));
    for (const std::string& size : sizes)
      html += "<td class=\"n\">" + with_interval(measured(g, "resolution." + size + ".acc1")) + "</td>";
    html += "</tr>\n";
  }
  return html + "</tbody></table></details>\n";
}

}  // namespace

std::string chart_legend(const Findings& study) {
  if (study.encodings.size() < 2) return "";
  const auto early = [&](size_t encoding) {
    const auto it = std::ranges::find_if(
        study.groups, [&](const StudyGroup& g) { return g.encoding == encoding && stopped_early(g) > 0; });
    return it == study.groups.end() ? std::string() : dagger(*it);
  };
  std::string html = "<div class=\"legend keys\">";
  for (size_t e = 0; e < study.encodings.size(); ++e)
    html += fmt::format("<span data-e=\"{}\">{}<i>{}{}</i></span>", e, report::line_sample(static_cast<int>(e % 32)),
                        report::breakable(study.encodings[e]), early(e));
  return html + "</div>\n";
}

std::string training_curves(const Findings& study) {
  struct Measure {
    const char *title, *unit;
    double Epoch::*of;
    double scale;
  };
  std::string html;
  for (const Measure& m :
       {Measure{"validation accuracy", " %", &Epoch::val_acc1, 100},
        Measure{"training loss", "", &Epoch::train_loss, 1}, Measure{"validation loss", "", &Epoch::val_loss, 1},
        Measure{"training accuracy", " %", &Epoch::train_acc1, 100}})
    html += by_facet(study, Chart{m.title, "epoch", {}, false, m.unit},
                     [&](const StudyGroup& g) { return over_epochs(study, g, m.of, m.scale); });
  return charts(
      "Training",
      "Mean over seeds; the shade is what the seeds lie between. A curve ends where the first of its seeds ends.",
      html);
}

std::string resolution_curves(const Findings& study) {
  const std::vector<std::string> sizes = between(study, "resolution.", ".acc1");
  if (sizes.empty()) return "";
  const std::vector<double> sides = squares(sizes);
  std::string html;
  for (const auto& [measure, title, unit] : {std::tuple(".acc1", "accuracy by the size of the image", " %"),
                                             std::tuple(".entropy", "entropy of attention, of the highest", " %")}) {
    Chart frame{title, "pixels on a side, square images", {}, false, unit};
    frame.apart = true, frame.xs = few(sides);
    html += by_facet(study, frame, [&, after = measure](const StudyGroup& g) {
      Series s = series(study, g);
      for (const double side : sides) add(s, side, measured(g, fmt::format("resolution.{0}x{0}{1}", side, after)));
      return s;
    });
  }
  const std::string size = study.common("model.img_size"),
                    trained = size.empty() ? "" : " Trained at " + size + " pixels.";
  return report::section(
      "Other resolutions",
      "Mean over seeds with Student's 95 % interval, of a part of the test split." + trained +
          " Encodings without a rule for other sizes have no curve.",
      (html.empty() ? "" : "<div class=\"charts\">\n" + html + "</div>\n") + resolution_table(study, sizes));
}

std::string shift_curves(const Findings& study) {
  std::string html;
  for (const auto& [kind, how] : {std::pair("circular", "rolled around"), std::pair("crop", "moved, black comes in")})
    for (const auto& [after, title] :
         {std::pair(".consistency", "answers unchanged"), std::pair(".acc1", "accuracy")}) {
      std::vector<std::string> shifts = between(study, fmt::format("shift.{}.", kind), after);
      std::erase_if(shifts, [](const std::string& s) { return !std::isfinite(number_in(s)); });
      if (shifts.empty()) continue;
      Chart frame{fmt::format("{}, image {}", title, how), "pixels", {}, false, " %"};
      frame.apart = true;
      for (const std::string& s : shifts) frame.xs.push_back(number_in(s));
      frame.xs = few(frame.xs);
      html += by_facet(study, frame, [&, kind = kind, after = after](const StudyGroup& g) {
        Series s = series(study, g);
        for (const std::string& shift : shifts)
          add(s, number_in(shift), measured(g, fmt::format("shift.{}.{}{}", kind, shift, after)));
        return s;
      });
    }
  return charts(
      "Shifts",
      "Mean over seeds with Student's 95 % interval. Shifts by whole patches may change less than those between.",
      html);
}

std::string attention_distances(const Findings& study) {
  const std::vector<std::string> heads = between(study, "attention_distance.", "");
  Chart frame{"mean distance of attention", "block", {}, true, ""};
  const std::string html = by_facet(study, frame, [&](const StudyGroup& g) {
    std::map<double, std::vector<double>> blocks;
    for (const std::string& head : heads)
      if (const Measured m = measured(g, "attention_distance." + head); m.n > 0)
        blocks[number_in(head.substr(0, head.find('.')))].push_back(m.mean);
    Series s = series(study, g);
    s.band = true;
    for (const auto& [block, values] : blocks) {
      double sum = 0;
      for (const double v : values) sum += v;
      s.points.emplace_back(block, sum / static_cast<double>(values.size()));
      s.range.emplace_back(std::ranges::min(values), std::ranges::max(values));
    }
    return s;
  });
  const std::string spread = study.encodings.size() > 3
                                 ? "; the shade around a chosen one is what its heads lie between."
                                 : "; the shade is what the heads lie between.";
  const std::string whole =
      charts("How far attention reaches", "In cells of the grid, mean over seeds, images and heads" + spread, html);
  return whole.empty() || study.encodings.size() <= 3 ? whole : "<div class=\"spread\">\n" + whole + "</div>\n";
}

}  // namespace tessera::lab
