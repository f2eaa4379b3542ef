#pragma once
// A run, read back from its directory.
#include <string>
#include <vector>

#include "tessera/train/cli/network.h"
#include "tessera/train/data/source.h"

namespace tessera::cli {

enum class Weights { final, best };

struct SavedRun {
  RunConfig config;
  Network net;                        ///< with the weights asked for
  data::Normalisation normalisation;  ///< of its training data; empty where they were taken as they are
  std::vector<std::string> classes;
  std::string digest;  ///< of the data it was trained on
  int epoch = 0;       ///< of the best weights; 0: the final ones
};

/// Throws Error unless there is a config.toml in it, and says which folder was meant: of a file of a run, that run.
void check_run_directory(const std::string& rundir);

/// Reads config.toml, summary.json and weights.safetensors, or best.ckpt (with an average its averaged weights, as they were
/// validated), of a run directory. Throws Error that says what is missing or damaged, or which weight is no finite number.
SavedRun open_run(const std::string& rundir, Weights weights = Weights::final);

}  // namespace tessera::cli
