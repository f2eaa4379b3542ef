#pragma once
// A checkpoint holds all a run needs to go on with equal bits: weights and buffers, moments and average of the optimiser, and
// where the loop stands. It is a safetensors file ("model.*", "optim.*", "ema.*", and text in its metadata) with a checksum, and
// appears complete or not at all.
#include <string>

#include "tessera/nn/params.h"
#include "tessera/train/training/optim.h"

namespace tessera {

/// Where a run stands, between two steps.
struct Progress {
  int epoch = 0;                ///< completed
  uint64_t batch = 0;           ///< of the epoch under way, completed
  uint64_t step = 0;            ///< of the optimiser
  double loss_sum = 0;          ///< of the epoch under way, over its samples so far
  int64_t hits = 0, asked = 0;  ///< of the task's first metric: right answers of the epoch under way, of so many
  int64_t seen = 0;             ///< samples of the epoch under way
  double epoch_seconds = 0;     ///< training time of the epoch under way
  double lr = 0;                ///< of the last step
  double train_loss = 0;        ///< of the last complete epoch
  double val_acc1 = -1, best_val_acc1 = -1;
  double seconds = 0;        ///< since the run began, all parts together
  double train_seconds = 0;  ///< the share of steps, and the images they trained on
  uint64_t images = 0;
  int val_epoch = 0, best_epoch = 0;  ///< of the last and of the best validation; 0: none
  uint64_t best_step = 0;             ///< the step of the best.ckpt that belongs to this point; 0: none
  int planned = 0;                    ///< train.epochs, which the learning rate follows
  std::string history;                ///< "30 epochs until step 240": how the plan was changed on the way, or empty
  uint64_t metrics_bytes = 0;         ///< length of metrics.jsonl at this point, and what Metrics::digest() says of it
  std::string metrics_digest;
};

/// What has to be equal for a resumed run to give the bits of one that was never stopped.
struct Provenance {
  std::string config;       ///< digest of everything in the configuration that matters
  std::string data;         ///< digest of the training data
  std::string environment;  ///< CPU, instruction set, OpenBLAS, compiler, commit
};

inline namespace TESSERA_NS {

/// Through io::replace_file. Throws Error; the old file then is as it was.
void save_checkpoint(const std::string& path, const Params& params, const Optimiser& optimiser, const Progress& at,
                     const Provenance& provenance);

struct Restored {
  Progress at;
  Provenance provenance;
};
/// Verifies the checksum, then fills params and optimiser. Throws Error if the file is damaged, of another format version, or of
/// another model, or if its configuration or data are not those `expected`. The environment is the caller's to compare.
Restored load_checkpoint(const std::string& path, Params& params, Optimiser& optimiser, const Provenance& expected);

/// Only the weights and buffers of a checkpoint, or their moving average. Returns where the run stood. Throws Error like
/// load_checkpoint; whose configuration it was is the caller's to know.
Progress load_weights(const std::string& path, Params& params, bool averaged);

/// The step that a checkpoint was written at. Reads the header only. Throws Error if the file is no checkpoint.
uint64_t step_of(const std::string& path);

}  // namespace TESSERA_NS
}  // namespace tessera
