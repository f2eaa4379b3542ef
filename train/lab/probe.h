#pragma once
// What an encoding can and cannot express: small models trained on pictures whose labels say where things are (train/data/where.h,
// where_tokens.h), asked at the size they were trained at and at a larger one. docs/probe.md says what each column tells.
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/train/lab/statistics.h"
#include "tessera/train/training/config.h"
#include "tessera/train/training/trainer.h"

namespace tessera::lab {

/// A question, and the training that answers it: a column may ask the model of another one.
struct ProbeTask {
  const char* name;
  const char* trained_on;  ///< its own name, or whose training it shares
  const char* heading;     ///< of at most 6 letters
  int classes;
  bool tokens;  ///< every token answers
  const char* question;
  double chance() const { return 1.0 / classes; }
};
const std::vector<ProbeTask>& probe_tasks();

/// An encoding, some of its options, and what it is called in the tables: "lie:generator_dim=4".
struct ProbePosition {
  std::string label, name;
  Options options{};
};

struct ProbeOptions {
  std::vector<ProbePosition> positions;
  std::vector<ProbeTask> tasks = probe_tasks();
  /// Who answers for a picture: "token", the class token, or "avg", the mean of the patches; "": as `config` has it. Questions that every token
  /// answers for itself are asked under the first of them only, without a class token.
  std::vector<std::string> pools = {""};
  std::vector<int> sizes = {32, 48};  ///< the first is trained at
  int seeds = 1, train_size = 16000, test_size = 1000;
  RunConfig config{};  ///< model, optimiser, epochs; data, position and seed are the probe's
};

/// One encoding, one pooling, one task, one size.
struct ProbeCell {
  std::string position, pool, task;  ///< pool: of ProbeOptions::pools
  int size = 0;
  double chance = 0;
  std::vector<double>
      by_seed;  ///< share of right answers among the test pictures, or their tokens; empty if there is none
  double accuracy = unknown_number;
  Interval interval{};   ///< of several seeds Student's for their mean; of one: of its test pictures, resampled
  std::string absent{};  ///< why there is no number
  /// Is chance outside of the interval, below it?
  bool above_chance() const { return interval.low > chance; }
};

/// Trains and asks; `dir` keeps the runs and lets a stopped probe go on. Cells in the order of sizes, pools, positions, tasks. `said` hears a line
/// a run. Empty when `hooks.stop` ended it. A training whose numbers stop being finite is absent from its cells, and of several seeds costs them all:
/// a mean of those that went well would be of another thing. Throws Usage where `dir` has runs of another length; Error.
std::vector<ProbeCell> probe(const ProbeOptions& options, const std::string& dir, const Hooks& hooks,
                             const std::function<void(std::string_view)>& said);

/// One row a cell: position, pool, task, size, chance, seeds, accuracy, low, high, interval (of seeds | of pictures), standing (above chance |
/// chance), absent.
std::string probe_csv(const std::vector<ProbeCell>& cells);
/// ", class token", behind a size; empty for a pooling that nobody chose.
std::string pool_in_words(std::string_view pool);
/// For a terminal of 80 columns: a table for each size and pooling.
std::string probe_table(const std::vector<ProbeCell>& cells);

}  // namespace tessera::lab
