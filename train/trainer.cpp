// The training loop: open the data, build model and optimiser, then epochs of steps, validation, checkpoints, and at the end the
// test set and the files a run leaves.
#include "train/trainer.h"

#include <atomic>
#include <chrono>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/io/checksum.h"
#include "core/io/replace_file.h"
#include "core/kernels/kernels.h"
#include "core/parallel.h"
#include "core/pool.h"
#include "core/precision.h"
#include "models/geometry.h"
#include "nn/weights.h"
#include "train/checkpoint.h"
#include "train/complete.h"
#include "train/data/loader.h"
#include "train/environment.h"
#include "train/evaluate.h"
#include "train/lanes.h"
#include "train/loss.h"
#include "train/optim.h"
#include "train/report_collect.h"
#include "train/run_folder.h"
#include "train/schedule.h"
#include "train/splits.h"

namespace tessera {
namespace {

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point t) { return std::chrono::duration<double>(Clock::now() - t).count(); }

// ---- before the loop -----------------------------------------------------------------------------------------------------

/// A digest of all that changes the bits of a run: not where data lie, nor when to stop or to save.
std::string digest(Config c) {
  c.data.dir.clear(), c.data.workers = 1;
  const TrainConfig standard;
  c.train.max_steps = standard.max_steps, c.train.max_minutes = standard.max_minutes;
  c.train.checkpoint_every = standard.checkpoint_every, c.train.checkpoint_steps = standard.checkpoint_steps;
  c.train.checkpoint_minutes = standard.checkpoint_minutes;
  const std::string text = toml(c);
  io::Checksum sum;
  sum.add(text.data(), text.size());
  return sum.hex();
}

/// Multiply-accumulates of one image, as the ops themselves tell.
double macs(const Model& model, const data::Set& set) {
  struct Counter final : Observer {
    double macs = 0;
    void saw(const Op& op, const std::string&, Inputs, const Tensor&) override { macs += op.macs; }
  } counter;
  const Observing observing(counter);
  model.forward(Run{}, zeros({1, set.h, set.w, set.channels}));
  return counter.macs;
}

int64_t right_answers(const Tensor& logits, std::span<const int32_t> labels) {
  const auto classes = static_cast<size_t>(logits.dim(-1));
  int64_t n = 0;
  for (size_t i = 0; i < labels.size(); ++i) {
    const auto z = logits.values().subspan(i * classes, classes);
    n += std::max_element(z.begin(), z.end()) - z.begin() == labels[i];
  }
  return n;
}

// ---- the run -------------------------------------------------------------------------------------------------------------

class Trainer {
 public:
  Trainer(const Config& config, const std::string& rundir, bool resume, const Hooks& hooks);
  RunResult run();

 private:
  enum class End { of_epoch, of_budget, interrupted };
  End train_epoch();
  void step(const Batch& batch);
  Batch part_of_step(const Batch& batch) const;
  Tensor loss(const Run& run, const Batch& shard);
  void close_epoch();
  void report_epoch() const;
  void validate();
  void checkpoint(const char* name = "last.ckpt");
  void resume();
  void estimate();
  void finish(RunResult& result);

  bool budget_spent() const;
  bool checkpoint_due() const;
  double lr(uint64_t batch) const;
  double seconds() const { return before_ + seconds_since(start_); }
  void say(std::string_view line) const {
    if (hooks_.say) hooks_.say(line);
  }
  void show_progress();
  double images_left() const;
  std::string config_text() const {
    return fmt::format("# tessera {} on {}\n{}", version(), environment(), toml(config_));
  }

  Config config_;
  const Hooks& hooks_;
  const Computing computing_;
  Splits data_;
  Params params_;
  Places places_;
  std::unique_ptr<Model> model_;
  Optimiser optimiser_;
  data::Loader loader_;
  Lanes lanes_;
  RunFolder folder_;
  Metrics metrics_;
  Provenance provenance_;

  Progress at_;
  std::atomic<int64_t> hits_{0};  // of the batch under way: integers, so that the order of lanes does not matter
  Clock::time_point start_ = Clock::now(), saved_ = start_, shown_{};
  int completed_ = -1;             // epochs, without one that a budget cut
  double before_ = 0;              // seconds of the parts before this one
  std::string epoch_, epoch_end_;  // what is said of the epoch that has ended
};

Config checked(const Config& c) {
  check(c);
  return c;
}

Trainer::Trainer(const Config& config, const std::string& rundir, bool resume_run, const Hooks& hooks)
    : config_(checked(config)),
      hooks_(hooks),
      computing_(precision(config_.train.precision)),
      data_(open_splits(config_.data)),
      params_(static_cast<uint64_t>(config_.train.seed)),
      model_([&] {
        complete(config_, data_.train);
        const ModelRow& row = model(config_.model);
        places_ = row.places(config_.model_options);
        return row.make(Scope(params_), config_.model_options, position(config_.position, config_.position_options));
      }()),
      optimiser_(params_, rule(config_.optim, config_.train.ema_decay)),
      loader_(data_.train, {.batch_size = config_.train.batch_size,
                            .seed = static_cast<uint64_t>(config_.train.seed),
                            .augment = config_.augment,
                            .workers = config_.data.workers}),
      lanes_({.lanes = config_.train.lanes, .shard_size = config_.train.shard_size}),
      folder_(rundir, resume_run),
      metrics_(folder_),
      provenance_{digest(config_), data_.train.digest, environment()} {
  if (resume_run) {
    resume();
  } else {
    folder_.write("config.toml", config_text());
  }
}

RunResult Trainer::run() {
  RunResult result;
  say(fmt::format("{} with {} on {}: {} parameters, {} training, {} validation and {} test images, {} threads",
                  config_.model, config_.position, config_.data.name, params_.count(), data_.train.size(),
                  data_.val.size(), data_.test.size(), parallel::threads()));
  if (!data_.note.empty()) say(data_.note);
  if (at_.epoch < config_.train.epochs && !budget_spent()) estimate();
  while (at_.epoch < config_.train.epochs) {
    const End end = budget_spent() ? End::of_budget : train_epoch();
    if (end != End::of_epoch) checkpoint();  // in the midst of an epoch, so that the run can go on from there
    if (end == End::interrupted) {
      say(fmt::format("stopped in epoch {} after step {}; the checkpoint holds everything", at_.epoch + 1, at_.step));
      result.interrupted = true;
      break;
    }
    if (at_.seen == 0) break;  // the budget ended with an epoch
    close_epoch();
    const bool last = at_.epoch == config_.train.epochs || budget_spent();
    if (at_.epoch % config_.train.eval_every == 0 || last) validate();
    report_epoch();
    if (end == End::of_budget) {
      completed_ = at_.epoch - 1;
      break;
    }
    const bool stop = !last && hooks_.stop && hooks_.stop();  // asked for while the epoch was validated
    if (at_.epoch % config_.train.checkpoint_every == 0 || last || stop) checkpoint();
    if (stop) {
      say(fmt::format("stopped after epoch {}; the checkpoint holds everything", at_.epoch));
      result.interrupted = true;
      break;
    }
  }
  if (completed_ < 0) completed_ = at_.epoch;
  if (!result.interrupted) finish(result);
  result.epochs = completed_, result.steps = at_.step;
  result.train_loss = at_.train_loss, result.val_acc1 = at_.val_acc1, result.best_val_acc1 = at_.best_val_acc1;
  result.seconds = seconds();
  result.images_per_s = at_.train_seconds > 0 ? static_cast<double>(at_.images) / at_.train_seconds : 0;
  return result;
}

Trainer::End Trainer::train_epoch() {
  auto last = Clock::now();  // a step's time begins with waiting for its batch; checkpoints do not count
  for (const Batch& batch : loader_.epoch(at_.epoch, at_.batch)) {
    const uint64_t before = at_.step;
    step(batch);
    const double took = seconds_since(last);
    at_.epoch_seconds += took, at_.train_seconds += took;
    last = Clock::now();
    if (at_.step == before) continue;  // a part of a step: nothing may stop here
    show_progress();
    if (hooks_.stop && hooks_.stop()) return End::interrupted;
    if (checkpoint_due()) checkpoint(), last = Clock::now();
    if (budget_spent() && at_.batch < loader_.batches()) return End::of_budget;
  }
  return End::of_epoch;
}

/// One batch, which is a whole step unless batches are accumulated.
void Trainer::step(const Batch& batch) {
  const Run run{Mode::train, static_cast<uint64_t>(config_.train.seed), at_.step};
  hits_ = 0;
  const Batch part = part_of_step(batch);
  lanes_.add(run, part, [&](const Run& here, const Batch& shard) { return loss(here, shard); });
  at_.hits += hits_, at_.seen += part.size(), at_.images += static_cast<uint64_t>(part.size());
  at_.lr = lr(at_.batch++);
  if (at_.batch % static_cast<uint64_t>(config_.train.accumulate) != 0 && at_.batch < loader_.batches()) return;
  const auto [value, grads] = lanes_.finish();
  if (!std::isfinite(value)) {
    fail("train",
         "the loss of step {} (epoch {}, lr {:.3g}) is not finite: try a smaller optim.lr, more sched.warmup_epochs or "
         "optim.clip_grad=1",
         at_.step + 1, at_.epoch + 1, at_.lr);
  }
  optimiser_.step(grads, at_.lr);
  at_.loss_sum += value * part.of;
  ++at_.step;
}

Batch Trainer::part_of_step(const Batch& batch) const {
  const auto parts = static_cast<uint64_t>(config_.train.accumulate),
             size = static_cast<uint64_t>(config_.train.batch_size);
  const uint64_t part = at_.batch % parts, begin = (at_.batch - part) * size;
  Batch b = batch;
  b.first = static_cast<int64_t>(part * size);
  b.of = static_cast<int>(std::min(parts * size, static_cast<uint64_t>(data_.train.size()) - begin));
  return b;
}

Tensor Trainer::loss(const Run& run, const Batch& shard) {
  const Tensor logits = model_->forward(run, shard.x).logits;
  hits_ += right_answers(logits, shard.labels);
  return soft_cross_entropy(logits, shard, config_.train.label_smoothing);
}

/// The learning rate of a step whose last batch is number `batch` of this epoch.
double Trainer::lr(uint64_t batch) const {
  const double epoch = at_.epoch + static_cast<double>(batch) / static_cast<double>(loader_.batches());
  return learning_rate(config_.sched, config_.optim.lr, config_.train.epochs, epoch);
}

bool Trainer::checkpoint_due() const {
  const TrainConfig& t = config_.train;
  return (hooks_.checkpoint && hooks_.checkpoint()) ||
         (t.checkpoint_steps > 0 && at_.step % static_cast<uint64_t>(t.checkpoint_steps) == 0) ||
         (t.checkpoint_minutes > 0 && seconds_since(saved_) >= 60 * t.checkpoint_minutes);
}

bool Trainer::budget_spent() const {
  const TrainConfig& t = config_.train;
  return (t.max_steps > 0 && at_.step >= static_cast<uint64_t>(t.max_steps)) ||
         (t.max_minutes > 0 && seconds() >= 60 * t.max_minutes);
}

// ---- between epochs --------------------------------------------------------------------------------------------------------

void Trainer::close_epoch() {
  const auto seen = static_cast<double>(at_.seen);
  const double acc1 = static_cast<double>(at_.hits) / seen;
  at_.train_loss = at_.loss_sum / seen;
  ++at_.epoch;
  metrics_.add({at_.epoch, at_.step, "train", at_.train_loss, acc1, at_.lr, seen / at_.epoch_seconds, seconds()});
  epoch_ = fmt::format("epoch {}/{}  loss {:.4f}  train {:.2f} %", at_.epoch, config_.train.epochs, at_.train_loss,
                       100 * acc1);
  epoch_end_ = fmt::format("  lr {:.2e}  {:.0f} images/s", at_.lr, seen / at_.epoch_seconds);
  at_.batch = 0, at_.loss_sum = 0, at_.hits = at_.seen = 0, at_.epoch_seconds = 0;
}

void Trainer::validate() {
  if (data_.val.size() == 0) return;
  Evaluation e;
  {
    const Optimiser::Averaged averaged(optimiser_);
    e = evaluate(*model_, data_.val);
  }
  at_.val_acc1 = e.acc1;
  metrics_.add({at_.epoch, at_.step, "val", e.loss, e.acc1, at_.lr, static_cast<double>(data_.val.size()) / e.seconds,
                seconds()});
  epoch_ += fmt::format("  val {:.2f} %", 100 * e.acc1);
  if (e.acc1 <= at_.best_val_acc1) return;
  at_.best_val_acc1 = e.acc1;
  checkpoint("best.ckpt");
}

void Trainer::report_epoch() const {
  metrics_.write();
  const double left = images_left() / (static_cast<double>(at_.images) / at_.train_seconds);
  say(epoch_ + epoch_end_ + (left > 0 ? fmt::format("  {} left", duration(left)) : ""));
}

void Trainer::checkpoint(const char* name) {
  if (!folder_.exists()) return;
  metrics_.write();
  at_.metrics_bytes = metrics_.bytes();
  at_.seconds = seconds();
  save_checkpoint(folder_ / name, params_, optimiser_, at_, provenance_);
  saved_ = Clock::now();
}

void Trainer::resume() {
  if (!folder_.has("last.ckpt")) {
    say("no checkpoint yet: the run starts from its beginning");
    folder_.write("config.toml", config_text());
    return metrics_.cut_back(0);
  }
  const Restored r = load_checkpoint(folder_ / "last.ckpt", params_, optimiser_, provenance_);
  at_ = r.at;
  before_ = at_.seconds;
  metrics_.cut_back(at_.metrics_bytes);
  if (!io::read_file(folder_ / "config.toml").ends_with(toml(config_)))
    folder_.write("config.toml", config_text());  // a new limit of steps or minutes was said
  if (r.provenance.environment != provenance_.environment) {
    say(fmt::format("warning: this run was on {}, here is {}: its bits will differ from a run that was never moved",
                    r.provenance.environment, provenance_.environment));
  }
  say(fmt::format("resumed after {} epochs and {} steps", at_.epoch, at_.step));
}

// ---- what a person sees ------------------------------------------------------------------------------------------------------

/// Training images until the end; with a limit of steps or minutes, at most what fits into it.
double Trainer::images_left() const {
  const TrainConfig& t = config_.train;
  const auto n = static_cast<double>(data_.train.size());
  double left = (t.epochs - at_.epoch) * n - static_cast<double>(at_.seen);
  if (t.max_steps > 0) {
    const double steps = t.max_steps - static_cast<double>(at_.step);
    left = std::min(left, steps * t.batch_size * t.accumulate);
  }
  if (t.max_minutes > 0 && at_.train_seconds > 0) {
    const double rate = static_cast<double>(at_.images) / at_.train_seconds;
    left = std::min(left, (60 * t.max_minutes - seconds()) * rate);
  }
  return std::max(left, 0.0);
}

/// Runs the gradients of one batch twice and throws them away: the first time touches the memory a step needs, the second
/// tells its time.
void Trainer::estimate() {
  for (const Batch& batch : loader_.epoch(at_.epoch, at_.batch)) {
    const Batch part = part_of_step(batch);
    double took = 0;
    for (int i = 0; i < 2; ++i) {
      const auto start = Clock::now();
      lanes_.add({Mode::train, static_cast<uint64_t>(config_.train.seed), at_.step}, part,
                 [&](const Run& here, const Batch& shard) { return loss(here, shard); });
      took = seconds_since(start) / part.size();
      lanes_.discard();
    }
    // evaluation is forward only: about a third of a step
    const double validations =
        std::ceil((config_.train.epochs - at_.epoch) / static_cast<double>(config_.train.eval_every));
    const double evaluated =
        validations * static_cast<double>(data_.val.size()) + static_cast<double>(data_.test.size());
    double time = took * (images_left() + evaluated / 3);
    if (config_.train.max_minutes > 0) time = std::min(time, 60 * config_.train.max_minutes - seconds());
    const double sum = static_cast<double>(params_.count()) * sizeof(real);  // the one buffer not touched yet
    say(fmt::format("estimate: {} ({:.0f} images/s, {} steps an epoch), {:.0f} MB of memory", duration(time), 1 / took,
                    (loader_.batches() + static_cast<size_t>(config_.train.accumulate) - 1) /
                        static_cast<size_t>(config_.train.accumulate),
                    (static_cast<double>(resident_bytes()) + sum) * 1e-6));
    break;
  }
}

void Trainer::show_progress() {
  if (!hooks_.progress || seconds_since(shown_) < 0.1) return;
  shown_ = Clock::now();
  const size_t width = 20, done = width * at_.batch / loader_.batches();
  const auto seen = static_cast<double>(at_.seen);
  const double rate = seen / at_.epoch_seconds;
  hooks_.progress(fmt::format("epoch {}/{} [{}{}] {}/{}  loss {:.4f}  {:.1f} %  {:.0f} images/s  {} left",
                              at_.epoch + 1, config_.train.epochs, std::string(done, '#'),
                              std::string(width - done, '.'), at_.batch, loader_.batches(), at_.loss_sum / seen,
                              100 * static_cast<double>(at_.hits) / seen, rate, duration(images_left() / rate)));
}

// ---- after the loop --------------------------------------------------------------------------------------------------------

/// The test set, seen once, and the files that a finished run leaves; summary.json comes last.
void Trainer::finish(RunResult& result) {
  const Optimiser::Averaged averaged(optimiser_);
  Evaluation test;
  if (data_.test.size() > 0) {
    test = evaluate(*model_, data_.test);
    result.test_acc1 = test.acc1;
    metrics_.add({at_.epoch, at_.step, "test", test.loss, test.acc1, at_.lr,
                  static_cast<double>(data_.test.size()) / test.seconds, seconds()});
    say(fmt::format("test {:.2f} %, loss {:.4f}", 100 * test.acc1, test.loss));
  }
  result.finished = true;
  if (!folder_.exists()) return;
  metrics_.write();
  io::Metadata metadata = geometry(model(config_.model), config_.model_options);
  metadata.insert({{"model", config_.model}, {"position", config_.position}, {"program", "tessera " + version()}});
  io::save(params_, folder_ / "weights.safetensors", metadata);
  if (data_.test.size() > 0)
    report::save(report::collect(test, data_.test, params_, places_), folder_ / "report_data.json");

  const auto channels = [&](const std::array<float, 4>& of) {  // what `predict` normalises by
    return std::vector<double>(of.begin(), of.begin() + data_.train.channels);
  };
  const auto share = [](double v) { return v < 0 ? nlohmann::ordered_json() : nlohmann::ordered_json(v); };
  const nlohmann::ordered_json summary{
      {"model", config_.model},
      {"position", config_.position},
      {"params", params_.count()},
      {"macs", static_cast<int64_t>(macs(*model_, data_.train))},
      {"seed", config_.train.seed},
      {"epochs", completed_},
      {"steps", at_.step},
      {"train_loss", at_.train_loss},
      {"val_acc1", share(at_.val_acc1)},
      {"best_val_acc1", share(at_.best_val_acc1)},
      {"test_acc1", share(result.test_acc1)},
      {"test_loss", test.loss},
      {"seconds", seconds()},
      {"images_per_s", at_.train_seconds > 0 ? static_cast<double>(at_.images) / at_.train_seconds : 0.0},
      {"precision", config_.train.precision},
      {"threads", parallel::threads()},
      {"isa", name(isa())},
      {"environment", provenance_.environment},
      {"version", version()},
      {"data",
       {{"name", config_.data.name},
        {"digest", data_.train.digest},
        {"official", data_.train.official},
        {"classes", data_.train.class_names},
        {"mean", channels(data_.train.stats.mean)},
        {"std", channels(data_.train.stats.std)}}}};
  folder_.write("summary.json", summary.dump(2) + "\n");
}

}  // namespace

RunResult train_run(const Config& config, const std::string& rundir, bool resume, const Hooks& hooks) {
  return Trainer(config, rundir, resume, hooks).run();
}

}  // namespace tessera
