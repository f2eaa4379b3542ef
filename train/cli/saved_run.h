#pragma once
// A finished run, read back from its directory.
#include <string>
#include <vector>

#include "train/cli/network.h"
#include "train/data/set.h"

namespace tessera::cli {

struct SavedRun {
  Config config;
  Network net;        ///< with the final weights
  data::Stats stats;  ///< what images were normalised by
  std::vector<std::string> classes;
};

/// Reads RUNDIR/config.toml, weights.safetensors and summary.json. Throws Error that says what is missing or damaged.
SavedRun open_run(const std::string& rundir);

}  // namespace tessera::cli
