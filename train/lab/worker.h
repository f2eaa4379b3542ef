#pragma once
// One worker: claims a cell, trains it, measures it, delivers it, and looks for the next, until there is none.
#include <functional>
#include <string>
#include <string_view>

#include "tessera/train/lab/study.h"
#include "tessera/train/training/trainer.h"

namespace tessera::lab {

struct WorkerOptions {
  double patience = 60;  ///< seconds that a claim may stand still
  /// One of those that a process looks after: runs whose data are not found fail, unless a finished run shows that there are such data. A
  /// worker by itself is one machine of many: it leaves them to those that have the data.
  bool of_a_crew = false;
  Hooks hooks;  ///< stop, stopped_by, say
};

enum class WorkEnd {
  all_done,  ///< every cell is finished or failed
  stopped,   ///< asked to: the cell under way has its checkpoint, and its claim is free
};

/// Works until the end of the study. Throws Error when it cannot go on at all: a full disk, a missing right, no data here for what is left.
/// What goes wrong with one cell alone is recorded with that cell.
WorkEnd work(const Study& study, const Plan& plan, const WorkerOptions& options);

/// Would the next cell fail in the same way? A line about a file of the study that the disk or its rights did not take.
bool of_the_disk(const std::string& line, const Study& study);

/// The first epoch after which a run is to be stopped by the rule, and how many steps it then had; 0: none. Both are texts of
/// metrics.jsonl, of which what stands after a damaged line counts for nothing.
struct StopAt {
  int epoch = 0;
  int64_t steps = 0;
};
StopAt stops_at(const StopRule& rule, const std::string& metrics, const std::string& reference);

}  // namespace tessera::lab
