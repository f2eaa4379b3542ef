// Before the loop: the data, a complete configuration that fits them, the model, and where an earlier part of the run stood.
#include <cmath>

#include "core/io/checksum.h"
#include "core/io/replace_file.h"
#include "train/environment.h"
#include "train/text.h"
#include "train/training.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

/// Why a named configuration does not follow the data by itself, and what does.
std::string made_for(const ModelRow& row, int size, int patch, const data::Set& set) {
  std::string others = row.family;
  for (const ModelRow& r : models())
    if (r.family == row.family && r.name != r.family && r.defaults.at("img_size") == Value(set.h))
      others += ", " + r.name;
  return fmt::format(
      "{} is made for images of {} x {}, those of {} are {} x {}: choose a model for them ({}), or say "
      "model.img_size={}, "
      "which makes {} x {} patches of {} (model.patch_size)",
      row.name, size, size, set.name, set.h, set.w, others, set.h, set.h / std::max(patch, 1),
      set.w / std::max(patch, 1), patch);
}

/// Fills in what the data and the registry decide, and refuses a model or augmentations that do not fit the data.
void complete(Config& c, const data::Set& set) {
  check(c);  // once more: now it is known which data
  const ModelRow& row = model(c.model);
  if (c.position.empty()) c.position = row.position;
  Options& o = c.model_options;
  const auto follow = [&](const char* key, int value, const char* what) {
    if (!row.defaults.contains(key)) return;
    if (!o.contains(key)) o[key] = value;
    if (const int said = std::get<int>(convert(std::string("model.") + key, o[key], Value(0))); said != value)
      fail("train", "model.{} is {} but {} has {} {}: set model.{}={}", key, said, set.name, value, what, key, value);
  };
  follow("num_classes", set.classes, "classes");
  follow("in_chans", set.channels, "channels");
  if (row.defaults.contains("img_size")) {
    const auto side = [&](const Options& from, const char* key) {
      const auto it = from.find(key);
      return it == from.end() ? 0 : std::get<int>(convert(std::string("model.") + key, it->second, Value(0)));
    };
    // a family takes the size of the data; a named configuration is made for one, which only the user may change
    if (!o.contains("img_size") && row.name != row.family && side(row.defaults, "img_size") != set.h)
      fail("train", "{}", made_for(row, side(row.defaults, "img_size"), side(row.defaults, "patch_size"), set));
    if (!o.contains("img_size")) {
      o["img_size"] = set.h;
      if (set.w != set.h && row.defaults.contains("img_width")) o["img_width"] = set.w;
    }
    const int h = side(o, "img_size"), w = side(o, "img_width") > 0 ? side(o, "img_width") : h;
    if (h != set.h || w != set.w) {
      fail("train", "the model is built for images of {} x {} but those of {} are {} x {}: set model.img_size={}{}", h,
           w, set.name, set.h, set.w, set.h, set.w == set.h ? "" : fmt::format(" model.img_width={}", set.w));
    }
  }
  for (const auto& [key, value] : row.defaults) o.try_emplace(key, value);
  check_position(c.position, c.position_options, row.places(o));  // looks at every value of both
  data::check(c.augment, set);
}

void fit(Config& c, const Splits& data) try {
  complete(c, data.train);
  if (data.val.size() == 0) {
    const auto needs_validation = [](bool said, const char* key) {
      if (said) fail("train", "train.{} needs a validation split: set data.val_size", key);
    };
    needs_validation(c.train.patience > 0, "patience"), needs_validation(c.train.best_weights, "best_weights");
  }
} catch (const Error& e) {
  throw Misfit(e.what());
}

/// A digest of all that changes the bits of what is to come: not where data lie, nor when to stop or what to save. The number of
/// epochs is not in it, though a cosine follows it: a run may be extended, and the checkpoint knows from when on.
std::string digest(Config c) {
  const TrainConfig standard;
  TrainConfig& t = c.train;
  c.data.name = without_folder(c.data.name), c.data.dir.clear(), c.data.workers = 1;
  t.epochs = standard.epochs, t.max_steps = standard.max_steps, t.max_minutes = standard.max_minutes;
  t.patience = standard.patience, t.best_weights = standard.best_weights;
  t.checkpoint_every = standard.checkpoint_every, t.checkpoint_steps = standard.checkpoint_steps;
  t.checkpoint_minutes = standard.checkpoint_minutes;
  const std::string text = toml(c);
  io::Checksum sum;
  sum.add(text.data(), text.size());
  return sum.hex();
}

Config checked(const Config& c) {
  check(c);
  return c;
}

}  // namespace

int64_t step_size(const TrainConfig& t, size_t images) {
  return std::min(int64_t{t.batch_size} * t.accumulate, static_cast<int64_t>(images));
}

Training::Training(const Config& config, const std::string& rundir, bool resume_run, const Hooks& hooks)
    : config_(checked(config)),
      hooks_(hooks),
      computing_(precision(config_.train.precision)),
      data_(open_splits(config_.data)),
      params_(static_cast<uint64_t>(config_.train.seed)),
      model_([&] {
        fit(config_, data_);
        const ModelRow& row = model(config_.model);
        places_ = row.places(config_.model_options);
        return row.make(Scope(params_), config_.model_options, position(config_.position, config_.position_options));
      }()),
      optimiser_(params_, rule(config_.optim, config_.train.ema_decay)),
      // The network sees a shard at a time, however large the batch: accumulated batches need not be apart, and together they are,
      // to the bit, a batch of their size.
      loader_(data_.train, {.batch_size = static_cast<int>(step_size(config_.train, data_.train.size())),
                            .seed = static_cast<uint64_t>(config_.train.seed),
                            .augment = config_.augment,
                            .workers = config_.data.workers}),
      // a larger shard is the whole step, too
      lanes_({.lanes = config_.train.lanes,
              .shard_size = static_cast<int>(
                  std::min<int64_t>(config_.train.shard_size, step_size(config_.train, data_.train.size())))}),
      folder_(rundir, resume_run),
      metrics_(folder_),
      provenance_{digest(config_), data_.train.digest, environment()} {
  at_.planned = config_.train.epochs;
  if (resume_run) {
    resume();
  } else {
    folder_.write("config.toml", config_text());
  }
}

std::string Training::config_text() const {
  const std::string history =
      at_.history.empty() ? "" : "# the plan was " + at_.history + ": this file alone makes another run\n";
  return fmt::format("# tessera {} on {}\n{}{}", version(), environment(), history, toml(config_));
}

/// What a finished run leaves, it left of its end: not of the run that now goes on.
void Training::forget_results() {
  for (const char* name :
       {"summary.json", "report.html", "report_data.json", "best.safetensors", "weights.safetensors"})
    folder_.remove(name);
}

// All that can be refused is refused before the first file changes; then the files follow the checkpoint one by one, and after a
// death in between the next resume does the rest.
void Training::resume() {
  if (!folder_.has("last.ckpt")) {
    say("no checkpoint yet: the run starts from its beginning");
    forget_results();
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
  metrics_.cut_back(at_.metrics_bytes, at_.metrics_digest);
  if (at_.epoch < epochs && !budget() && !out_of_patience()) forget_results();
  restore_best();
  if (at_.planned != epochs) {
    if (config_.sched.sched == "cosine") {
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
  if (!io::read_file(folder_ / "config.toml").ends_with("\n" + toml(config_)) || !at_.history.empty())
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
