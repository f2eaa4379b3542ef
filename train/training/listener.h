#pragma once
// Who watches a run: told of steps and epochs, and of every line for a person. Nothing that a listener does changes a bit of the run; what is
// part of it (metrics, checkpoints) stands in the loop.
#include <string_view>

#include "tessera/train/training/checkpoint.h"
#include "tessera/train/training/config.h"

namespace tessera {

struct RunState {
  const RunConfig& config;
  const Progress& at;
  size_t batches;       ///< steps of an epoch
  double samples_left;  ///< to be trained on until the end, at most
  const char* unit;     ///< of the samples: "image"
};

/// Of an epoch that has ended. A metric is the task's first.
struct EpochScores {
  double loss = 0, metric = 0;  ///< of the training samples
  double val_metric = -1;       ///< -1: it was not validated
  double samples_per_s = 0;
};

struct Listener {
  virtual ~Listener() = default;
  virtual void say(std::string_view) {}
  virtual void step(const RunState&) {}
  /// RunState::at is at the beginning of the next epoch.
  virtual void epoch(const RunState&, const EpochScores&) {}
};

}  // namespace tessera
