// What stands behind the numbers of a study: its runs, their configurations, the commands that repeat them; and what is missing.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "tessera/train/lab/page_parts.h"
#include "tessera/train/lab/results.h"
#include "tessera/train/lab/statistics.h"
#include "tessera/train/report/html.h"
#include "tessera/train/training/text.h"

namespace tessera::lab {
namespace {

using report::breakable;
using report::escape;

std::string keys_in_words(const Findings& study, const std::vector<std::string>& keys) {
  std::string words;
  for (size_t k = 0; k < keys.size(); ++k)
    if (!keys[k].empty()) words += (words.empty() ? "" : ", ") + study.grid[k] + " = " + keys[k];
  return words;
}

/// Both commands: by the plan first, since it is kept where the runs are not.
std::string again(const std::string& by_plan, const std::string& by_config) {
  const auto code = [](const std::string& line) { return "<code>" + breakable(line) + "</code>"; };
  if (by_plan.empty() && by_config.empty()) return "\u2013";
  if (by_config.empty()) return code(by_plan);
  const std::string beside = "<small>where the cells are: </small>" + code(by_config);
  return by_plan.empty() ? beside : code(by_plan) + "<br/>" + beside;
}

/// "84 s, 2 threads"; empty where timings.csv does not say it.
std::string took(const StudyRun& run) {
  const auto seconds = run.numbers.find("seconds"), threads = run.numbers.find("threads");
  if (seconds == run.numbers.end() || threads == run.numbers.end()) return "";
  return fmt::format("{}, {:g} thread{}", duration(seconds->second), threads->second, threads->second == 1 ? "" : "s");
}

/// Seeds in rows: the accuracies, and how to have them again.
std::string runs_table(const Findings& study, const StudyGroup& g, const Again& commands) {
  const bool timed = std::ranges::any_of(g.runs, [](const StudyRun& run) { return !took(run).empty(); });
  std::string html = fmt::format(
      "<table><thead><tr><th class=\"n\">seed</th><th class=\"n\">test, last epoch</th><th class=\"n\">best "
      "validation</th><th class=\"n less\">test of that epoch</th>{}<th>again with</th></tr></thead><tbody>\n",
      timed ? "<th class=\"n less\">took</th>" : "");
  for (const StudyRun& run : g.runs) {
    const auto number = [&](const std::string& measure) {
      const auto it = run.numbers.find(measure);
      return points(it == run.numbers.end() ? NAN : it->second);
    };
    const auto early = [](const StudyRun& r) {
      const auto it = r.numbers.find(stopped_epoch);
      return it == r.numbers.end() ? std::string()
                                   : fmt::format(" <small>stopped after epoch {:g}</small>", it->second);
    };
    html += fmt::format(
        "<tr><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n "
        "less\">{}</td>{}<td>{}</td></tr>\n",
        escape(run.seed) + early(run), number(ranked_by(study)), number("best_val_acc1"), number("best_val.test_acc1"),
        timed ? "<td class=\"n less\">" + took(run) + "</td>" : "",
        again(commands.by_plan(g, run), commands.by_config(g, run)));
  }
  return html + "</tbody></table>\n";
}

/// Lines of TOML that are this group's own.
std::string own_settings(const Findings& study, const StudyGroup& g) {
  std::string text;
  for (size_t k = 0; k < g.keys.size(); ++k)
    if (!g.keys[k].empty()) text += study.grid[k] + " = " + g.keys[k] + "\n";
  for (const StudySetting& s : study.settings)
    if (s.keys == g.keys && s.of != "all" && s.key != "cell")
      text += s.key + " = " + s.value + (s.seed.empty() ? "" : "   (seed " + s.seed + ")") + "\n";
  return text;
}

std::string comparisons_in_words(const Findings& study, size_t group) {
  std::string rows;
  for (const StudyComparison& c : study.comparisons)
    if (c.group == group && !c.words.empty() && c.verdict != "baseline")
      rows += fmt::format("<tr><td>{}</td><td>{}</td></tr>\n", breakable(c.measure), escape(c.words));
  if (rows.empty()) return "";
  return "<table><thead><tr><th>measure</th><th>beside " + escape(study.against()) + "</th></tr></thead><tbody>\n" +
         rows + "</tbody></table>\n";
}

std::string shared_settings(const Findings& study) {
  std::string text;
  for (const StudySetting& s : study.settings)
    if (s.of == "all") text += s.key + " = " + s.value + "\n";
  return text.empty() ? ""
                      : "<details class=\"card\"><summary>Configuration that all runs share</summary><pre>" +
                            escape(text) + "</pre></details>\n";
}

/// Interquartile means of the accuracy: of each group, and of an encoding over all settings, whose runs are then resampled within each.
std::string middles(const Findings& study) {
  const std::string measure = ranked_by(study);
  std::string rows;
  const auto row = [&](size_t encoding, const std::string& name, const Scores& scores) {
    const Middle m = middle_of(scores);
    if (std::isfinite(m.mean))
      rows += fmt::format("<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>\n",
                          chip(encoding, name), points(m.mean),
                          std::isfinite(m.interval.low)
                              ? fmt::format("[{}, {}]", points(m.interval.low), points(m.interval.high))
                              : "\u2013",
                          m.n);
  };
  std::vector<Scores> of_encoding(study.encodings.size());
  for (const StudyGroup& g : study.groups) {
    const std::vector<double> values = measured(g, measure).values;
    row(g.encoding, breakable(study.label(g)) + dagger(g), {values});
    if (!values.empty()) of_encoding[g.encoding].push_back(values);
  }
  for (size_t e = 0; e < of_encoding.size() && study.facets.size() > 1; ++e)
    if (of_encoding[e].size() == study.facets.size())
      row(e, breakable(study.encodings[e]) + ", all settings", of_encoding[e]);
  if (rows.empty()) return "";
  return "<details class=\"card\" id=\"middles\"><summary>Interquartile means of the accuracy</summary>\n<p "
         "class=\"note\">The mean of the middle half of the runs, which one odd run hardly moves, with the 95 % "
         "interval of a bootstrap over runs, within each setting where there are several. Of fewer than four runs no "
         "quarter can be cut, and it is not told. So few runs have few resamples, and make the interval narrower than "
         "it is: Student's, above, is the one to go by.</p>\n<table><thead><tr><th></th><th class=\"n\">%</th><th "
         "class=\"n\">interval</th><th class=\"n\">runs</th></tr></thead><tbody>\n" +
         rows + "</tbody></table></details>\n";
}

}  // namespace

std::string setting(const Findings& study, const StudyGroup& g, const std::string& seed, const std::string& key) {
  for (const StudySetting& s : study.settings)
    if (s.key == key && (s.of == "all" || (s.keys == g.keys && (s.seed.empty() || s.seed == seed)))) return s.value;
  return "";
}

std::string gaps(const Findings& study) {
  if (study.gaps.empty()) return "";
  // a reason is said once, with all it holds for
  std::vector<std::pair<std::string, std::string>> order;  // measure, reason
  std::map<std::pair<std::string, std::string>, std::map<std::string, std::vector<std::string>>> cells;
  for (const StudyGap& g : study.gaps) {
    const std::pair kind(g.measure.substr(0, g.measure.find('.')), g.reason);
    if (!cells.contains(kind)) order.push_back(kind);
    auto& seeds = cells[kind][keys_in_words(study, g.keys)];
    if (std::ranges::find(seeds, g.seed) == seeds.end()) seeds.push_back(g.seed);
  }
  std::stable_sort(order.begin(), order.end(),
                   [](const auto& a, const auto& b) { return a.first.empty() > b.first.empty(); });
  size_t runs = 0;
  for (const StudyGroup& g : study.groups) runs += g.runs.size();
  std::string html =
      "<div class=\"card scroll\"><table "
      "class=\"gaps\"><thead><tr><th>what</th><th>of</th><th>why</th></tr></thead><tbody>\n";
  for (const auto& kind : order) {
    std::string of;
    size_t here = 0;
    for (const auto& [words, seeds] : cells[kind]) {
      here += seeds.size();
      of += (of.empty() ? "" : "; ") + words + (seeds.size() == 1 ? ", seed " : ", seeds ");
      for (size_t i = 0; i < seeds.size(); ++i) of += (i > 0 ? ", " : "") + seeds[i];
    }
    if (!kind.first.empty() && here == runs) of = "all runs";
    html += fmt::format("<tr><td>{}</td><td>{}</td><td>{}</td></tr>\n",
                        kind.first.empty() ? "<span class=\"wrong\">failed</span>" : breakable(kind.first),
                        breakable(of), escape(kind.second));
  }
  return report::section("What is missing", "Runs that failed, and measures that a run does not have, with the reason.",
                         html + "</tbody></table></div>\n");
}

std::string behind_the_numbers(const Findings& study) {
  std::string html = "<div class=\"stack behind\">\n";
  if (!study.plan.empty())
    html +=
        "<details class=\"card\"><summary>The plan: <code>tessera ablate plan.toml --out AGAIN</code> repeats the "
        "study</summary><pre>" +
        escape(study.plan) + "</pre></details>\n";
  html += shared_settings(study) + middles(study);
  const Again commands(study);
  for (size_t g = 0; g < study.groups.size(); ++g) {
    const StudyGroup& group = study.groups[g];
    html += fmt::format(
        "<details class=\"card\"><summary>{}<small>{} run{}</small></summary>\n<div "
        "id=\"group-{}\">{}{}<pre>{}</pre></div></details>\n",
        chip(group.encoding, breakable(study.label(group)) + dagger(group)), group.runs.size(),
        group.runs.size() == 1 ? "" : "s", g + 1, runs_table(study, group, commands), comparisons_in_words(study, g),
        escape(own_settings(study, group)));
  }
  return report::section("Behind the numbers",
                         "The runs of each row, what is said of them in words, the part of their configuration that is "
                         "their own, and the commands that repeat one, to be given in the folder of this page: by the "
                         "plan that is kept beside it, or by the run's own configuration where its cell still is.",
                         html + "</div>\n");
}

}  // namespace tessera::lab
