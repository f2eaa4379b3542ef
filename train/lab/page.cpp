#include "tessera/train/lab/page.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "tessera/core/error.h"
#include "tessera/core/io/replace_file.h"
#include "tessera/train/lab/page_parts.h"
#include "tessera/train/report/html.h"

namespace tessera::lab {
namespace {

namespace fs = std::filesystem;
using report::escape;

std::string tile(const std::string& name, const std::string& value, const std::string& small) {
  return fmt::format("<div class=\"tile\"><span>{}</span><b>{}</b><small>{}</small></div>\n", escape(name),
                     escape(value), escape(small));
}

std::string plural(size_t n, const char* one) { return fmt::format("{} {}{}", n, one, n == 1 ? "" : "s"); }

std::string title_of(const Findings& study) {
  if (study.grid.empty() && !study.probe.rows.empty()) return "Position encodings probed";
  const bool positions = !study.grid.empty() && study.grid[study.along] == "position.name";
  const size_t n = study.encodings.size();
  std::string title = positions || study.grid.empty() ? plural(n, "position encoding")
                                                      : plural(n, "setting") + " of " + study.grid[study.along];
  if (study.facets.size() > 1) title += fmt::format(" in {} settings", study.facets.size());
  return title + (n == 1 ? "" : " compared");
}

/// What all runs share and a reader wants to know first.
std::string under_title(const Findings& study) {
  std::string note;
  for (const auto& [key, word] : {std::pair("model.name", ""), std::pair("data.name", ""),
                                  std::pair("train.epochs", " epochs"), std::pair("train.precision", "")})
    if (const std::string value = study.common(key); !value.empty())
      note += (note.empty() ? "" : " \u00b7 ") + value + word;
  if (const std::string seeds = runs_each(study); !seeds.empty()) note += (note.empty() ? "" : " \u00b7 ") + seeds;
  if (!study.baseline.empty()) note += " \u00b7 baseline " + study.baseline;
  if (const std::string by = study.common("made by"); !by.empty()) note += " \u00b7 " + by;
  return note;
}

std::string links(const Findings& study) {
  std::string html = "<p class=\"files\">Files beside this page:";
  for (const std::string& file : study.files) html += fmt::format(" <a href=\"{0}\">{0}</a>", file);
  return html + "</p>\n";
}

}  // namespace

std::string mark(const StudyGroup& group) {
  return fmt::format("data-e=\"{}\" data-f=\"{}\"", group.encoding, group.facet);
}

std::string chip(size_t encoding, std::string_view name) {
  return fmt::format(
      "<span class=\"chipped\"><i class=\"chip\" style=\"background: var(--s{})\"></i><span>{}</span></span>",
      encoding % 8, name);
}

int stopped_early(const StudyGroup& group) {
  return static_cast<int>(
      std::ranges::count_if(group.runs, [](const StudyRun& r) { return r.numbers.contains(stopped_epoch); }));
}

std::string dagger(const StudyGroup& group) {
  const int n = stopped_early(group);
  if (n == 0) return "";
  return fmt::format(
      "<sup class=\"early\" title=\"{} of {} stopped early: numbers of a shorter training\">\u2020</sup>", n,
      plural(group.runs.size(), "run"));
}

std::string daggers_note(const Findings& study) {
  int runs = 0;
  for (const StudyGroup& g : study.groups) runs += stopped_early(g);
  if (runs == 0) return "";
  return fmt::format(
      "<p class=\"note\" id=\"early\">\u2020 {} stopped early, clearly worse than the baseline in validation "
      "(<code>stop_worse</code>). All their numbers are of a training with fewer epochs: they tell that a setting is "
      "worse, not by how much.</p>\n",
      runs == 1 ? "One run was" : fmt::format("{} runs were", runs));
}

std::string points(double fraction, int decimals) {
  return std::isfinite(fraction) ? fmt::format("{:.{}f}", 100 * fraction, decimals) : "\u2013";
}

std::string with_interval(const Measured& m) {
  if (m.n == 0) return "\u2013";
  return points(m.mean) + (std::isfinite(m.high)
                               ? fmt::format(" <small class=\"interval\">\u00b1 {}</small>", points(m.high - m.mean))
                               : "");
}

std::string runs_each(const Findings& study) {
  if (study.groups.empty()) return "";
  const auto runs = [](const StudyGroup& g) { return g.runs.size(); };
  const size_t least = std::ranges::min(study.groups, {}, runs).runs.size(),
               most = std::ranges::max(study.groups, {}, runs).runs.size();
  return least == most ? plural(most, "seed") : fmt::format("{} to {} seeds", least, most);
}

std::string study_tiles(const Findings& study) {
  const std::string measure = ranked_by(study);
  std::string html = "<div class=\"tiles\">\n";
  for (size_t f = 0; f < std::min<size_t>(study.facets.size(), 4); ++f) {
    const StudyGroup* best = nullptr;
    for (const StudyGroup& g : study.groups)
      if (g.facet == f && measured(g, measure).n > 0 &&
          (!best || measured(g, measure).mean > measured(*best, measure).mean))
        best = &g;
    if (best)
      html += tile("highest mean" + (study.facets[f].empty() ? "" : ", " + study.facets[f]),
                   study.encodings[best->encoding] + (stopped_early(*best) > 0 ? " \u2020" : ""),
                   points(measured(*best, measure).mean) + " % on the test split");
  }
  size_t runs = 0, failed = 0, better = 0, compared = 0;
  for (const StudyGroup& g : study.groups) runs += g.runs.size();
  for (const StudyGap& g : study.gaps) failed += g.measure.empty();
  for (const StudyComparison& c : study.comparisons)
    if (c.measure == measure && c.verdict != "baseline" && c.other < study.groups.size())
      ++compared, better += c.verdict == "better";
  if (compared > 0)
    html += tile("better than " + study.against(), fmt::format("{} of {}", better, compared),
                 "after correction for all of them");
  html += tile("runs", fmt::format("{}", runs), failed > 0 ? fmt::format("{} more failed", failed) : "none failed");
  return html + "</div>\n";
}

std::string study_page(const StudyFiles& files, const std::string& folder) {
  const Findings study = read_findings(files, folder);
  const std::string title = title_of(study);
  std::string body =
      fmt::format("<header><h1>{}</h1><p class=\"note\">{}</p></header>\n", escape(title), escape(under_title(study)));
  if (study.groups.empty() && !study.probe.rows.empty()) {
    body += probe_maps(study.probe, study.probe_made);
  } else if (study.groups.empty()) {
    body += report::section("Accuracy", "No run has ended yet.", "") + gaps(study);
  } else {
    body += daggers_note(study) + study_tiles(study) + accuracy_table(study) + pair_matrix(study);
    const std::string curves =
        training_curves(study) + resolution_curves(study) + shift_curves(study) + attention_distances(study);
    body += fmt::format("<div class=\"curves{}\">\n{}{}</div>\n", study.encodings.size() > 8 ? " many" : "",
                        curves.empty() ? "" : chart_legend(study), curves);
    body += reliance_table(study) + probe_maps(study.probe, study.probe_made) + cost_table(study) +
            study_pictures(study) + gaps(study) + behind_the_numbers(study);
  }
  return report::page(title + " \u2013 tessera",
                      body + links(study) + "<footer>Written by tessera report from these files.</footer>\n",
                      study_style(), study_script());
}

void write_page(const Results& results, const std::string& out) {
  std::vector<std::string> partial;
  io::replace_file(out, study_page(study_files(results, partial), results.dir));
}

bool is_study(const std::string& folder) {
  std::error_code error;
  const fs::path path(folder);
  if (fs::exists(path / "probe.csv", error) && !fs::exists(path / "config.toml", error)) return true;
  return fs::exists(path / "plan.toml", error) &&
         (fs::is_directory(path / "cells", error) || fs::is_directory(path / "failed", error) ||
          fs::exists(path / "results.csv", error));
}

Without write_study(const std::string& folder, const std::string& out) {
  Without without;
  std::error_code error;
  StudyFiles files;
  bool runs =
      fs::is_directory(fs::path(folder) / "cells", error) || fs::is_directory(fs::path(folder) / "failed", error);
  if (runs) {
    const Results results = read_results(folder);
    without.runs = results.skipped;
    runs = !only_tables_are_left(results);
    if (runs) files = study_files(results, without.parts);
  }
  if (!runs) files = read_study_files(folder);
  const std::string page = study_page(files, folder);
  if (runs && out.empty())
    for (const auto& [name, bytes] : files)
      if (name != "plan.toml" && !name.starts_with("probe.")) io::replace_file(folder + "/" + name, bytes);
  io::replace_file(out.empty() ? folder + "/report.html" : out, page);
  return without;
}

}  // namespace tessera::lab
