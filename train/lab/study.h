#pragma once
// The folder of a study: where its cells are, and how far it is.
#include <set>
#include <string>
#include <vector>

#include "tessera/train/lab/claim.h"
#include "tessera/train/lab/plan.h"

namespace tessera::lab {

struct Study {
  std::string dir;
  std::string cells() const { return dir + "/cells"; }
  std::string work() const { return dir + "/work"; }
  std::string claims() const { return dir + "/claims"; }
  std::string failures() const { return dir + "/failed"; }
  std::string plan() const { return dir + "/plan.toml"; }
  std::string cell(const std::string& name) const { return cells() + "/" + name; }
  std::string failure(const std::string& name) const { return failures() + "/" + name + ".json"; }
  bool finished(const std::string& name) const;
  bool failed(const std::string& name) const;
};

/// Makes the folder and its plan.toml, or compares the plan with the one that is there, which may grow by cells. Throws Usage when the
/// folder is another study's, or holds something else; Error when it cannot be written.
void open_study(const Study& study, const Plan& plan);
/// Throws Usage where open_study() would, and leaves the folder as it is.
void check_study(const Study& study, const Plan& plan);
/// The plan of a folder. Throws Usage when there is none.
Plan plan_of(const Study& study);
/// Is there a plan.toml?
bool is_begun(const Study& study);

/// Names of cells by what became of them.
struct Standing {
  std::set<std::string> finished, failed;
};
Standing standing(const Study& study);

/// What a cell's run depends on, for cell.json: a digest of its configuration, and where it ends.
std::string fingerprint(const Cell& cell);
/// Is the finished run of this name that of another configuration? What cannot be read is left to whoever reads the tables.
bool of_another_plan(const Study& study, const Cell& cell);

/// failed/CELL.json: a cell that cannot be, or whose training failed.
void record_failure(const Study& study, const Cell& cell, const std::string& reason);
/// Why a cell failed.
std::string reason_of(const Study& study, const Cell& cell);
/// Forgets all of them, so that they are tried once more; returns how many there were.
int forget_failures(const Study& study);

/// The folder of a run under way, moved to a name of its owner: whoever had it before cannot write to it any more. Returns
/// work/CELL@OWNER, which is there if there was a run.
std::string adopt_work(const Study& study, const std::string& cell, const Owner& owner);
/// Moves a finished run to cells/CELL; false if that is there already (the run is then removed). Throws Error.
bool deliver(const Study& study, const std::string& rundir, const std::string& cell);

/// Removes what workers that died left of cells that are there by now, and once all cells of the plan are done their claims. Those of cells
/// that the plan does not have, for another process made it grow, are none of its business.
void tidy(const Study& study, const Plan& plan);

}  // namespace tessera::lab
