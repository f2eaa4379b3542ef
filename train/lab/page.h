#pragma once
// The page and the tables of a study: what `tessera report` leaves in the folder of an ablation.
#include <string>

#include "tessera/train/lab/page_findings.h"
#include "tessera/train/lab/results.h"

namespace tessera::lab {

/// Every file beside the page, made from the runs: results.csv, timings.csv, comparisons.csv, pairwise.csv, curves.csv, settings.csv,
/// missing.csv, pictures.json, and plan.toml and probe.csv as they are. `partial` gets a line for each run that stands in the tables without
/// something, because a file of its own beside its measures is damaged.
StudyFiles study_files(const Results& results, std::vector<std::string>& partial);
/// The page of these files; `folder` stands in errors only.
std::string study_page(const StudyFiles& files, const std::string& folder);

/// report.html of an ablation's folder to `out`.
void write_page(const Results& results, const std::string& out);

/// Is this the folder of an ablation (plan.toml and cells), what is kept of one (plan.toml and results.csv), or that of a probe (probe.csv)?
bool is_study(const std::string& folder);
/// What a study's files are without, a line each.
struct Without {
  std::vector<std::string> runs;   ///< Results::skipped: they are in no table
  std::vector<std::string> parts;  ///< curves, settings or pictures of runs that are
};
/// (Re)writes tables and page of such a folder; where no run can be read, and the tables have some, the page alone, from the tables. `out`:
/// of the page; empty: report.html in the folder. Throws Error.
Without write_study(const std::string& folder, const std::string& out = "");

}  // namespace tessera::lab
