#include "tessera/train/training/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "tessera/core/error.h"

namespace tessera {
namespace {

double curve(const SchedConfig& s, double lr, double epochs, double epoch) {
  if (s.sched == "triangular") {
    const double x = std::min(1.0, epoch / epochs);
    if (x < s.peak) return s.warmup_lr + (lr - s.warmup_lr) * x / s.peak;
    return lr + (s.min_lr - lr) * (s.peak < 1 ? (x - s.peak) / (1 - s.peak) : 0);
  }
  if (epoch < s.warmup_epochs) return s.warmup_lr + (lr - s.warmup_lr) * epoch / s.warmup_epochs;
  if (s.sched == "constant") return lr;
  if (s.sched == "step") return std::max(s.min_lr, lr * std::pow(s.decay_rate, std::floor(epoch / s.decay_epochs)));
  if (s.sched == "linear") {
    const double end = epochs - s.cooldown_epochs;
    const double x = end > s.warmup_epochs ? std::min(1.0, (epoch - s.warmup_epochs) / (end - s.warmup_epochs)) : 1.0;
    return lr + (s.min_lr - lr) * x;
  }
  return Cosine{lr, epochs - s.cooldown_epochs, s.warmup_epochs, s.warmup_lr, s.min_lr}(epoch);
}

}  // namespace

double Cosine::operator()(double epoch) const {
  for (const double v : {lr, epochs, warmup, warmup_lr, min_lr, epoch})
    if (!(v >= 0 && std::isfinite(v)))
      fail("schedule",
           "Cosine of lr {}, epochs {}, warmup {}, warmup_lr {}, min_lr {} at epoch {}: each must be a number of at "
           "least 0",
           lr, epochs, warmup, warmup_lr, min_lr, epoch);
  if (epoch < warmup) return warmup_lr + (lr - warmup_lr) * epoch / warmup;
  const double x = epochs > warmup ? std::min(1.0, (epoch - warmup) / (epochs - warmup)) : 1.0;
  return min_lr + (lr - min_lr) * 0.5 * (1 + std::cos(std::numbers::pi * x));
}

double learning_rate(const SchedConfig& s, double lr, double epochs, double epoch) {
  for (const double v : {lr, epochs, epoch, s.warmup_epochs, s.warmup_lr, s.min_lr, s.cooldown_epochs, s.peak})
    if (!std::isfinite(v)) fail("schedule", "a number of the {} schedule is {}", s.sched, v);
  if (s.sched == "step" && !(s.decay_epochs > 0))
    fail("schedule", "decay_epochs is {}; the step schedule needs a number above 0", s.decay_epochs);
  if (s.sched == "triangular" && !(s.peak >= 0 && s.peak <= 1 && epochs > 0))
    fail("schedule", "peak is {}; the triangular schedule needs a share of the run in [0, 1]", s.peak);
  const double rate = curve(s, lr, epochs, epoch);
  if (!(rate >= 0 && std::isfinite(rate)))
    fail("schedule",
         "the {} schedule gives a learning rate of {} at epoch {}; check lr, warmup_lr, min_lr, decay_epochs and "
         "decay_rate",
         s.sched, rate, epoch);
  return rate;
}

}  // namespace tessera
