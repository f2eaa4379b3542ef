// What is said before the first step: what is trained, and how long it will take.
#include <algorithm>
#include <cmath>

#include "tessera/core/memory.h"
#include "tessera/core/parallel.h"
#include "tessera/train/training/environment.h"
#include "tessera/train/training/in_vain.h"
#include "tessera/train/training/text.h"
#include "tessera/train/training/training.h"
#include "tessera/train/training/views.h"

namespace tessera {
inline namespace TESSERA_NS {

void Training::announce() {
  say(fmt::format("{} with {} on {}: {}, {} training, {} validation and {}, {}", config_.model, config_.position,
                  config_.data.name, plural(params_.count(), "parameter"), size_of(data_.train), size_of(data_.val),
                  plural(static_cast<int64_t>(size_of(data_.test)), std::string("test ") + unit_),
                  plural(parallel::threads(), "thread")));
  if (!data_.note.empty()) say(data_.note);
  for (const std::string& line : began_from_) say(line);
  for (const std::string& line : in_vain(config_, data_.train->form(), params_)) say("warning: " + line);
  int64_t frozen = 0;
  for (const auto& e : params_.entries())
    if (!e.buffer && !e.value.leaf()->trainable) frozen += e.value.size();
  if (frozen > 0) say(fmt::format("{} of {} are frozen", frozen, plural(params_.count(), "parameter")));
  if (at_.epoch < config_.train.epochs && !budget() && !out_of_patience()) estimate();
}

/// Training samples of an epoch.
double Training::epoch_size() const {
  const auto n = static_cast<double>(data_.train->size());
  const auto whole =
      static_cast<double>(loader_.batches()) * static_cast<double>(step_size(config_.train, data_.train->size()));
  return config_.train.drop_last ? std::min(n, whole) : n;
}

/// Training samples until the end; with a limit of steps or minutes, at most what fits into it.
double Training::samples_left() const {
  const TrainConfig& t = config_.train;
  double left = (t.epochs - at_.epoch) * epoch_size() - static_cast<double>(at_.seen);
  if (t.max_steps > 0) {
    const double steps = t.max_steps - static_cast<double>(at_.step);
    left = std::min(left, steps * static_cast<double>(step_size(t, data_.train->size())));
  }
  if (t.max_minutes > 0 && at_.train_seconds > 0) {
    const double rate = static_cast<double>(at_.images) / at_.train_seconds;
    left = std::min(left, (60 * t.max_minutes - seconds()) * rate);
  }
  return std::max(left, 0.0);
}

/// Runs the gradients of one batch twice and throws them away: the first time touches the memory a step needs, the second
/// tells its time.
void Training::estimate() {
  for (const Batch& batch : loader_.epoch(at_.epoch, at_.batch)) {
    double took = 0;
    for (int i = 0; i < 2; ++i) {
      const auto start = Clock::now();
      add_gradients({Mode::train, static_cast<uint64_t>(config_.train.seed), at_.step}, batch);
      took = since(start) / batch.size();
      lanes_.discard();
    }
    // evaluation is forward only: about a third of a step
    const double validations =
        std::ceil((config_.train.epochs - at_.epoch) / static_cast<double>(config_.train.eval_every));
    const double evaluated = validations * static_cast<double>(size_of(data_.val)) +
                             evaluations(config_.train.tta) * static_cast<double>(size_of(data_.test));
    // smaller images cost about their area
    const auto area = [&, side = data_.train->form().h](double to) {
      return data::mean_area(loader_.options().progressive, side, moment(), to);
    };
    const double full = took / area(moment() + 1e-9);
    double time = full * (area(config_.train.epochs) * samples_left() + evaluated / 3);
    if (config_.optim.opt == "sam") time += full * area(config_.train.epochs) * samples_left();  // its second pass
    if (config_.train.max_minutes > 0) time = std::min(time, 60 * config_.train.max_minutes - seconds());
    const double sum = static_cast<double>(params_.count()) * sizeof(real);  // the one buffer not touched yet
    say(fmt::format("estimate: {} ({:.0f} {}s/s, {} an epoch), {:.0f} MB of memory", duration(time), 1 / took, unit_,
                    plural(static_cast<int64_t>(loader_.batches()), "step"),
                    (static_cast<double>(resident_bytes()) + sum) * 1e-6));
    break;
  }
}

RunState Training::state() const { return {config_, at_, loader_.batches(), samples_left(), unit_}; }

}  // namespace TESSERA_NS
}  // namespace tessera
