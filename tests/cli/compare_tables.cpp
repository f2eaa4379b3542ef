// The tables of docs/compare.md are written by this test from those of the studies: TESSERA_WRITE_COMPARE=1 tessera_cli_tests -tc="*compare.md*".
// Without the variable it checks that the committed ones say what the studies do. A comment before a table names it: its kind, the study, and what
// else it needs.
//   accuracy STUDY             mean, difference to the baseline with the same seed, p after Holm's correction
//   pairs STUDY A,B C,D ...    differences of two encodings with the same seed
//   sizes STUDY HxW ...        share of the accuracy at 32 x 32 that is left at another size
//   told STUDY                 accuracy after the encoding was told other places, and answers that stay
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "tessera/train/lab/page_findings.h"
#include "tessera/train/lab/statistics.h"
#include "tests/cli/program.h"

namespace tessera::lab {
namespace {

using Words = std::vector<std::string>;

struct Study {
  Findings found;
  Csv comparisons;
  std::vector<const StudyGroup*> best_first;
  explicit Study(const std::string& folder) {
    const StudyFiles files = read_study_files(folder);
    found = read_findings(files, folder);
    comparisons = parse_csv(files.at("comparisons.csv"), "comparisons.csv");
    for (const StudyGroup& g : found.groups) best_first.push_back(&g);
    std::ranges::stable_sort(best_first, std::greater(),
                             [](const StudyGroup* g) { return measured(*g, "last_acc1").mean; });
  }
  const StudyGroup& group(const std::string& label) const {
    for (const StudyGroup& g : found.groups)
      if (found.label(g) == label) return g;
    FAIL("no ", label);
    std::abort();
  }
  /// Of the comparison of a group's accuracy with the baseline's, a column of comparisons.csv.
  double compared(const StudyGroup& g, const char* column) const {
    for (size_t row = 0; row < comparisons.rows.size(); ++row) {
      bool same = comparisons.at(row, "measure") == "last_acc1";
      for (size_t k = 0; k < found.grid.size(); ++k) same = same && comparisons.at(row, found.grid[k]) == g.keys[k];
      if (same) return number_in(comparisons.at(row, column));
    }
    return unknown_number;
  }
};

/// "72.60 ± 0.41", of fractions; without an interval the mean alone.
std::string with_half(std::span<const double> values, int decimals) {
  const MeanOf m = mean_of(values);
  const double half = (m.interval.high - m.interval.low) / 2;
  return std::isnan(half) ? fmt::format("{:.{}f}", 100 * m.mean, decimals)
                          : fmt::format("{:.{}f} ± {:.{}f}", 100 * m.mean, decimals, 100 * half, decimals);
}

std::string accuracy(const Study& s, const Words&) {
  const std::string none = s.found.against();
  std::string t = fmt::format(
      "| | runs | accuracy | difference to `{}` | p, after Holm | added parameters |\n|---|---:|---:|---|---:|---:|\n",
      none);
  for (const StudyGroup* g : s.best_first) {
    const Measured m = measured(*g, "last_acc1");
    const double difference = s.compared(*g, "difference"), p = s.compared(*g, "holm_p");
    t += fmt::format("| `{}` | {} | {} % |", s.found.label(*g), m.n, with_half(m.values, 2));
    t += std::isnan(difference) || s.found.baseline_of(*g, "last_acc1") == g
             ? " |"
             : fmt::format(" {:+.2f} points [{:+.2f}, {:+.2f}] |", 100 * difference,
                           100 * s.compared(*g, "difference_low"), 100 * s.compared(*g, "difference_high"));
    t += std::isnan(p) ? " |" : p < 0.001 ? " < 0.001 |" : fmt::format(" {:.3f} |", p);
    t += fmt::format(" {:.0f} |\n", measured(*g, "params_added").mean);
  }
  return t;
}

std::string pairs(const Study& s, const Words& wanted) {
  std::string t = "| | points, mean ± half of Student's interval | seeds |\n|---|---:|---:|\n";
  for (const std::string& pair : wanted) {
    const size_t comma = pair.find(',');
    const std::string a = pair.substr(0, comma), b = pair.substr(comma + 1);
    std::vector<double> differences;
    for (const StudyRun& x : s.group(a).runs)
      for (const StudyRun& y : s.group(b).runs)
        if (x.seed == y.seed) differences.push_back(x.numbers.at("last_acc1") - y.numbers.at("last_acc1"));
    t += fmt::format("| `{}` over `{}` | {} | {} |\n", a, b, with_half(differences, 1), differences.size());
  }
  return t;
}

std::string sizes(const Study& s, const Words& wanted) {
  std::string t = "| |", line = "|---|";
  for (const std::string& size : wanted) {
    const size_t x = size.find('x');
    t += fmt::format(" {} x {} |", size.substr(0, x), size.substr(x + 1)), line += "---:|";
  }
  t += "\n" + line + "\n";
  for (const StudyGroup* g : s.best_first) {
    t += fmt::format("| `{}` |", s.found.label(*g));
    for (const std::string& size : wanted) {
      std::vector<double> shares;
      for (const StudyRun& run : g->runs)
        if (const auto at = run.numbers.find("resolution." + size + ".acc1"); at != run.numbers.end())
          shares.push_back(at->second / run.numbers.at("resolution.32x32.acc1"));
      t += shares.empty() ? " - |" : fmt::format(" {} % |", with_half(shares, 0));
    }
    t += "\n";
  }
  return t;
}

std::string told(const Study& s, const Words&) {
  std::string t =
      "| | accuracy | taken out | rows and columns exchanged | reversed | same answer mirrored | rolled by a patch | "
      "rolled by a pixel |\n|---|---:|---:|---:|---:|---:|---:|---:|\n";
  for (const StudyGroup* g : s.best_first) {
    t += fmt::format("| `{}` |", s.found.label(*g));
    for (const char* measure :
         {"resolution.32x32.acc1", "positions.zeroed.acc1", "positions.transposed.acc1", "positions.reversed.acc1",
          "flip.consistency", "shift.circular.4.consistency", "shift.circular.1.consistency"}) {
      const double mean = measured(*g, measure).mean;
      t += std::isnan(mean) ? " - |" : fmt::format(" {:.1f} |", 100 * mean);
    }
    t += "\n";
  }
  return t;
}

/// The table that a comment asks for; empty where it is another comment.
std::string table(const std::string& comment) {
  std::istringstream words(comment);
  std::string open, kind, study, word;
  words >> open >> kind >> study;
  Words more;
  while (words >> word && word != "-->") more.push_back(word);
  struct Kind {
    std::string_view name;
    std::string (*make)(const Study&, const Words&);
  };
  for (const Kind& k : {Kind{"accuracy", accuracy}, {"pairs", pairs}, {"sizes", sizes}, {"told", told}})
    if (kind == k.name) return k.make(Study(TESSERA_SOURCE_DIR "/docs/" + study), more);
  return "";
}

TEST_CASE("docs/compare.md: its tables are those of the studies") {
  const std::string path = TESSERA_SOURCE_DIR "/docs/compare.md", text = test::read(path);
  std::istringstream lines(text);
  std::string all, line;
  int tables = 0;
  while (std::getline(lines, line)) {
    all += line + "\n";
    if (!line.starts_with("<!-- ")) continue;
    const std::string made = table(line);
    if (made.empty()) continue;
    ++tables, all += made;
    while (std::getline(lines, line) && line.starts_with("|")) {}
    all += line + "\n";
  }
  CHECK(tables >= 4);
  if (std::getenv("TESSERA_WRITE_COMPARE")) {
    std::ofstream(path, std::ios::binary) << all;
    return;
  }
  CHECK_MESSAGE(text == all,
                "docs/compare.md is not what the studies say; write its tables anew with "
                "TESSERA_WRITE_COMPARE=1 tessera_cli_tests -tc=*compare.md*");
}

}  // namespace
}  // namespace tessera::lab
