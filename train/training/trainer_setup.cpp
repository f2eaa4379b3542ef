// Before the loop: the data, a complete configuration that fits them, the model, and where an earlier part of the run stood.
#include <algorithm>
#include <filesystem>

#include "tessera/core/io/replace_file.h"
#include "tessera/core/io/text.h"
#include "tessera/train/training/calibrate.h"
#include "tessera/train/training/complete.h"
#include "tessera/train/training/environment.h"
#include "tessera/train/training/fine_tune.h"
#include "tessera/train/training/narrator.h"
#include "tessera/train/training/sequence_task.h"
#include "tessera/train/training/shortest.h"
#include "tessera/train/training/splits.h"
#include "tessera/train/training/text.h"
#include "tessera/train/training/training.h"
#include "tessera/train/training/views.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

/// What was handed over, or what `config` says, which then knows which data those are.
data::Splits data_of(const RunParts& parts, DataConfig& c) {
  if (!parts.train) {
    if (parts.val || parts.test) fail("train", "there are data to validate or test on, but none to train on");
    return open_splits(c);
  }
  if (c.train_size != 0 || c.val_size != 0 || c.test_size != 0 || c.fraction < 1)
    fail("data",
         "the data of this run are handed over as they are: leave train_size, val_size, test_size and fraction out");
  if (c.name.empty()) c.name = parts.train->name;
  io::check_text("data", "data.name", c.name);
  const InputShape form = parts.train->form();
  for (const auto& other : {parts.val, parts.test}) {
    if (!other || other->size() == 0) continue;
    const InputShape f = other->form();
    if (f.kind != form.kind || f.channels != form.channels || f.features != form.features ||
        f.vocabulary != form.vocabulary || f.target != form.target || other->class_names != parts.train->class_names)
      fail("data", "{} and {} are not of one kind: the same classes, channels and features are needed",
           parts.train->name, other->name);
  }
  const auto if_any = [](const auto& source) { return size_of(source) > 0 ? source : nullptr; };
  return {parts.train, if_any(parts.val), if_any(parts.test), ""};
}

void fit(RunConfig& c, const data::Splits& data, bool handed_over) try {
  complete(c, *data.train, handed_over);
  if (!data.val) {
    const auto needs_validation = [](bool said, const char* key) {
      if (said) fail("train", "train.{} needs a validation split: set data.val_size", key);
    };
    needs_validation(c.train.patience > 0, "patience"), needs_validation(c.train.best_weights, "best_weights");
    needs_validation(c.train.eval_every != TrainConfig().eval_every, "eval_every");
  }
  if (c.train.tta != "none" && !data.test)
    fail("train", "train.tta={} is of the last test, and there are no test samples: leave it out", c.train.tta);
  check_views(c.train.tta, data.test ? *data.test : *data.train, "train.tta");
} catch (const Error& e) {
  throw Misfit(e.what());
}

bool has_checkpoint(const std::string& rundir) {
  std::error_code none;
  return std::filesystem::exists(rundir + "/last.ckpt", none);
}

RunConfig checked(const RunConfig& c) {
  check(c);
  return c;
}

}  // namespace

int64_t step_size(const TrainConfig& t, size_t images) {
  return std::min(int64_t{t.batch_size} * t.accumulate, static_cast<int64_t>(images));
}

// Swin-T at 224, a step of 8 images on two threads of a Zen 4, images/s with shards of 8, 4, 2, 1: 5.8, 6.3, 6.3, 6.1; PVT-Tiny 11.6, 14.6,
// 14.9 with 8, 4, 2; ViT-S/16 and CPVT-Ti/16 do not care (within 2 %).
int shard_for(const TrainConfig& t, const InputShape& sample, const Params& params) {
  if (t.shard_size > 0) return t.shard_size;
  const bool normalised =
      std::ranges::any_of(params.entries(), [](const auto& e) { return e.name.ends_with("running_mean"); });
  const int64_t pixels = sample.kind == InputShape::Kind::image ? int64_t{sample.h} * sample.w : 0;
  return normalised || pixels <= 64 * 64 ? 8 : pixels <= 128 * 128 ? 4 : 2;
}

LanesOptions lanes_of(const TrainConfig& t, int64_t step) {
  const int shard = t.batchnorm == "batch" ? t.batch_size : t.shard_size;
  return {.lanes = t.lanes,
          .shard_size = static_cast<int>(std::min<int64_t>(shard, step)),  // a larger one is the whole step, too
          .bn_momentum = t.bn_momentum};
}

Training::Training(const RunConfig& config, const std::string& rundir, bool resume_run, const Hooks& hooks,
                   const RunParts& parts)
    : config_(checked(config)),
      hooks_(hooks),
      parts_(parts),
      world_(parts.world ? *parts.world : solo()),
      listeners_{std::make_shared<Narrator>(hooks)},
      computing_(precision(config_.train.precision)),
      data_(data_of(parts, config_.data)),
      params_(static_cast<uint64_t>(config_.train.seed)),
      model_([&] {
        fit(config_, data_, static_cast<bool>(parts.train));
        const ModelRow& row = model(config_.model);
        auto made = row.make(Scope(params_), config_.model_options,
                             remember_tables(position(config_.position, config_.position_options), positions_));
        freeze(params_, config_.optim.freeze);
        config_.train.shard_size = shard_for(config_.train, data_.train->form(), params_);
        return made;
      }()),
      task_(parts.task ? parts.task
                       : task_of(model(config_.model).input(config_.model_options), *data_.train,
                                 config_.train.label_smoothing)),
      began_from_([&] {
        const bool goes_on = resume_run && has_checkpoint(rundir);
        auto lines =
            goes_on ? std::vector<std::string>() : start_from(config_, data_.train->class_names, positions_, params_);
        if (!goes_on && config_.train.weights.empty()) calibrate(*model_, *data_.train, lines);
        for (const auto& source : {data_.train, data_.val, data_.test}) ask_shortest(*model_, source.get(), *task_);
        return lines;
      }()),
      optimiser_(params_,
                 optimiser_of(config_.optim, config_.train.ema_decay, not_hidden(config_, positions_, params_)),
                 learning_rates(config_, positions_, params_)),
      // The network sees a shard at a time, however large the batch: accumulated batches need not be apart, and together they are,
      // to the bit, a batch of their size.
      loader_(data_.train, {.batch_size = static_cast<int>(step_size(config_.train, data_.train->size())),
                            .seed = static_cast<uint64_t>(config_.train.seed),
                            .augment = config_.augment,
                            .workers = config_.data.workers,
                            .drop_last = config_.train.drop_last,
                            .bucket = config_.data.bucket,
                            .progressive = sizes()}),
      lanes_(lanes_of(config_.train, step_size(config_.train, data_.train->size())), world_),
      tallies_(
          static_cast<size_t>((step_size(config_.train, data_.train->size()) - 1) / lanes_.options().shard_size + 1)),
      by_rank_(static_cast<size_t>(world_.size())),
      folder_(rundir, resume_run),
      metrics_(folder_),
      provenance_{config_digest(config_), data_.train->digest, environment()} {
  listeners_.insert(listeners_.end(), parts.listeners.begin(), parts.listeners.end());
  at_.planned = config_.train.epochs;
  if (resume_run) {
    resume();
  } else {
    folder_.write("config.toml", config_text());
  }
  if (!began_from_.empty() && !config_.train.weights.empty()) folder_.write("started_from.json", started_from(config_));
}

/// Those of data.progressive. What the model or its encoding cannot take is told before anything is written.
std::vector<data::SizeFrom> Training::sizes() const {
  std::vector<data::SizeFrom> all = data::progressive(config_.data.progressive);
  const InputShape full = data_.train->form();
  if (full.kind != InputShape::Kind::image) return all;  // the loader refuses that
  for (const auto& s : all) {
    try {
      model_->forward(Run{}, InputShape{.h = s.size, .w = s.size, .channels = full.channels}.zeros(1));
    } catch (const Error& e) {
      throw Misfit(fmt::format("[data] data.progressive: {} with {} takes no images of {} x {}: {}", config_.model,
                               config_.position, s.size, s.size, e.what()));
    }
  }
  return all;
}

std::string Training::config_text() const {
  const std::string history =
      at_.history.empty() ? "" : "# the plan was " + at_.history + ": this file alone makes another run\n";
  return fmt::format("# tessera {} on {}\n{}{}", version(), environment(), history, toml(config_));
}

// All that can be refused is refused before the first file changes; then the files follow the checkpoint one by one, and after a
// death in between the next resume does the rest.
void Training::resume() {
  if (!folder_.has("last.ckpt")) {
    say("no checkpoint yet: the run starts from its beginning");
    folder_.forget_results();
    restore_best();
    folder_.write("config.toml", config_text());
    return metrics_.cut_back(0, "");
  }
  const Restored r = load_checkpoint(folder_ / "last.ckpt", params_, optimiser_, provenance_);
  at_ = r.at;
  before_ = at_.seconds;
  const int epochs = config_.train.epochs;
  if (at_.epoch > epochs || (at_.epoch == epochs && at_.batch > 0))
    throw Misfit(fmt::format("[train] {} holds {} and {} of the next: train.epochs={} is over already",
                             folder_ / "last.ckpt", plural(at_.epoch, "epoch"),
                             plural(static_cast<int64_t>(at_.batch), "step"), epochs));
  const std::string was = io::read_file(folder_ / "config.toml");
  metrics_.cut_back(at_.metrics_bytes, at_.metrics_digest);
  if (at_.epoch < epochs && !budget() && !out_of_patience()) folder_.forget_results();
  restore_best();
  if (at_.planned != epochs) {
    if (config_.sched.sched != "constant" && config_.sched.sched != "step") {
      say(
          fmt::format("train.epochs is {} from here on, it was {}: the learning rate follows the new length from this "
                      "step, so this "
                      "will not be, to the bit, a run that was planned so from its start",
                      epochs, at_.planned));
      at_.history +=
          fmt::format("{}{} until step {}", at_.history.empty() ? "" : ", ", plural(at_.planned, "epoch"), at_.step);
    }
    at_.planned = epochs;
  }
  if (!was.ends_with("\n" + toml(config_)) || !at_.history.empty())
    folder_.write("config.toml", config_text());  // what may be said at a resume was said
  if (r.provenance.environment != provenance_.environment) {
    say(fmt::format("warning: this run was on {}, here is {}: its bits will differ from a run that was never moved",
                    r.provenance.environment, provenance_.environment));
  }
  say(fmt::format("resumed after {} and {}", plural(at_.epoch, "epoch"),
                  plural(static_cast<int64_t>(at_.step), "step")));
}

}  // namespace TESSERA_NS
}  // namespace tessera
