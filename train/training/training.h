#pragma once
// A run while it is under way, for train/trainer*.cpp: trainer.cpp is the loop, trainer_setup.cpp what comes before it,
// trainer_files.cpp what it leaves, trainer_start.cpp what it says at first. Everybody else calls train_run().
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "tessera/core/precision.h"
#include "tessera/nn/position_weights.h"
#include "tessera/train/data/loader.h"
#include "tessera/train/training/checkpoint.h"
#include "tessera/train/training/evaluate.h"
#include "tessera/train/training/lanes.h"
#include "tessera/train/training/optim.h"
#include "tessera/train/training/run_folder.h"
#include "tessera/train/training/trainer.h"

namespace tessera {
inline namespace TESSERA_NS {

using data::size_of;

class Training {
 public:
  Training(const RunConfig& config, const std::string& rundir, bool resume, const Hooks& hooks, const RunParts& parts);
  RunResult run();

 private:
  using Clock = std::chrono::steady_clock;
  static double since(Clock::time_point t) { return std::chrono::duration<double>(Clock::now() - t).count(); }
  enum class End { of_epoch, of_budget, interrupted };

  // the loop
  void train();
  End train_epoch();
  void step(const Batch& batch);
  void close_epoch();
  void validate();
  void validate_the_end();
  RunResult conclude();

  // of a step
  void add_gradients(const Run& run, const Batch& batch);
  Tally tally();
  double moment() const;  ///< epochs until now, a fraction in the midst of one
  double lr() const;
  std::string source_of_nan(const Run& run, const Batch& batch) const;
  std::string source_of_nan(const data::Source& source, const Evaluation& e) const;

  // when to stop
  const char* budget() const;  ///< the limit that is spent, or null
  bool out_of_patience() const;
  bool better(double metric) const;
  bool asked_to_stop();
  bool checkpoint_due() const;
  void interrupt(const std::string& where);
  std::string ended() const;
  double seconds() const { return before_ + since(start_); }
  int completed() const { return at_.epoch - (cut_ ? 1 : 0); }  ///< epochs

  // its files
  void checkpoint();
  void save_best();
  void resume();
  void restore_best();
  void finish(RunResult& result, Evaluation& test);
  void save_best_weights() const;
  void write_summary(const RunResult& result, const Evaluation& test) const;
  std::string config_text() const;
  std::vector<data::SizeFrom> sizes() const;

  // what others are told
  void announce();
  void estimate();
  double samples_left() const;
  double epoch_size() const;
  RunState state() const;
  template <class F>
  void tell(F f) const {
    for (const auto& listener : listeners_) f(*listener);
  }
  void say(std::string_view line) const {
    tell([&](Listener& l) { l.say(line); });
  }

  RunConfig config_;
  const Hooks& hooks_;
  const RunParts parts_;
  World& world_;
  std::vector<std::shared_ptr<Listener>> listeners_;
  const Computing computing_;
  data::Splits data_;
  const char* const unit_ = data_.train->form().unit();
  Params params_;
  PositionTables positions_;
  std::unique_ptr<Model> model_;
  std::shared_ptr<const Task> task_;
  const std::vector<std::string> began_from_;  // what is worth saying of the weights it began from
  Optimiser optimiser_;
  data::Loader loader_;  // its batches are whole steps
  Lanes lanes_;
  std::vector<Tally> tallies_;  // of the step under way, by shard
  std::vector<Tally> by_rank_;  // and by rank
  RunFolder folder_;
  Metrics metrics_;
  Provenance provenance_;

  Progress at_;
  EpochScores scores_;  // of the epoch that ended last
  Clock::time_point start_ = Clock::now(), saved_ = start_;
  bool cut_ = false;  // by a budget: the last epoch is not complete
  bool interrupted_ = false;
  uint64_t known_best_ = 0;  // the step of the best.ckpt that last.ckpt knows of; 0: none
  double before_ = 0;        // seconds of the parts before this one
};

/// A digest of all that changes the bits of what is to come: not where data lie, nor when to stop or what to save. The number of
/// epochs is not in it, though a cosine follows it: a run may be extended, and the checkpoint knows from when on. A key that is younger
/// than some checkpoints stays out while it is at its default.
std::string config_digest(RunConfig config);

/// Images of a step: accumulate batches, or all there are.
int64_t step_size(const TrainConfig& train, size_t images);
/// Samples that run through the network together: what the configuration says, or, at 0, what keeps a shard of large images in the caches
/// and leaves a small batch of them enough shards. It follows from the model and its samples alone, never from the machine; a run's
/// config.toml has the number. With BatchNorm, whose statistics in training are those of a shard, it stays at 8.
int shard_for(const TrainConfig& train, const InputShape& sample, const Params& params);
/// The shards and lanes of a run whose steps have so many samples; train.shard_size is known.
LanesOptions lanes_of(const TrainConfig& train, int64_t step);

}  // namespace TESSERA_NS
}  // namespace tessera
