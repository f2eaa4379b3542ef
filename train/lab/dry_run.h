#pragma once
// What a study would be, before it is begun.
#include "tessera/train/cli/interrupt.h"
#include "tessera/train/lab/plan.h"

namespace tessera::lab {

/// Prints the cells, those that cannot be with their reasons, how long it will take (from a few measured steps of each configuration), and
/// what difference so many seeds would show. Writes nothing. `dir`: of a study that is there already, whose finished runs tell the spread
/// of seeds; may not exist. Returns the exit code.
int dry_run(const Plan& plan, const std::string& dir, const cli::Interrupt& interrupt);

}  // namespace tessera::lab
