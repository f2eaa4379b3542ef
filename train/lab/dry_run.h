#pragma once
// What a study would be, before it is begun.
#include "tessera/train/cli/interrupt.h"
#include "tessera/train/lab/study.h"

namespace tessera::lab {

/// Prints the cells that are to be done (with `retry` those that failed, too), those that cannot be with their reasons, how long it will take
/// (from a few measured steps of each configuration, with the threads that are set), and what difference so many seeds would show. Writes
/// nothing. `study`: may be there already, and its finished runs tell the spread of seeds; without a folder's name it is not. Returns the
/// exit code.
int dry_run(const Plan& plan, const Study& study, bool retry, const cli::Interrupt& interrupt);

}  // namespace tessera::lab
