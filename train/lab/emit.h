#pragma once
// Scripts that start workers elsewhere.
#include <string>

#include "tessera/train/lab/crew.h"

namespace tessera::lab {

/// For "slurm", "parallel" or "mpi": a script whose every process is a worker on `dir` as `o` says, with one thread if it says none, and as many
/// as runs, at most 16. Running it again goes on. Throws Usage on another name.
std::string script_of(const std::string& how, const std::string& dir, size_t runs, const CrewOptions& o);

}  // namespace tessera::lab
