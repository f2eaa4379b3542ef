#pragma once
// What a study found, as its page shows it: read from the files beside the page and from nothing else, so that a page is the same whether the runs are
// still there or only their tables.
#include <array>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/train/lab/page_csv.h"

namespace tessera::lab {

/// Name ("results.csv") to bytes; what is absent is not in it. docs/report.md says what each holds.
using StudyFiles = std::map<std::string, std::string>;

/// An epoch of a run; NaN where nothing was measured.
struct Epoch {
  double epoch, train_loss, train_acc1, val_loss, val_acc1;
};

/// A finished run.
struct StudyRun {
  std::string seed;
  std::map<std::string, double> numbers;     ///< of results.csv and timings.csv: accuracies are fractions
  std::map<std::string, std::string> words;  ///< what is no number there
  std::vector<Epoch> epochs;
};

/// Runs that differ only in their seeds.
struct StudyGroup {
  std::vector<std::string> keys;  ///< values of the grid
  size_t encoding = 0;            ///< which of Findings::encodings
  size_t facet = 0;               ///< which of Findings::facets
  std::vector<StudyRun> runs;
};

/// A measure of a group: mean over its runs and Student's 95 % interval.
struct Measured {
  int n = 0;
  double mean, low, high;  ///< NaN: not known
  std::vector<double> values;
};

/// A group beside the baseline, or beside another group, in words that statistics allow.
struct StudyComparison {
  size_t group,
      other;  ///< of Findings::groups; other: its baseline, itself for a baseline, groups.size() where there is none
  std::string measure;
  int pairs = 0;
  double difference, low, high;  ///< fractions
  std::string verdict;           ///< "better", "worse", "unsettled", ...
  std::string words;
};

/// A cell that failed, or a measure that makes no sense for a cell.
struct StudyGap {
  std::vector<std::string> keys;
  std::string seed, measure, reason;  ///< measure: empty when the whole cell is missing
};

/// A key of the configuration.
struct StudySetting {
  std::string of;  ///< "all": the same in all runs; "group": in those of one; "run"
  std::vector<std::string> keys;
  std::string seed, key, value;
};

struct Findings {
  std::vector<std::string> grid;  ///< names of the keys, in the plan's order
  size_t along = 0;               ///< the key that tells encodings apart; the others make facets
  std::vector<std::string>
      encodings;  ///< values of that key, in order of appearance, with options of its section that tell two of one value apart
  std::vector<std::string>
      facets;  ///< "swin, cifar100"; a single empty text when there is one key, or when the others have one value
  std::string baseline;  ///< what all baselines have and others have not: "none", "model.global_pool avg"; or empty
  std::vector<StudyGroup> groups;  ///< by facet, then by encoding
  std::vector<StudyComparison> comparisons;
  std::vector<StudyGap> gaps;
  std::vector<StudySetting> settings;
  std::string plan, pictures;  ///< plan.toml and pictures.json as they are
  Csv probe;                   ///< probe.csv of `tessera probe`, if one is beside them
  std::string probe_made;      ///< probe.toml
  std::vector<std::string> files;

  /// "rope", or with several facets "rope, swin".
  std::string label(const StudyGroup& group) const;
  /// `baseline`, or "the baseline" where it has no name.
  std::string against() const { return baseline.empty() ? "the baseline" : baseline; }
  /// How a group is compared in a measure; nullptr if it is not.
  const StudyComparison* comparison(const StudyGroup& group, std::string_view measure) const;
  /// The group it is compared with in a measure, itself for a baseline; nullptr if there is none.
  const StudyGroup* baseline_of(const StudyGroup& group, std::string_view measure) const;
  /// The value of a setting that is the same in all runs, or empty.
  std::string common(std::string_view key) const;
};

Measured measured(const StudyGroup& group, const std::string& measure);
/// The accuracy that a group is ranked by: last_acc1, or test_acc1 where a folder has none.
std::string ranked_by(const Findings& study);
/// Names of measures that begin with `before` and end with `after`, what stands between, sorted as numbers where they are.
std::vector<std::string> between(const Findings& study, std::string_view before, std::string_view after);

/// The files of StudyFiles that are in `folder`.
StudyFiles read_study_files(const std::string& folder);
/// Throws Error that names the file and the line.
Findings read_findings(const StudyFiles& files, const std::string& folder);

}  // namespace tessera::lab
