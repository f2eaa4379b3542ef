#pragma once
// One run while it is measured, and the numbers found so far. Internal to measures*.cpp; each family is a function of a Session.
#include <map>
#include <optional>
#include <string>

#include "tessera/core/io/json.h"
#include "tessera/train/cli/saved_run.h"
#include "tessera/train/data/set.h"
#include "tessera/train/lab/measures.h"
#include "tessera/train/lab/measures_positions.h"
#include "tessera/train/training/task.h"

namespace tessera::lab {

/// Somebody asked to stop.
struct Stopped {};
/// Throws Stopped when Hooks::stop says so.
void go_on(const Hooks& hooks);

struct Numbers {
  std::map<std::string, double> numbers, timed;
  std::map<std::string, std::string> absent;
  /// Of `to`: numbers or timed. A value that is not finite is absent.
  void add(std::map<std::string, double>& to, const std::string& name, double value);
  void add(const std::string& name, double value) { add(numbers, name, value); }
  void leave_out(const std::string& name, const std::string& reason) { absent[name] = reason; }
};

/// What was said of some samples, in their order.
struct Answers {
  std::vector<uint8_t> right;  ///< 1: by the task's first metric
  Index prediction;            ///< no_class where the task names none
  size_t undecided = 0;        ///< whose answer is not finite
  double acc1() const;
  /// The share that is as in `o`.
  double consistency(const Answers& o) const;
};
/// Samples `which` of `source`, eight at a time on every worker, as evaluate() does. Throws Stopped.
Answers ask(const Model& model, const data::Source& source, std::span<const int32_t> which, const Task& task,
            const Hooks& hooks);
/// All of them.
Answers ask(const Model& model, const data::Source& source, const Task& task, const Hooks& hooks);
/// `count` of `all` numbers, evenly spread; 0: all.
Index spread(size_t all, int count);

struct Session {
  const MeasureOptions& options;
  const Hooks& hooks;
  const std::string rundir;
  cli::SavedRun run;
  io::Json summary;
  Probe probe;
  cli::Network net;                          ///< the final weights, the encoding under `probe`
  std::shared_ptr<const data::Source> test;  ///< null: there is no test split
  std::shared_ptr<const Task> task;
  Answers answers;  ///< of all test samples

  Index part;                               ///< the samples that expensive measures ask
  Answers base;                             ///< their answers
  std::shared_ptr<const data::Set> images;  ///< these samples, if they are pictures; else null
  cli::ImageSize size, patch;               ///< of pictures, in pixels
  std::optional<cli::ImageSize> window;     ///< the largest that is not the whole map
  Numbers out;
  io::Json pictures;

  /// Opens the run, its data and a network under the probe, and asks all test samples.
  Session(const std::string& rundir, const MeasureOptions& options, const Hooks& hooks);
  /// Answers to the samples of the part, changed. Empty, with `names` left out, where the model refuses them or its answers are not finite.
  std::optional<Answers> changed_answers(const data::Source& changed, std::initializer_list<std::string> names);
  /// Sentences of the measures of pictures when there are none.
  bool has_images(std::initializer_list<std::string> names);
};

void measure_accuracy(Session&);
void measure_lossless(Session&);
void measure_resolution(Session&);
void measure_attention(Session&);
void measure_shift(Session&);
void measure_permutation(Session&);
void measure_grid_shuffle(Session&);
void measure_positions(Session&);
void measure_flip(Session&);
void measure_cost(Session&);
void measure_speed(Session&);

/// What the attentions of a network do on some samples.
struct AttentionOf {
  io::Json blocks;                            ///< as pictures.json has them
  double entropy = 0;                         ///< mean over samples, attentions, heads and queries
  std::vector<std::vector<double>> distance;  ///< by attention and head, in cells; NaN: between no two cells
  Index block;                                ///< Site::id of each attention
  std::string why_not;                        ///< there is nothing of the above
};
/// One sample at a time, so that nothing is padded. `maps`: fill blocks.
AttentionOf attention_of(Session& s, const data::Source& source, std::span<const int32_t> which, bool maps);

}  // namespace tessera::lab
