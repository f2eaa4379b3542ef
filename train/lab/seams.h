#pragma once
// Where the queue meets what judges a run: measures, statistics, tables.
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/train/lab/measures.h"
#include "tessera/train/lab/page.h"
#include "tessera/train/lab/study.h"

namespace tessera::lab {

/// What whoever begins a study is told of the commit that its runs and its page will name; empty where that is the code.
std::string unclean(std::string_view commit);
/// --measures A,B as a plan says it.
void say_measures(Words& words, const std::string& measures);
/// What [report] says of measures: measures (families), images, attention_images, sizes, shifts, tiles, measure_seed. Throws Usage on a key
/// that is none, and as check() does.
MeasureOptions measure_options(const Assignments& report);
/// A finished run in a few words: "test 71.20 %, validation 70.90 %, 84 s".
std::string headline(const std::string& rundir);
/// The groups of finished cells by their mean test accuracy, best first, each with its interval; at most `most`.
std::vector<std::string> ranking_lines(const Study& study, size_t most);
/// The spread over seeds of a group's accuracy less the baseline's, as a fraction, pooled over what is finished in `dir` and was not stopped
/// early; none without at least two pairs of one group.
std::optional<double> spread_of_differences(const std::string& dir);
/// results.csv and timings.csv of all cells that are there; at the `end` what takes longer, too.
Without write_tables(const Study& study, bool end);

}  // namespace tessera::lab
