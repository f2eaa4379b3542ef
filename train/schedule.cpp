#include "train/schedule.h"

namespace tessera {

double learning_rate(const SchedConfig& s, double lr, double epochs, double epoch) {
  if (epoch < s.warmup_epochs) return s.warmup_lr + (lr - s.warmup_lr) * epoch / s.warmup_epochs;
  if (s.sched == "constant") return lr;
  if (s.sched == "step") return std::max(s.min_lr, lr * std::pow(s.decay_rate, std::floor(epoch / s.decay_epochs)));
  return Cosine{lr, epochs - s.cooldown_epochs, s.warmup_epochs, s.warmup_lr, s.min_lr}(epoch);
}

}  // namespace tessera
