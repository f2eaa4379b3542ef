#pragma once
// A run while it is under way, for train/trainer*.cpp: trainer.cpp is the loop, trainer_setup.cpp what comes before it,
// trainer_files.cpp what it leaves, trainer_view.cpp what a person sees of it. Everybody else calls train_run().
#include <chrono>
#include <memory>
#include <string>

#include "tessera/core/precision.h"
#include "tessera/train/data/loader.h"
#include "tessera/train/training/checkpoint.h"
#include "tessera/train/training/evaluate.h"
#include "tessera/train/training/lanes.h"
#include "tessera/train/training/optim.h"
#include "tessera/train/training/run_folder.h"
#include "tessera/train/training/trainer.h"

namespace tessera {
inline namespace TESSERA_NS {

/// What a run reads; val and test are null where there are none.
struct RunData {
  std::shared_ptr<const data::Source> train, val, test;
  std::string note;  ///< a sentence worth saying of them, or empty
};
inline size_t size_of(const std::shared_ptr<const data::Source>& source) { return source ? source->size() : 0; }

class Training {
 public:
  Training(const RunConfig& config, const std::string& rundir, bool resume, const Hooks& hooks, const RunParts& parts);
  RunResult run();

 private:
  using Clock = std::chrono::steady_clock;
  static double since(Clock::time_point t) { return std::chrono::duration<double>(Clock::now() - t).count(); }
  enum class End { of_epoch, of_budget, interrupted };

  // the loop
  End train_epoch();
  void step(Batch batch);
  void add_gradients(const Run& run, const Batch& batch);
  void close_epoch();
  void validate();
  double lr() const;
  const char* budget() const;  ///< the limit that is spent, or null
  bool out_of_patience() const;
  bool checkpoint_due() const;
  double seconds() const { return before_ + since(start_); }
  std::string ended(bool cut, bool interrupted) const;
  std::string source_of_nan(const Run& run, const Batch& batch) const;
  std::string source_of_nan(const data::Source& source, const Evaluation& e) const;

  // its files
  void checkpoint();
  void save_best();
  void resume();
  void restore_best();
  void forget_results();
  void finish(RunResult& result, Evaluation& test);
  void save_best_weights() const;
  void write_summary(const RunResult& result, const Evaluation& test) const;
  std::string config_text() const;

  // what a person sees
  void announce();
  void estimate();
  void report_epoch() const;
  void show_progress();
  double images_left() const;
  double epoch_size() const;
  void say(std::string_view line) const {
    if (hooks_.say) hooks_.say(line);
  }

  bool better(double metric) const;

  RunConfig config_;
  const Hooks& hooks_;
  const Computing computing_;
  RunData data_;
  Params params_;
  Places places_;
  std::unique_ptr<Model> model_;
  std::shared_ptr<const Task> task_;
  Optimiser optimiser_;
  data::Loader loader_;  // its batches are whole steps
  Lanes lanes_;
  std::vector<Tally> tallies_;  // of the step under way, by shard
  RunFolder folder_;
  Metrics metrics_;
  Provenance provenance_;

  Progress at_;
  Clock::time_point start_ = Clock::now(), saved_ = start_, shown_{};
  int completed_ = -1;             // epochs, without one that a budget cut
  uint64_t known_best_ = 0;        // the step of the best.ckpt that last.ckpt knows of; 0: none
  double before_ = 0;              // seconds of the parts before this one
  std::string epoch_, epoch_end_;  // what is said of the epoch that has ended
};

/// Images of a step: accumulate batches, or all there are.
int64_t step_size(const TrainConfig& train, size_t images);

}  // namespace TESSERA_NS
}  // namespace tessera
