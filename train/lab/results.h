#pragma once
// What a folder of an ablation holds, read back: for the tables, the page and whoever asks how far it is. Files are judged as they come:
// a damaged one costs its own run, with a line that names it, and nothing else.
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/train/lab/statistics.h"

namespace tessera::lab {

/// The number of a run that was stopped early: after which epoch, as cell.json has it. A worker also leaves it in measures.json, for
/// whoever reads that alone; measure() does not know it, and a run that is measured again stays what it is.
constexpr const char* stopped_epoch = "stopped_epoch";

/// A finished cell: DIR/cells/CELL.
struct CellRun {
  std::string cell, dir;
  std::vector<std::string> values;  ///< of Results::keys; "" where the cell does not say
  int64_t seed = 0;
  std::map<std::string, double> numbers, timed;  ///< measures.json; accuracies as fractions; the times of summary.json
  std::map<std::string, std::string> absent;     ///< measure -> why this cell has none
  std::vector<float> right;         ///< answers.safetensors, by test sample: 1 where right; empty without the file
  std::vector<int32_t> prediction;  ///< as many, or none
  /// A number, deterministic or timed, or NaN.
  double number(const std::string& measure) const;
};

/// DIR/failed/CELL.json
struct FailedCell {
  std::string cell;
  std::vector<std::string> values;
  int64_t seed = 0;
  std::string reason;
};

/// Runs that are equal but for the seed.
struct CellGroup {
  std::vector<std::string> values;  ///< of Results::keys
  std::string label;                ///< the values that tell it from the others: "shaw", "shaw, avg"
  std::vector<size_t> runs;         ///< of Results::runs, by seed
  size_t baseline = 0;              ///< the group it is compared with, of Results::groups; groups.size(): there is none
};

struct Results {
  std::string dir;
  std::vector<std::string> keys;  ///< of the grid, in plan order
  std::vector<CellRun> runs;      ///< by their values (in plan order, then as numbers or text), then by seed
  std::vector<FailedCell> failed;
  std::vector<std::string> skipped;  ///< a line for each damaged run: file, what is wrong
  std::vector<CellGroup> groups;     ///< in the order of their runs
  std::string baseline_key,
      baseline_value;  ///< what a group is compared with: the one with this value there and all others equal
  std::vector<std::string> measures;  ///< to be compared, last_acc1 first; all of them stand in some run
  /// Of one group's runs that have it, by seed.
  std::vector<double> of(const CellGroup& group, const std::string& measure) const;
  /// How many of a group's runs were stopped early (`stop_worse`): their numbers are those of a shorter training.
  int stopped(const CellGroup& group) const;
  /// The group a group is compared with, or groups.size() where there is none: all other keys are equal, but for those that only one of the
  /// two has (baseline.h); where several are as like, that of the grid.
  size_t baseline_of(size_t group) const { return groups[group].baseline; }
};

/// Reads DIR. The baseline is that of [report] in DIR/plan.toml (baseline = "none" or "key=value"); without: position none, or else the first
/// value. Compared is every accuracy and consistency that was measured. Throws Error when DIR is no folder or cannot be read, or its plan is
/// damaged.
Results read_results(const std::string& dir);

/// Is DIR/results.csv all that is left of runs? It has some, and none could be read: it is not to be written anew.
bool only_tables_are_left(const Results& results);

/// How a measure is written and which way of it is good, by its name.
Unit unit_of(std::string_view measure);

/// One group, one measure.
struct Comparison {
  size_t group = 0, baseline = 0;  ///< of Results::groups; the same for a baseline, groups.size() where there is none
  MeanOf mean{};
  Middle middle{};              ///< of the same runs: they are one task
  Difference difference{};      ///< to the baseline, of the seeds both have; holm among all groups of this measure
  Interval images{};            ///< of the difference over test images, these seeds; last_acc1 only
  Interval seeds_and_images{};  ///< over both; last_acc1 only, from three shared seeds on
  Verdict verdict = Verdict::baseline;
  int stopped = 0, baseline_stopped = 0;  ///< runs that were stopped early, of either side
  std::string words;  ///< in_words(), or why there is no comparison; and how many of either side were stopped early
};
/// In the order of the groups.
std::vector<Comparison> compare(const Results& results, const std::string& measure);

/// All pairs: [a][b] is group a - group b of the seeds both have. Each is as if the other groups were not there (no correction over the
/// matrix, holm is p), so that an encoding that is added changes none of them: of 20 pairs of equals one will have p < 0.05.
std::vector<std::vector<Difference>> pairwise(const Results& results, const std::string& measure);

/// One row a run: the grid's keys, seed, then every deterministic measure by name. Equal work gives equal bytes.
std::string results_csv(const Results& results);
/// The same with what depends on the machine: seconds, threads and images_per_s of the training (summary.json), and what was timed beside
/// them.
std::string timings_csv(const Results& results);
/// One row a measure and group: the grid's keys, then measure, n, mean, sd, low, high, iqm, iqm_low, iqm_high (the interquartile mean;
/// empty below four runs), baseline (its label), pairs, difference,
/// difference_sd, difference_low, difference_high, t, p, holm_p, comparisons (that Holm's correction is among: those of this measure), detectable,
/// images_low, images_high, seeds_and_images_low, seeds_and_images_high, stopped, baseline_stopped (runs of either side that were stopped early),
/// verdict, words.
std::string comparisons_csv(const Results& results);
/// The matrix of last_acc1 as rows of a pair of groups, a and b, by their labels: measure, a, b, pairs, difference, low, high, p (uncorrected),
/// improvement (the probability that a run of a has more than one of b), improvement_low, improvement_high, a_stopped, b_stopped (runs that were
/// stopped early).
std::string pairwise_csv(const Results& results);
/// What there is no number of: the grid's keys, seed, measure, reason; without a measure for a cell that failed.
std::string missing_csv(const Results& results);

}  // namespace tessera::lab
