#pragma once
#include <string>

#include "tessera/train/cli/commands.h"

namespace tessera::cli {

struct BenchOptions {
  ModelOptions model;
  int batch_size = 64, steps = 30, warmup = 5;
  int length = 0;  ///< of a sequence; 0: the usual one
  std::string precision = "f32";
  bool json = false, turns = false;
};

/// Whole training steps on synthetic images in memory: forward, backward, AdamW.
int bench_train(const BenchOptions& options);
/// Forward passes in evaluation mode.
int bench_infer(const BenchOptions& options);
/// Timings of single ops, at the sizes of the model's first attention, as a table or as JSON.
int bench_ops(const BenchOptions& options);

}  // namespace tessera::cli
