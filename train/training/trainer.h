#pragma once
// A training run from a configuration to a run directory. The loop itself is train/training/trainer.cpp; whoever wants another
// loop has Lanes, AdamW, Cosine, evaluate() and the checkpoints as parts (train/tessera.h).
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/train/data/source.h"
#include "tessera/train/training/config.h"
#include "tessera/train/training/listener.h"
#include "tessera/train/training/task.h"
#include "tessera/train/training/world.h"

namespace tessera {

/// How a run talks to its surroundings. Every member may be empty.
struct Hooks {
  std::function<bool()> stop;                 ///< asked after every step: true ends the run with a checkpoint
  std::function<std::string()> stopped_by;    ///< what made stop() true, for the record ("SIGTERM")
  std::function<bool()> checkpoint;           ///< asked after every step: true writes a checkpoint (once per request)
  std::function<void(std::string_view)> say;  ///< a line for a person: estimate, one line an epoch, warnings
  std::function<void(std::string_view)> progress;  ///< a line that replaces the one before (a terminal); empty: none
  std::function<int()> columns;  ///< of that terminal, asked for each line since its size may change; empty: 80
};

struct RunResult {
  bool finished = false;     ///< all epochs (or the budget) are done and the final files are written
  bool interrupted = false;  ///< Hooks::stop ended it: last.ckpt holds everything
  std::string ended;         ///< why: epochs | patience | max_steps | max_minutes | interrupted [by WHAT]
  int epochs = 0;            ///< completed
  uint64_t steps = 0;
  double train_loss = 0;  ///< of the last complete epoch
  double val_acc1 = -1;   ///< after the last epoch, in [0, 1]; -1: no validation split
  double best_val_acc1 = -1;
  double test_acc1 = -1;      ///< after the last epoch, in [0, 1]
  double tta_test_acc1 = -1;  ///< the same with test-time augmentation (train.tta); -1: without
  double seconds = 0;         ///< of training, all resumed parts together
  double images_per_s = 0;    ///< training images a second, evaluation excluded
};

/// What a run is handed instead of making it from its configuration. Every member may be null.
struct RunParts {
  std::shared_ptr<const data::Source> train;  ///< null: what config.data says; then there may be no others
  std::shared_ptr<const data::Source> val, test;
  std::shared_ptr<const Task> task;                  ///< null: Classification of the classes of the data
  std::shared_ptr<World> world;                      ///< null: this process alone
  std::vector<std::shared_ptr<Listener>> listeners;  ///< beside the one that speaks through the hooks
};

/// The configuration makes no model, or none for these data: what a person said is wrong, not what happened.
struct Misfit : Error {
  using Error::Error;
};

/// Trains as `config` says and leaves in `rundir`: config.toml, metrics.jsonl, last.ckpt, best.ckpt (with a validation
/// split), weights.safetensors, summary.json, report_data.json, and best.safetensors if asked for; an interrupted run leaves the
/// first four and summary.json. A run directory that exists is refused unless `resume`; it is locked while in use.
/// `resume` goes on from last.ckpt with equal bits, after every other file has been brought back to what last.ckpt knew: lines,
/// results and a best.ckpt that came later are gone and happen again. Where the run ends (epochs, limits, patience), where its
/// data lie and what is saved may be other than before. More or fewer epochs move a cosine from that step on.
/// With an empty `rundir` nothing is written. Numbers that are not finite are never a result: a loss, a gradient, a weight or an
/// answer of that kind ends the run with an Error that names the first place, and no file is replaced by it.
/// Throws Misfit, or Error; last.ckpt then is that of the last checkpoint.
RunResult train_run(const RunConfig& config, const std::string& rundir, bool resume, const Hooks& hooks = {},
                    const RunParts& parts = {});

}  // namespace tessera
