// All pairs of a facet's groups as one picture.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "tessera/train/lab/page_parts.h"
#include "tessera/train/lab/statistics.h"
#include "tessera/train/report/html.h"

namespace tessera::lab {
namespace {

constexpr size_t most_groups = 64;
/// The difference that has full colour. It is the same on every page, so that an encoding that is added bleaches no pair that was there. Of an
/// accuracy: ranked_by() names nothing else, and another measure would need a number of its own here.
constexpr double full = 0.1;

/// Of the seeds both have.
Difference difference(const StudyGroup& a, const StudyGroup& b, const std::string& measure) {
  std::map<std::string, double> of_b;
  for (const StudyRun& run : b.runs)
    if (const auto it = run.numbers.find(measure); it != run.numbers.end()) of_b[run.seed] = it->second;
  std::vector<double> x, y;
  for (const StudyRun& run : a.runs)
    if (const auto it = run.numbers.find(measure); it != run.numbers.end() && of_b.contains(run.seed))
      x.push_back(it->second), y.push_back(of_b[run.seed]);
  return paired(x, y);
}

std::string cell(const Findings& study, const StudyGroup& a, const StudyGroup& b, const Difference& d) {
  if (&a == &b || !std::isfinite(d.mean)) return "<div class=\"cell\"></div>";
  const bool sure = d.interval.low > 0 || d.interval.high < 0;
  std::string title = fmt::format("{} \u2212 {}: {:+.2f} points", study.encodings[a.encoding],
                                  study.encodings[b.encoding], 100 * d.mean);
  if (std::isfinite(d.interval.low))
    title += fmt::format(" [{:+.2f}, {:+.2f}]", 100 * d.interval.low, 100 * d.interval.high);
  title += fmt::format(", {} pair{}", d.n, d.n == 1 ? "" : "s");
  if (stopped_early(a) + stopped_early(b) > 0) title += ", of runs that were stopped early";
  if (std::isfinite(d.p)) title += fmt::format(", p = {:.2g}, not corrected", d.p);
  const double ink = (sure ? 1 : 0.3) * std::min(1.0, std::sqrt(std::abs(d.mean) / full));
  return fmt::format(
      "<div class=\"cell{}\" title=\"{}\"><i class=\"{}\" style=\"opacity: {:.3f}\"></i><b>{:+.{}f}</b></div>",
      sure ? " sure" : "", report::escape(title), d.mean < 0 ? "minus" : "plus", 0.04 + 0.7 * ink, 100 * d.mean,
      std::abs(d.mean) >= 0.0995 ? 0 : 1);
}

}  // namespace

std::string pair_matrix(const Findings& study) {
  const std::string measure = ranked_by(study);
  std::string html;
  for (size_t f = 0; f < study.facets.size(); ++f) {
    std::vector<const StudyGroup*> of;
    for (const StudyGroup& g : study.groups)
      if (g.facet == f && measured(g, measure).n > 0) of.push_back(&g);
    if (of.size() < 3) continue;  // of two the table says it
    if (!study.facets[f].empty()) html += "<h3 class=\"facet\">" + report::escape(study.facets[f]) + "</h3>\n";
    if (of.size() > most_groups) {
      html += fmt::format(
          "<p class=\"note\">There is no picture of {} groups: of more than {} nobody would see a cell. pairwise.csv "
          "has "
          "all their pairs.</p>\n",
          of.size(), most_groups);
      continue;
    }
    std::stable_sort(of.begin(), of.end(),
                     [&](auto* a, auto* b) { return measured(*a, measure).mean > measured(*b, measure).mean; });
    std::vector<std::vector<Difference>> table;
    for (const StudyGroup* a : of) {
      table.emplace_back();
      for (const StudyGroup* b : of) table.back().push_back(difference(*a, *b, measure));
    }
    html += fmt::format("<div class=\"card scroll\"><div class=\"pairs{}\" style=\"--classes: {}\">\n<span></span>",
                        of.size() > 16  ? " many"
                        : of.size() > 6 ? " wide"
                                        : "",
                        of.size());
    for (const StudyGroup* b : of)
      html += fmt::format("<span class=\"to\">{}</span>", report::escape(study.encodings[b->encoding]) + dagger(*b));
    for (size_t a = 0; a < of.size(); ++a) {
      html += fmt::format("\n<span class=\"is\">{}</span>",
                          report::escape(study.encodings[of[a]->encoding]) + dagger(*of[a]));
      for (size_t b = 0; b < of.size(); ++b) html += cell(study, *of[a], *of[b], table[a][b]);
    }
    html += "\n</div></div>\n";
  }
  return html.empty() ? ""
                      : report::section(
                            "All pairs",
                            "Row minus column in points of accuracy, of runs with the same seed, the best "
                            "first: blue is better than the column, red is worse, the more the fuller, up to ten "
                            "points. A frame marks pairs whose 95 % interval leaves out 0, and the others are paler; "
                            "each pair is judged alone, so of 20 pairs without a difference one will have a frame. "
                            "Nothing in a cell depends on the other rows.",
                            html);
}

}  // namespace tessera::lab
