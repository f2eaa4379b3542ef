#include "tessera/train/lab/seams.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "tessera/core/io/json.h"
#include "tessera/core/io/replace_file.h"
#include "tessera/train/cli/config_file.h"
#include "tessera/train/cli/console.h"
#include "tessera/train/lab/results.h"
#include "tessera/train/training/text.h"

namespace tessera::lab {
using namespace cli;
namespace {

constexpr const char* accuracy = "last_acc1";

template <class Number>
Number number(const std::string& key, const std::string& text) {
  Number n = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (error != std::errc() || end != text.data() + text.size())
    wrong_usage("[report] {} is {}, expected a whole number", key, shown(text));
  return n;
}

}  // namespace

std::string unclean(std::string_view commit) {
  if (!commit.ends_with("-dirty")) return "";
  return fmt::format(
      "this program was built from files that differ from their commit: the runs and the page will name {}, which is "
      "not "
      "this code; of what is to be kept, commit and build anew first",
      commit);
}

void say_measures(Words& words, const std::string& measures) {
  std::erase_if(words.report, [](const Assignment& a) { return a.key == "measures"; });
  Assignment all{"measures", {}, true};
  for (size_t from = 0; from <= measures.size();) {
    const size_t comma = std::min(measures.find(',', from), measures.size());
    all.values.push_back(measures.substr(from, comma - from));
    from = comma + 1;
  }
  words.report.push_back(all);
}

MeasureOptions measure_options(const Assignments& report) try {
  MeasureOptions o;
  for (const Assignment& a : report) {
    const bool list = a.key == "measures" || a.key == "shifts" || a.key == "tiles" || a.key == "sizes";
    if (!list && a.values.size() != 1)
      wrong_usage("[report] {} is one number, and {} are given", a.key, a.values.size());
    const auto ints = [&] {
      std::vector<int> all;
      for (const std::string& v : a.values) all.push_back(number<int>(a.key, v));
      return all;
    };
    if (a.key == "measures")
      o.families = a.values;
    else if (a.key == "images")
      o.images = number<int>(a.key, a.values[0]);
    else if (a.key == "attention_images")
      o.attention_images = number<int>(a.key, a.values[0]);
    else if (a.key == "measure_seed")
      o.seed = number<int64_t>(a.key, a.values[0]);
    else if (a.key == "shifts")
      o.shifts = ints();
    else if (a.key == "tiles")
      o.tiles = ints();
    else if (a.key == "sizes")
      for (const std::string& v : a.values) o.sizes.push_back(image_size(v, "[report] sizes:"));
    else {
      const std::string known[] = {"baseline", "measures", "images",       "attention_images", "sizes",
                                   "shifts",   "tiles",    "measure_seed", "stop_worse",       "stop_epochs"};
      const std::string near = nearest(a.key, known);
      wrong_usage("[report] has no {}{}", shown(a.key),
                  near.empty() ? fmt::format("; it has {}", fmt::join(known, ", ")) : "; did you mean " + near + "?");
    }
  }
  check(o);
  return o;
} catch (const Usage&) {
  throw;
} catch (const Error& e) {
  throw Usage(e.what());
}

std::string headline(const std::string& rundir) {
  const io::Json s = io::read_json(rundir + "/summary.json", 1 << 20);
  std::string line;
  const auto add = [&](const char* what, const char* key) {
    if (s.contains(key) && s[key].is_number()) line += fmt::format("{} {:.2f} %, ", what, 100 * s[key].get<double>());
  };
  add("test", "test_acc1"), add("validation", "val_acc1");
  return line + duration(s.value("seconds", 0.0));
}

std::vector<std::string> ranking_lines(const Study& study, size_t most) {
  struct Ranked {
    MeanOf of;
    std::string line;
  };
  const Results results = read_results(study.dir);
  std::vector<Ranked> all;
  for (const CellGroup& g : results.groups) {
    const MeanOf m = mean_of(results.of(g, accuracy));
    if (m.n == 0) continue;
    const std::string spread =
        m.n < 2 ? "" : fmt::format(" [{:.2f}, {:.2f}]", 100 * m.interval.low, 100 * m.interval.high);
    const int stopped = results.stopped(g);
    all.push_back({m, fmt::format("{:6.2f} %{} {} ({}{})", 100 * m.mean, spread, g.label, plural(m.n, "seed"),
                                  stopped > 0 ? fmt::format(", {} stopped early", stopped) : "")});
  }
  std::ranges::stable_sort(all, [](const Ranked& a, const Ranked& b) { return a.of.mean > b.of.mean; });
  std::vector<std::string> lines;
  for (size_t i = 0; i < std::min(most, all.size()); ++i) lines.push_back(all[i].line);
  if (all.size() > most) lines.push_back(fmt::format("and {} more", all.size() - most));
  return lines;
}

std::optional<double> spread_of_differences(const std::string& dir) {
  const auto whole = [](const CellRun& run) { return !std::isfinite(run.number(stopped_epoch)); };
  if (dir.empty() || !is_begun({dir})) return {};
  const Results results = read_results(dir);
  double squares = 0;
  int freedom = 0;
  for (size_t g = 0; g < results.groups.size(); ++g) {
    const size_t base = results.baseline_of(g);
    if (base >= results.groups.size() || base == g) continue;
    std::vector<double> a, b;
    for (const size_t i : results.groups[g].runs)
      for (const size_t j : results.groups[base].runs)
        if (results.runs[i].seed == results.runs[j].seed && whole(results.runs[i]) && whole(results.runs[j]))
          a.push_back(results.runs[i].number(accuracy)), b.push_back(results.runs[j].number(accuracy));
    const Difference d = paired(a, b);
    if (d.n < 2 || !std::isfinite(d.sd)) continue;
    squares += d.sd * d.sd * (d.n - 1), freedom += d.n - 1;
  }
  if (freedom == 0 || squares == 0) return {};
  return std::sqrt(squares / freedom);
}

Without write_tables(const Study& study, bool end) {
  if (end) return write_study(study.dir);
  const Results results = read_results(study.dir);
  if (only_tables_are_left(results)) return {results.skipped, {}};
  io::replace_file(study.dir + "/results.csv", results_csv(results));
  io::replace_file(study.dir + "/timings.csv", timings_csv(results));
  return {results.skipped, {}};
}

}  // namespace tessera::lab
