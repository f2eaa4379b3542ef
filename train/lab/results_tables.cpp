// The tables beside the page (RFC 4180, UTF-8). A number is written by the fewest digits that read back as it.
#include <fmt/format.h>

#include <cmath>
#include <set>

#include "tessera/train/lab/results.h"
#include "tessera/train/report/results.h"

namespace tessera::lab {
namespace {

using Cells = std::vector<std::string>;

std::string number(double v) { return std::isfinite(v) ? fmt::format("{}", v) : ""; }

void add(Cells& row, const Cells& more) { row.insert(row.end(), more.begin(), more.end()); }

void write_row(std::string& csv, const Cells& cells) {
  for (size_t c = 0; c < cells.size(); ++c) csv += (c > 0 ? "," : "") + report::csv_cell(cells[c]);
  csv += "\n";
}

/// One row a run: keys, seed, and all that `numbers` has in any run, by name.
std::string runs_table(const Results& all, std::map<std::string, double> CellRun::*numbers) {
  std::set<std::string> names;
  for (const CellRun& run : all.runs)
    for (const auto& [name, value] : run.*numbers) names.insert(name);
  Cells head = all.keys;
  head.emplace_back("seed");
  head.insert(head.end(), names.begin(), names.end());
  std::string csv;
  write_row(csv, head);
  for (const CellRun& run : all.runs) {
    Cells row = run.values;
    row.push_back(fmt::format("{}", run.seed));
    for (const std::string& name : names) {
      const auto it = (run.*numbers).find(name);
      row.push_back(it == (run.*numbers).end() ? "" : number(it->second));
    }
    write_row(csv, row);
  }
  return csv;
}

Cells of(const MeanOf& m) {
  return {fmt::format("{}", m.n), number(m.mean), number(m.sd), number(m.interval.low), number(m.interval.high)};
}

Cells of(const Difference& d) {
  const bool some = d.n > 0;
  return {some ? fmt::format("{}", d.n) : "",
          number(d.mean),
          number(d.sd),
          number(d.interval.low),
          number(d.interval.high),
          number(d.t),
          number(d.p),
          number(d.holm),
          d.among > 0 ? fmt::format("{}", d.among) : "",
          std::isnan(d.p) ? "" : number(detectable_difference(d.n, d.sd, level / d.among))};
}

}  // namespace

std::string results_csv(const Results& results) { return runs_table(results, &CellRun::numbers); }
std::string timings_csv(const Results& results) { return runs_table(results, &CellRun::timed); }

std::string comparisons_csv(const Results& results) {
  Cells head = results.keys;
  add(head, {"measure",
             "n",
             "mean",
             "sd",
             "low",
             "high",
             "iqm",
             "iqm_low",
             "iqm_high",
             "baseline",
             "pairs",
             "difference",
             "difference_sd",
             "difference_low",
             "difference_high",
             "t",
             "p",
             "holm_p",
             "comparisons",
             "detectable",
             "images_low",
             "images_high",
             "seeds_and_images_low",
             "seeds_and_images_high",
             "stopped",
             "baseline_stopped",
             "verdict",
             "words"});
  std::string csv;
  write_row(csv, head);
  for (const std::string& measure : results.measures)
    for (const Comparison& c : compare(results, measure)) {
      if (c.mean.n == 0) continue;
      Cells row = results.groups[c.group].values;
      row.push_back(measure);
      add(row, of(c.mean));
      add(row, {number(c.middle.mean), number(c.middle.interval.low), number(c.middle.interval.high)});
      row.push_back(c.baseline < results.groups.size() ? results.groups[c.baseline].label : "");
      add(row, of(c.difference));
      for (const Interval& i : {c.images, c.seeds_and_images}) add(row, {number(i.low), number(i.high)});
      add(row, {fmt::format("{}", c.stopped), fmt::format("{}", c.baseline_stopped)});
      add(row, {std::string(name(c.verdict)), c.words});
      write_row(csv, row);
    }
  return csv;
}

std::string pairwise_csv(const Results& results) {
  std::string csv;
  write_row(csv, {"measure", "a", "b", "pairs", "difference", "low", "high", "p", "improvement", "improvement_low",
                  "improvement_high", "a_stopped", "b_stopped"});
  constexpr Resampling how{.resamples = 2000};
  const std::string measure = "last_acc1";
  const auto matrix = pairwise(results, measure);
  for (size_t a = 0; a < matrix.size(); ++a)
    for (size_t b = 0; b < matrix.size(); ++b) {
      const Scores x{results.of(results.groups[a], measure)}, y{results.of(results.groups[b], measure)};
      if (a == b || x[0].empty() || y[0].empty()) continue;
      const Difference& d = matrix[a][b];
      const Interval i = probability_of_improvement_interval(x, y, how);
      write_row(csv,
                {measure, results.groups[a].label, results.groups[b].label, fmt::format("{}", d.n), number(d.mean),
                 number(d.interval.low), number(d.interval.high), number(d.p), number(probability_of_improvement(x, y)),
                 number(i.low), number(i.high), fmt::format("{}", results.stopped(results.groups[a])),
                 fmt::format("{}", results.stopped(results.groups[b]))});
    }
  return csv;
}

std::string missing_csv(const Results& results) {
  Cells head = results.keys;
  add(head, {"seed", "measure", "reason"});
  std::string csv;
  write_row(csv, head);
  const auto line = [&](const Cells& values, int64_t seed, const std::string& measure, const std::string& reason) {
    Cells row = values;
    add(row, {fmt::format("{}", seed), measure, reason});
    write_row(csv, row);
  };
  for (const FailedCell& f : results.failed) line(f.values, f.seed, "", f.reason);
  for (const CellRun& run : results.runs)
    for (const auto& [measure, reason] : run.absent) line(run.values, run.seed, measure, reason);
  return csv;
}

}  // namespace tessera::lab
