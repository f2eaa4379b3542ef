#pragma once
// Optimisers: from the gradients of a step to new weights, in one pass over memory for clipping, update and average,
// cut into fixed chunks, so that neither speed nor bits depend on how weights are spread over tensors or work over
// threads.
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "tessera/core/io/tensor_file.h"
#include "tessera/core/tape.h"
#include "tessera/nn/params.h"
#include "tessera/train/training/config.h"

namespace tessera {

/// AdamW (Loshchilov, Hutter 2019) with PyTorch's names, defaults and order of operations:
///   m += (1 - beta1) (g - m)        v = beta2 v + (1 - beta2) g^2
///   w = (1 - lr weight_decay) w - lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
struct AdamWOptions {
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
  double weight_decay = 0.01;  ///< only where the parameter was born with Decay::yes
  double clip_grad = 0;        ///< largest norm of the whole gradient; 0: no clipping
  double ema_decay = 0;        ///< moving average of the weights; 0: none
};

/// Stochastic gradient descent as in PyTorch: d = g + weight_decay w, m = momentum m + d, w -= lr (m, or d + momentum
/// m).
struct SgdOptions {
  double momentum = 0.9;
  bool nesterov = false;
  double weight_decay = 0;
  double clip_grad = 0;
  double ema_decay = 0;
};

/// The norm of a step's gradient is not finite; all weights are untouched.
struct GradientNotFinite : Error {
  using Error::Error;
};

inline namespace TESSERA_NS {

class Optimiser {
 public:
  using Rule = std::variant<AdamWOptions, SgdOptions>;
  /// Throws Error if an option is outside of its domain: betas, momentum and ema_decay in [0, 1), eps > 0, the rest >= 0, all finite.
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

  /// Moments and average as named handles ("optim.m.head.weight", "ema.head.weight"), for checkpoints; with the number
  /// of steps they are all there is.
  std::vector<io::NamedTensor> state() const;
  /// Reads what state() named. Throws Error if something is missing.
  void restore(const io::TensorFile& file, uint64_t steps);
  /// Bytes that a step reads or writes beside weights and gradients.
  int64_t state_bytes() const;

  /// While it lives, the model computes with the averaged weights (the live ones if there is no average).
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
  };
  struct Chunk {
    size_t entry;
    int64_t begin, count;
  };
  void check_step(const Grads& grads, double lr) const;
  double norm(const Grads& grads);
  void swap_average();

  Params& params_;
  Rule rule_;
  double clip_grad_, ema_decay_;
  bool second_moment_;
  uint64_t steps_ = 0;
  std::vector<double> rates_;  // by entry of params_, or none
  std::vector<State> state_;   // by entry of params_
  std::vector<Chunk> chunks_;
  std::vector<double> square_sums_;  // by chunk
};

class AdamW : public Optimiser {
 public:
  explicit AdamW(Params& params, const AdamWOptions& options = {}) : Optimiser(params, options) {}
};

class Sgd : public Optimiser {
 public:
  explicit Sgd(Params& params, const SgdOptions& options = {}) : Optimiser(params, options) {}
};

/// The rule that a run's configuration says. Throws Error on an unknown one.
Optimiser::Rule optimiser_of(const OptimConfig& optim, double ema_decay);

}  // namespace TESSERA_NS
}  // namespace tessera
