// The training loop: epochs of steps, validation, and the question when to stop.
#include "tessera/train/training/trainer.h"

#include <algorithm>
#include <cmath>

#include "tessera/train/training/finite.h"
#include "tessera/train/training/schedule.h"
#include "tessera/train/training/text.h"
#include "tessera/train/training/training.h"

namespace tessera {
inline namespace TESSERA_NS {

RunResult Training::run() {
  announce();
  train();
  return conclude();
}

/// Epochs, until all are done, a limit is reached, patience is over or somebody asks to stop.
void Training::train() {
  const TrainConfig& t = config_.train;
  while (at_.epoch < t.epochs && !out_of_patience()) {
    const End end = budget() ? End::of_budget : train_epoch();
    if (end != End::of_epoch) checkpoint();  // in the midst of an epoch, so that the run can go on from there
    if (end == End::interrupted) return interrupt(fmt::format("in epoch {} after step {}", at_.epoch + 1, at_.step));
    if (at_.seen == 0) return;  // the budget ended with an epoch
    close_epoch();
    if (at_.epoch % t.eval_every == 0) validate();
    metrics_.write();
    tell([&](Listener& l) { l.epoch(state(), scores_); });
    if (end == End::of_budget) {
      cut_ = true;
      return;
    }
    const bool over = at_.epoch == t.epochs || budget() || out_of_patience();
    const bool stop = !over && asked_to_stop();  // while the epoch was validated
    if (at_.epoch % t.checkpoint_every == 0 || over || stop) checkpoint();
    if (stop) return interrupt(fmt::format("after epoch {}", at_.epoch));
  }
}

Training::End Training::train_epoch() {
  auto last = Clock::now();  // a step's time begins with waiting for its batch; checkpoints do not count
  for (const Batch& batch : loader_.epoch(at_.epoch, at_.batch)) {
    step(batch);
    const double took = since(last);
    at_.epoch_seconds += took, at_.train_seconds += took;
    last = Clock::now();
    tell([&](Listener& l) { l.step(state()); });
    if (asked_to_stop()) return End::interrupted;
    if (checkpoint_due()) checkpoint(), last = Clock::now();
    if (budget() && at_.batch < loader_.batches()) return End::of_budget;
  }
  return End::of_epoch;
}

void Training::step(const Batch& batch) {
  const Run run{Mode::train, static_cast<uint64_t>(config_.train.seed), at_.step};
  at_.lr = lr();
  add_gradients(run, batch);
  const auto [value, grads] =
      lanes_.finish();  // `grads` are the lanes' own: those of the second pass, when there was one
  const Tally said = tally();
  const auto lost = [&](const char* what) {
    fail_not_finite(
        "the {} of step {} (epoch {}, lr {:.3g}) is not finite; first {}: try a smaller optim.lr, more "
        "sched.warmup_epochs or optim.clip_grad=1",
        what, at_.step + 1, at_.epoch + 1, at_.lr, source_of_nan(run, batch));
  };
  // A loss may be finite although a logit is not: the share of minus infinity is 0.
  if (!std::isfinite(value) || said.undecided > 0) lost("loss");
  try {
    if (config_.optim.opt == "sam") {
      optimiser_.climb(grads, config_.optim.rho);
      add_gradients(run, batch);
      lanes_.finish(Lanes::Statistics::keep);
      optimiser_.back();
    }
    optimiser_.step(grads, at_.lr);
  } catch (const GradientNotFinite&) {
    lost("gradient");
  }
  at_.hits += said.of[0].count, at_.asked += said.of[0].of, at_.seen += batch.size();
  at_.images += static_cast<uint64_t>(batch.size());
  at_.loss_sum += value * batch.size();
  ++at_.batch, ++at_.step;
}

void Training::close_epoch() {
  const auto seen = static_cast<double>(at_.seen);
  at_.train_loss = at_.loss_sum / seen;
  scores_ = {at_.train_loss, Share{at_.hits, at_.asked}.value(), -1, seen / at_.epoch_seconds};
  ++at_.epoch;
  metrics_.add({at_.epoch, at_.step, "train", scores_.loss, scores_.metric, at_.lr, scores_.samples_per_s, seconds()});
  at_.batch = 0, at_.loss_sum = 0, at_.hits = at_.asked = at_.seen = 0, at_.epoch_seconds = 0;
}

void Training::validate() {
  if (!data_.val) return;
  Evaluation e;
  {
    const Optimiser::Averaged averaged(optimiser_);
    e = evaluate(*model_, *data_.val, *task_, world_);
    if (!std::isfinite(e.loss)) {
      fail_not_finite(
          "validation after epoch {} (step {}): the answers to {} of {} {}s are not finite; first {}; the "
          "checkpoints are those from before: try a smaller optim.lr, more sched.warmup_epochs or optim.clip_grad=1",
          at_.epoch, at_.step, e.undecided, data_.val->size(), unit_, source_of_nan(*data_.val, e));
    }
  }
  at_.val_acc1 = scores_.val_metric = e.acc1, at_.val_epoch = at_.epoch;
  metrics_.add({at_.epoch, at_.step, "val", e.loss, e.acc1, at_.lr, static_cast<double>(data_.val->size()) / e.seconds,
                seconds()});
  if (!better(e.acc1)) return;
  at_.best_val_acc1 = e.acc1, at_.best_epoch = at_.epoch, at_.best_step = at_.step;
  save_best();
}

/// The last epoch is validated in any case. Where it was not its turn, that belongs to this end alone: no checkpoint knows of it, a run that
/// goes on is to the bit one that never was here, and one that has nothing more to train does it again.
void Training::validate_the_end() {
  if (!data_.val || at_.val_epoch == at_.epoch) return;
  validate();
  say(fmt::format("validation after epoch {}: {:.2f} %", at_.epoch, 100 * at_.val_acc1));
}

/// Says why the loop was left, tests and saves what a run that has ended leaves, and returns the result.
RunResult Training::conclude() {
  RunResult result;
  Evaluation test;
  result.interrupted = interrupted_, result.ended = ended();
  if (!interrupted_) {
    validate_the_end();
    finish(result, test);
  }
  result.epochs = completed(), result.steps = at_.step;
  result.train_loss = at_.train_loss, result.val_acc1 = at_.val_acc1, result.best_val_acc1 = at_.best_val_acc1;
  result.seconds = seconds();
  result.images_per_s = at_.train_seconds > 0 ? static_cast<double>(at_.images) / at_.train_seconds : 0;
  write_summary(result, test);
  return result;
}

// ---- of a step -----------------------------------------------------------------------------------------------------------

void Training::add_gradients(const Run& run, const Batch& batch) {
  std::fill(tallies_.begin(), tallies_.end(), Tally());
  lanes_.add(run, batch, [&](const Run& here, const Batch& shard) {
    return task_->loss(*model_, here, shard, tallies_[static_cast<size_t>(shard.first / lanes_.options().shard_size)]);
  });
}

/// What was counted over the step, by all ranks.
Tally Training::tally() {
  const int ranks = world_.size();
  Tally& own = by_rank_[static_cast<size_t>(world_.rank())] = {};
  for (const Tally& t : tallies_) own.add(t);
  world_.share(by_rank_.data(), ranks, sizeof(Tally));
  Tally all;
  for (const Tally& t : by_rank_) all.add(t);
  return all;
}

double Training::moment() const {
  return at_.epoch + static_cast<double>(at_.batch) / static_cast<double>(loader_.batches());
}

/// The learning rate of the step that comes next.
double Training::lr() const { return learning_rate(config_.sched, config_.optim.lr, config_.train.epochs, moment()); }

std::string Training::source_of_nan(const Run& run, const Batch& batch) const {
  return first_not_finite(params_, run, batch, lanes_.options().shard_size, [&](const Run& here, const Batch& shard) {
    Tally unused;
    return task_->loss(*model_, here, shard, unused);
  });
}

std::string Training::source_of_nan(const data::Source& source, const Evaluation& e) const {
  return first_not_finite(*model_, params_, source, *task_, e);
}

// ---- when to stop --------------------------------------------------------------------------------------------------------

const char* Training::budget() const {
  const TrainConfig& t = config_.train;
  if (t.max_steps > 0 && at_.step >= static_cast<uint64_t>(t.max_steps)) return "max_steps";
  return t.max_minutes > 0 && world_.any(seconds() >= 60 * t.max_minutes) ? "max_minutes" : nullptr;
}

/// What counts are epochs since the best one, also those that were not validated; but it is asked of the last that was.
bool Training::out_of_patience() const {
  return config_.train.patience > 0 && at_.best_epoch > 0 && at_.val_epoch - at_.best_epoch >= config_.train.patience;
}

/// Than all validations before, by the task's first metric.
bool Training::better(double metric) const {
  if (at_.best_epoch == 0) return true;
  return task_->metrics()[0].higher ? metric > at_.best_val_acc1 : metric < at_.best_val_acc1;
}

bool Training::asked_to_stop() { return world_.any(hooks_.stop && hooks_.stop()); }

bool Training::checkpoint_due() const {
  const TrainConfig& t = config_.train;
  return world_.any((hooks_.checkpoint && hooks_.checkpoint()) ||
                    (t.checkpoint_steps > 0 && at_.step % static_cast<uint64_t>(t.checkpoint_steps) == 0) ||
                    (t.checkpoint_minutes > 0 && since(saved_) >= 60 * t.checkpoint_minutes));
}

void Training::interrupt(const std::string& where) {
  say(fmt::format("stopped {}; the checkpoint holds everything", where));
  interrupted_ = true;
}

/// Why the loop was left, as RunResult::ended says it; and says it to the person, where it is not just the end.
std::string Training::ended() const {
  const TrainConfig& t = config_.train;
  if (interrupted_) {
    const std::string by = hooks_.stopped_by ? hooks_.stopped_by() : "";
    return by.empty() ? "interrupted" : "interrupted by " + by;
  }
  if (!cut_ && at_.epoch >= t.epochs) return "epochs";
  if (!cut_ && out_of_patience()) {
    say(fmt::format("ended early: no better validation in {} after epoch {} ({:.2f} %; train.patience={})",
                    plural(at_.val_epoch - at_.best_epoch, "epoch"), at_.best_epoch, 100 * at_.best_val_acc1,
                    t.patience));
    return "patience";
  }
  const char* limit = budget();
  if (!limit) limit = t.max_steps > 0 ? "max_steps" : "max_minutes";
  const std::string value =
      limit == std::string_view("max_steps") ? std::to_string(t.max_steps) : fmt::format("{}", t.max_minutes);
  say(fmt::format("ended by train.{}={} after {} ({} of {} complete)", limit, value,
                  plural(static_cast<int64_t>(at_.step), "step"), completed(), plural(t.epochs, "epoch")));
  return limit;
}

}  // namespace TESSERA_NS

RunResult train_run(const RunConfig& config, const std::string& rundir, bool resume, const Hooks& hooks,
                    const RunParts& parts) {
  return Training(config, rundir, resume, hooks, parts).run();
}

}  // namespace tessera
