#pragma once
// The sections of a study's page; each is HTML, or empty when there is nothing to show.
#include <optional>
#include <string>
#include <string_view>

#include "tessera/train/lab/page_findings.h"
#include "tessera/train/lab/results_plan.h"

namespace tessera::lab {

/// Attributes by which the page's script finds whatever belongs to a group.
std::string mark(const StudyGroup& group);
/// The colour of an encoding before its name; the name is HTML.
std::string chip(size_t encoding, std::string_view name);
/// How many of a group's runs were stopped early.
int stopped_early(const StudyGroup& group);
/// Stands behind the name of a group wherever its numbers are: a dagger if some of its runs were stopped early, else nothing.
std::string dagger(const StudyGroup& group);
/// The sentence about them at the top of the page; empty where there are none.
std::string daggers_note(const Findings& study);
/// 0.7312 -> "73.12"; a dash for NaN.
std::string points(double fraction, int decimals = 2);
/// "73.12 ± 0.41" in percent, the interval small; a dash without a value.
std::string with_interval(const Measured& m);
/// What stands between the means of all seeds' values: "5", or "3 to 5" when groups have different numbers of runs.
std::string runs_each(const Findings& study);

/// A setting as it is in one run of a group, or empty.
std::string setting(const Findings& study, const StudyGroup& group, const std::string& seed, const std::string& key);

/// The commands that give one run of a study once more.
class Again {
 public:
  explicit Again(const Findings& study);
  /// From the plan that is kept beside the page, whatever became of the runs; empty where a command line has no words for this one.
  std::string by_plan(const StudyGroup& group, const StudyRun& run) const;
  /// From the run's own configuration, where the folder still has its cells; empty where its folder is not known.
  std::string by_config(const StudyGroup& group, const StudyRun& run) const;

 private:
  const Findings& study_;
  std::optional<PlanSays> plan_;
};

std::string study_tiles(const Findings& study);
/// Accuracy, its interval as a picture, the difference to the baseline; sorted by accuracy. The table that the script sorts and filters.
std::string accuracy_table(const Findings& study);
/// What the encodings cost: parameters, multiplications, speed, memory.
std::string cost_table(const Findings& study);
/// Accuracy when positions are taken away, shuffled or turned at the test.
std::string reliance_table(const Findings& study);
/// Differences of all pairs as one picture for each facet.
std::string pair_matrix(const Findings& study);
/// The names and colours of all charts, which the script makes a switch.
std::string chart_legend(const Findings& study);
std::string training_curves(const Findings& study);
std::string resolution_curves(const Findings& study);
std::string shift_curves(const Findings& study);
std::string attention_distances(const Findings& study);
/// The answers of `tessera probe`, a map for each size and pooling, and what `made` says of their trainings (probe.toml); empty without rows.
std::string probe_maps(const Csv& probe, const std::string& made);
/// Learned tables and attention, of the first seed of each group. Throws Error on damaged pictures.json.
std::string study_pictures(const Findings& study);
/// Cells that failed and measures that make no sense, with their reasons.
std::string gaps(const Findings& study);
/// For each group its runs, what of their configuration is their own, and the command that repeats one.
std::string behind_the_numbers(const Findings& study);

/// What this page needs beyond the style of every report, and its script.
std::string_view study_style();
std::string_view study_script();

}  // namespace tessera::lab
