#pragma once
// Optimisers: from the gradients of a step to new weights, in one pass over memory for clipping, update and average,
// cut into fixed chunks, so that neither speed nor bits depend on how weights are spread over tensors or work over
// threads. The rules themselves are core/optim.h's.
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "tessera/core/io/tensor_file.h"
#include "tessera/core/optim.h"
#include "tessera/core/tape.h"
#include "tessera/nn/params.h"
#include "tessera/train/training/config.h"

namespace tessera {

/// The norm of a step's gradient is not finite; all weights are untouched.
struct GradientNotFinite : Error {
  using Error::Error;
};

inline namespace TESSERA_NS {

class Optimiser {
 public:
  using Rule = std::variant<AdamWOptions, SgdOptions, LionOptions, MuonOptions, ScheduleFreeAdamWOptions>;
  /// Throws Error if an option is outside of its domain: betas, momentum and ema_decay in [0, 1), eps > 0, ns_steps from 1 to 20, beta1 of
  /// schedule-free AdamW above 0, the rest >= 0, all finite; and if a name of not_hidden is no parameter's.
  /// `rates`: of each entry of params, a factor of its learning rate; none: 1 for all.
  Optimiser(Params& params, const Rule& rule, std::vector<double> rates = {});
  Optimiser(const Optimiser&) = delete;
  Optimiser& operator=(const Optimiser&) = delete;

  /// One step at the given learning rate. Parameters without a gradient stay as they are; gradients of other Params beside these are
  /// left alone. Returns the norm of the gradient before clipping; throws GradientNotFinite if it is not. Throws Error, with all weights
  /// untouched, if the rate is negative or not finite, if all gradients are of other Params, or if parameters were declared since the optimiser
  /// was made.
  double step(const Grads& grads, double lr);
  uint64_t steps() const { return steps_; }

  /// Sharpness-aware minimisation (SAM: Foret et al. 2021) around any rule: climb() moves the weights by rho g / (||g|| + 1e-12), away from
  /// which the gradient is taken again, of the same batch with the same random numbers; back() brings them back to the bit, and step()
  /// takes that second gradient. climb() returns the norm and throws as step() does.
  double climb(const Grads& grads, double rho);
  void back();

  /// Moments and average as named handles ("optim.m.head.weight", "ema.head.weight"), for checkpoints; with numbers() and the number
  /// of steps they are all there is. The average of schedule-free AdamW is computed for it.
  std::vector<io::NamedTensor> state() const;
  /// What is no tensor, for the metadata of a checkpoint: {"optim.weight_sum", "0.5"}. Most rules have none.
  io::Metadata numbers() const;
  /// Reads what state() and numbers() named. Throws Error if something is missing.
  void restore(const io::TensorFile& file, uint64_t steps);
  /// Bytes that a step reads or writes beside weights and gradients.
  int64_t state_bytes() const;

  /// While it lives, the model computes with the averaged weights: the moving average, or the x of schedule-free AdamW (the live ones if
  /// there is neither).
  class Averaged {
   public:
    explicit Averaged(Optimiser& o) : optimiser_(o) { optimiser_.swap_average(); }
    ~Averaged() { optimiser_.swap_average(); }
    Averaged(const Averaged&) = delete;
    Averaged& operator=(const Averaged&) = delete;

   private:
    Optimiser& optimiser_;
  };

 private:
  struct State {  // of one parameter; empty tensors where the rule or the options need none
    Tensor m, v, ema;
    Tensor start;  // of SAM: the weights as they were before climb()
  };
  struct Chunk {
    size_t entry;
    int64_t begin, count;
  };
  struct Track {  // hidden matrices that are stepped one after another, in memory of their own
    std::vector<size_t> entries;
    std::unique_ptr<OrthogonalRoom> room;
  };
  void check_step(const Grads& grads, double lr) const;
  double norm(const Grads& grads);
  template <class F>
  void each_chunk(const Grads& grads, F f);
  StepNow now(double lr, double clip);
  void take(const Grads& grads, const StepNow& step, size_t entry, int64_t begin, int64_t count, OrthogonalRoom* room);
  void deal(const MuonOptions& options);
  void follow_the_rest(const Grads& grads);
  void refresh_average() const;
  void swap_average();
  const ScheduleFreeAdamWOptions* schedule_free() const { return std::get_if<ScheduleFreeAdamWOptions>(&rule_); }

  Params& params_;
  Rule rule_;
  double clip_grad_ = 0, ema_decay_ = 0;
  uint64_t steps_ = 0;
  double largest_lr_ = 0, weight_sum_ = 0;  // of schedule-free AdamW
  bool averaged_ = false;                   // the weights are the average, for now
  std::vector<bool> climbed_;               // by entry, between climb() and back()
  std::vector<double> rates_;               // by entry of params_, or none
  std::vector<State> state_;                // by entry of params_
  std::vector<Chunk> chunks_;
  std::vector<double> square_sums_;  // by chunk
  std::vector<bool> hidden_;         // Muon's, by entry of params_
  std::vector<Track> tracks_;
};

class AdamW : public Optimiser {
 public:
  explicit AdamW(Params& params, const AdamWOptions& options = {});
};

class Sgd : public Optimiser {
 public:
  explicit Sgd(Params& params, const SgdOptions& options = {});
};

class Lion : public Optimiser {
 public:
  explicit Lion(Params& params, const LionOptions& options = {});
};

class Muon : public Optimiser {
 public:
  explicit Muon(Params& params, const MuonOptions& options = {});
};

/// Evaluate and save under Optimiser::Averaged. Its learning rate may warm up and then stays.
class ScheduleFreeAdamW : public Optimiser {
 public:
  explicit ScheduleFreeAdamW(Params& params, const ScheduleFreeAdamWOptions& options = {});
};

/// The rule that a run's configuration says; that of `sam` is its base_optimizer's. `not_hidden` is Muon's. Throws Error on an unknown one.
Optimiser::Rule optimiser_of(const OptimConfig& optim, double ema_decay, std::vector<std::string> not_hidden = {});

}  // namespace TESSERA_NS
}  // namespace tessera
