#pragma once
// The rules of the optimisers: what one step does to the numbers of one parameter, written from the gradient on. Threads, chunks of memory,
// averages and checkpoints are train/training/optim.h's; what each rule is good for stands in docs/optimisers.md.
#include <string>
#include <vector>

#include "tessera/core/tensor.h"

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

/// Lion (Chen et al. 2023): only the sign of a momentum moves the weights.
///   w = (1 - lr weight_decay) w - lr sign(beta1 m + (1 - beta1) g)        m = beta2 m + (1 - beta2) g
struct LionOptions {
  double beta1 = 0.9, beta2 = 0.99;
  double weight_decay = 0;
  double clip_grad = 0;
  double ema_decay = 0;
};

/// What Muon's learning rate is multiplied by at a matrix (rows, cols), under PyTorch's names.
enum class AdjustLr {
  original,  ///< sqrt(max(1, rows / cols)), Jordan's
  match_rms_adamw  ///< 0.2 sqrt(max(rows, cols)), Moonshot's (Liu et al. 2025): steps as large as AdamW's, for whose rate it is meant
};

/// Muon (Jordan et al. 2024): the momentum of a hidden matrix, made orthogonal by Newton and Schulz's iteration, is the step; AdamW takes
/// all other parameters. The weight of a convolution (O, I, kh, kw) is the matrix (O, I kh kw).
///   m += (1 - momentum) (g - m)        u = g + momentum (m - g) with nesterov, else m
///   w = (1 - lr weight_decay) w - lr adjust orthogonal(u)
struct MuonOptions {
  double momentum = 0.95;
  bool nesterov = true;
  int ns_steps = 5;  ///< of the iteration
  AdjustLr adjust_lr = AdjustLr::original;
  /// Before each step w becomes w sqrt(rows) / ||w||, its rows of norm 1 on the average, so that lr alone says how far a step turns them
  /// (Jordan's CIFAR-10 speedrun). A matrix of zeros stays one.
  bool normalize_weights = false;
  double adamw_rate = 0.015;                      ///< AdamW's learning rate over Muon's: 3e-4 where that is 0.02
  double beta1 = 0.9, beta2 = 0.95, eps = 1e-10;  ///< AdamW's
  double weight_decay = 0;                        ///< of both
  double clip_grad = 0;
  double ema_decay = 0;
  /// Matrices that AdamW takes all the same, by name. Jordan's rule: embeddings, the first layer and the head.
  std::vector<std::string> not_hidden = {};
};

/// Schedule-free AdamW (Defazio et al. 2024): gradients are taken at y, between the plain steps z and their average x, which is what is
/// evaluated and saved. While training the model holds y; the learning rate stays as it is after its warm-up.
///   v = beta2 v + (1 - beta2) g^2        u = g / (sqrt(v) / sqrt(1 - beta2^t) + eps) + weight_decay y
///   c = max(lr)^2 / (the sum of all steps' max(lr)^2), max(lr) being the largest rate until then
///   y = (1 - c) y + c z - lr (1 - beta1 (1 - c)) u        z -= lr u        x = y + (1 - 1 / beta1) (z - y)
struct ScheduleFreeAdamWOptions {
  double beta1 = 0.9;  ///< where y stands between z (0) and x (1); above 0
  double beta2 = 0.999, eps = 1e-8;
  double weight_decay = 0;
  double clip_grad = 0;
};

inline namespace TESSERA_NS {

/// What a step is told beside the options. In double: it becomes `real` where it is applied.
struct StepNow {
  double t = 1;     ///< the number of the step, from 1 on
  double lr = 0;    ///< of this parameter
  double clip = 1;  ///< the gradient is multiplied by this first
  bool decay = false;
  double c = 0;  ///< of schedule-free AdamW
};

/// A part of a parameter and of all that is kept for it; null where there is none.
struct Slice {
  const real* g;
  real *w, *m, *v, *ema;  ///< m of schedule-free AdamW is z
  int64_t n;
};

void take_step(const AdamWOptions& options, const StepNow& now, const Slice& at);
void take_step(const SgdOptions& options, const StepNow& now, const Slice& at);
void take_step(const LionOptions& options, const StepNow& now, const Slice& at);
void take_step(const ScheduleFreeAdamWOptions& options, const StepNow& now, const Slice& at);
/// Of a parameter that is no hidden matrix: AdamW's. now.lr is Muon's.
void take_step(const MuonOptions& options, const StepNow& now, const Slice& at);

/// y = a x + b y
void scaled_sum(real a, const real* x, real b, real* y, int64_t n);

/// x of schedule-free AdamW, where gradients are not taken but answers are.
void schedule_free_average(const ScheduleFreeAdamWOptions& options, const real* y, const real* z, real* x, int64_t n);

/// Memory for orthogonal() of matrices with up to `numbers` numbers and a smaller side of up to `side`.
struct OrthogonalRoom {
  OrthogonalRoom(int64_t numbers, int64_t side);
  Tensor x, y, gram, polynomial;
  int64_t bytes() const;
};
/// The matrix (rows, cols) at room.x made nearly orthogonal: U S V^T becomes U S' V^T with S' around 1, from 0.7 to 1.2. `steps` of
///   X <- a X + (b X X^T + c (X X^T)^2) X,   (a, b, c) = (3.4445, -4.7750, 2.0315),   begun at X / ||X||,
/// the smaller of X X^T and X^T X being multiplied. fp32 under any precision. Returns where the result is: room.x or room.y.
const real* orthogonal(int64_t rows, int64_t cols, int steps, OrthogonalRoom& room);
/// Muon's step of a whole hidden matrix.
void take_matrix_step(const MuonOptions& options, const StepNow& now, int64_t rows, int64_t cols, const Slice& at,
                      OrthogonalRoom& room);
/// The factor of the learning rate that the options ask for.
double adjusted(AdjustLr how, int64_t rows, int64_t cols);

}  // namespace TESSERA_NS
}  // namespace tessera
