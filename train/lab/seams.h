#pragma once
// Where the queue meets what judges a run.
#include <optional>
#include <string>
#include <vector>

#include "tessera/train/lab/study.h"
#include "tessera/train/training/trainer.h"

namespace tessera::lab {

/// --measures A,B as a plan says it.
void say_measures(Words& words, const std::string& measures);
/// Throws Usage when [report] says what no measure knows.
void check_report(const Plan& plan);
/// Measures a finished run; false when Hooks::stop ended it.
bool measure_cell(const std::string& rundir, const Plan& plan, const Hooks& hooks);
/// A finished run in a few words: "test 71.2 %, validation 70.9 %, 84 s".
std::string headline(const std::string& rundir);
/// The spread over seeds of a group's accuracy less the baseline's, as a fraction, pooled over what is finished in `dir`; none without at
/// least two pairs.
std::optional<double> spread_of_differences(const std::string& dir);
/// The groups of finished cells by their mean test accuracy, best first, each with its interval; at most `most`.
std::vector<std::string> ranking_lines(const Study& study, const Plan& plan, size_t most);

}  // namespace tessera::lab
