#include "tessera/train/lab/seams.h"

#include <fmt/format.h>

#include <filesystem>

#include "tessera/core/io/json.h"
#include "tessera/core/io/replace_file.h"
#include "tessera/train/report/results.h"
#include "tessera/train/training/text.h"

namespace tessera::lab {

void check_report(const Plan&) {}

bool measure_cell(const std::string& rundir, const Plan&, const Hooks&) {
  const io::Json s = io::read_json(rundir + "/summary.json", 1 << 20);
  io::Json numbers = io::Json::object();
  if (s["test_acc1"].is_number()) numbers["last_acc1"] = s["test_acc1"];
  if (s["best_val_acc1"].is_number()) numbers["best_val_acc1"] = s["best_val_acc1"];
  numbers["params"] = s["params"], numbers["macs"] = s["macs"];
  const io::Json all{{"format", 1}, {"numbers", numbers}, {"timed", {{"images_per_s", s["images_per_s"]}}}};
  io::replace_file(rundir + "/measures.json", all.dump(2) + "\n");
  return true;
}

std::string headline(const std::string& rundir) {
  const io::Json s = io::read_json(rundir + "/summary.json", 1 << 20);
  std::string line;
  const auto add = [&](const char* what, const char* key) {
    if (s.contains(key) && s[key].is_number())
      line += fmt::format("{}{} {:.2f} %", line.empty() ? "" : ", ", what, 100 * s[key].get<double>());
  };
  add("test", "test_acc1"), add("validation", "val_acc1");
  return line + ", " + duration(s.value("seconds", 0.0));
}

std::optional<double> spread_of_differences(const std::string&) { return {}; }
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

std::vector<std::string> ranking_lines(const Study&, const Plan&, size_t) { return {}; }

void write_tables(const Study& study, const Plan& plan) {
  report::Runs runs;
  for (const Cell& cell : plan.cells)
    if (study.finished(cell.name)) runs.push_back(report::read_run(study.cell(cell.name)));
  if (runs.empty()) return;
  io::replace_file(study.dir + "/results.csv", report::results_csv(runs, study.cells()));
  io::replace_file(study.dir + "/timings.csv", report::timings_csv(runs, study.cells()));
}

}  // namespace tessera::lab
