#pragma once
// A training run from a configuration to a run directory. The loop itself is train/trainer.cpp; whoever wants another
// loop has Lanes, AdamW, Cosine, evaluate() and the checkpoints as parts (train/tessera.h).
#include <functional>
#include <string>
#include <string_view>

#include "train/config.h"

namespace tessera {

/// How a run talks to its surroundings. Every member may be empty.
struct Hooks {
  std::function<bool()> stop;                 ///< asked after every step: true ends the run with a checkpoint
  std::function<bool()> checkpoint;           ///< asked after every step: true writes a checkpoint (once per request)
  std::function<void(std::string_view)> say;  ///< a line for a person: estimate, one line an epoch, warnings
  std::function<void(std::string_view)> progress;  ///< a line that replaces the one before (a terminal); empty: none
};

struct RunResult {
  bool finished = false;     ///< all epochs (or the budget) are done and the final files are written
  bool interrupted = false;  ///< Hooks::stop ended it: last.ckpt holds everything
  int epochs = 0;            ///< completed
  uint64_t steps = 0;
  double train_loss = 0;  ///< of the last complete epoch
  double val_acc1 = -1;   ///< after the last epoch, in [0, 1]; -1: no validation split
  double best_val_acc1 = -1;
  double test_acc1 = -1;    ///< after the last epoch, in [0, 1]
  double seconds = 0;       ///< of training, all resumed parts together
  double images_per_s = 0;  ///< training images a second, evaluation excluded
};

/// The configuration makes no model, or none for these data: what a person said is wrong, not what happened.
struct Misfit : Error {
  using Error::Error;
};

/// Trains as `config` says and leaves in `rundir`: config.toml, metrics.jsonl, last.ckpt, best.ckpt (with a validation
/// split), weights.safetensors, summary.json, report_data.json. A run directory that exists is refused unless `resume`,
/// which goes on from last.ckpt with equal bits; it is locked while in use. With an empty `rundir` nothing is written.
/// Throws Misfit, or Error; last.ckpt then is that of the last checkpoint.
RunResult train_run(const Config& config, const std::string& rundir, bool resume, const Hooks& hooks = {});

}  // namespace tessera
