// What a run leaves in its directory. Order matters where the process may die between two files: last.ckpt is the word of truth,
// and resume() brings the others back to it.
#include <cmath>
#include <nlohmann/json.hpp>

#include "tessera/core/io/read_file.h"
#include "tessera/core/io/tensor_file.h"
#include "tessera/core/kernels/kernels.h"
#include "tessera/core/parallel.h"
#include "tessera/core/tape.h"
#include "tessera/models/weights_metadata.h"
#include "tessera/nn/weights.h"
#include "tessera/train/training/environment.h"
#include "tessera/train/training/fine_tune.h"
#include "tessera/train/training/finite.h"
#include "tessera/train/training/report_collect.h"
#include "tessera/train/training/training.h"
#include "tessera/train/training/views.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

constexpr const char *last = "last.ckpt", *best = "best.ckpt", *known = ".best.known.ckpt";

/// Multiply-accumulates of one sample, as the ops themselves tell.
double macs(const Model& model, const data::Source& source, const Task& task) {
  struct Counter final : Observer {
    double macs = 0;
    void saw(const Seen& s) override { macs += s.op.macs; }
  } counter;
  const int32_t first[] = {0};
  const Batch one = data::gather(source, first);
  const Observing observing(counter);
  model.forward(Run{}, task.input(one));
  return counter.macs;
}

}  // namespace

// ---- checkpoints -----------------------------------------------------------------------------------------------------------

/// A run whose weights are lost to NaN keeps the checkpoint from before that.
void Training::checkpoint() {
  if (!folder_.exists()) return;
  std::string lost = not_finite(params_);
  for (const auto& [name, values] : optimiser_.state())
    if (lost.empty()) lost = not_finite(name, values);
  if (!lost.empty()) {
    fail_not_finite(
        "after step {} {}: the checkpoint is that from before; try a smaller optim.lr, more sched.warmup_epochs or "
        "optim.clip_grad=1",
        at_.step, lost);
  }
  metrics_.write();
  at_.metrics_bytes = metrics_.bytes(), at_.metrics_digest = metrics_.digest();
  at_.seconds = seconds();
  save_checkpoint(folder_ / last, params_, optimiser_, at_, provenance_);
  saved_ = Clock::now();
  known_best_ = at_.best_step;
  folder_.remove(known);
}

/// The best.ckpt that last.ckpt knows of stays under another name until last.ckpt knows the new one: a resume that cuts the new one
/// away has it back.
void Training::save_best() {
  if (!folder_.exists()) return;
  if (known_best_ != 0 && folder_.has(best) && !folder_.has(known)) folder_.keep(best, known);
  metrics_.write();
  at_.metrics_bytes = metrics_.bytes(), at_.metrics_digest = metrics_.digest();
  at_.seconds = seconds();
  save_checkpoint(folder_ / best, params_, optimiser_, at_, provenance_);
}

/// A damaged best.ckpt is none: last.ckpt holds all that a run needs to go on.
void Training::restore_best() {
  const auto is_right = [&](const char* name) {
    if (at_.best_step == 0 || !folder_.has(name)) return false;
    try {
      io::TensorFile(folder_ / name).verify(/*required=*/true);
      return step_of(folder_ / name) == at_.best_step;
    } catch (const Error&) {
      return false;
    }
  };
  known_best_ = 0;
  if (!is_right(best) && is_right(known)) folder_.rename(known, best);
  if (is_right(best)) {
    known_best_ = at_.best_step;
  } else {
    if (at_.best_step > 0)
      say(fmt::format("warning: the best.ckpt of epoch {} is gone or damaged; the next better one will be written",
                      at_.best_epoch));
    folder_.remove(best);
  }
  folder_.remove(known);
}

// ---- results ---------------------------------------------------------------------------------------------------------------

/// The test set, seen once, and the files that a finished run leaves beside its summary, which comes last.
void Training::finish(RunResult& result, Evaluation& test) {
  const Optimiser::Averaged averaged(optimiser_);
  if (data_.test) {
    const auto tested = [&](const Model& model) {
      Evaluation e = evaluate(model, *data_.test, *task_, world_);
      if (!std::isfinite(e.loss)) {
        fail_not_finite(
            "the answers to {} of {} test {}s are not finite; first {}: no result was written; try a smaller "
            "optim.lr, more "
            "sched.warmup_epochs or optim.clip_grad=1",
            e.undecided, data_.test->size(), unit_, source_of_nan(*data_.test, e));
      }
      return e;
    };
    test = tested(*model_);
    result.test_acc1 = test.acc1;
    metrics_.add({at_.epoch, at_.step, "test", test.loss, test.acc1, at_.lr,
                  static_cast<double>(data_.test->size()) / test.seconds, seconds()});
    say(fmt::format("test {:.2f} %, loss {:.4f}", 100 * test.acc1, test.loss));
    if (config_.train.tta != "none") {
      const Evaluation of_views = tested(Views(*model_, config_.train.tta));
      result.tta_test_acc1 = of_views.acc1;
      say(fmt::format("test ({}) {:.2f} %, loss {:.4f}", config_.train.tta, 100 * of_views.acc1, of_views.loss));
    }
  }
  if (const std::string lost = not_finite(params_); !lost.empty()) fail_not_finite("{}: no result was written", lost);
  result.finished = true;
  if (!folder_.exists()) return;
  metrics_.write();
  io::Metadata metadata = weights_metadata(model(config_.model), config_.model_options);
  metadata.insert({{"model", config_.model}, {"position", config_.position}, {"program", "tessera " + version()}});
  io::save(params_, folder_ / "weights.safetensors", metadata);
  if (config_.train.best_weights) save_best_weights();
  if (data_.test) report::save(report::collect(test, *data_.test, params_, positions_), folder_ / "report_data.json");
}

void Training::save_best_weights() const {
  if (!folder_.has(best)) return say("warning: there is no best.ckpt, and so no best.safetensors");
  Params params(0, Draw::no);
  const ModelRow& row = model(config_.model);
  const auto unused =
      row.make(Scope(params), config_.model_options, position(config_.position, config_.position_options));
  const Progress at = load_weights(folder_ / best, params, averages(config_));
  io::Metadata metadata = weights_metadata(row, config_.model_options);
  metadata.insert({{"model", config_.model},
                   {"position", config_.position},
                   {"program", "tessera " + version()},
                   {"epoch", std::to_string(at.epoch)}});
  io::save(params, folder_ / "best.safetensors", metadata);
}

void Training::write_summary(const RunResult& result, const Evaluation& test) const {
  if (!folder_.exists()) return;
  const data::Normalisation by = data_.train->normalisation();  // what `predict` normalises by, too
  const auto numbers = [](const std::vector<float>& v) { return std::vector<double>(v.begin(), v.end()); };
  const auto if_any = [](bool any, auto v) { return any ? nlohmann::ordered_json(v) : nlohmann::ordered_json(); };
  nlohmann::ordered_json summary{{"model", config_.model},
                                 {"position", config_.position},
                                 {"params", params_.count()},
                                 {"macs", static_cast<int64_t>(macs(*model_, *data_.train, *task_))},
                                 {"seed", config_.train.seed},
                                 {"epochs", completed()},
                                 {"steps", at_.step},
                                 {"ended", result.ended},
                                 {"train_loss", at_.train_loss},
                                 {"val_acc1", if_any(at_.val_acc1 >= 0, at_.val_acc1)},
                                 {"best_val_acc1", if_any(at_.best_val_acc1 >= 0, at_.best_val_acc1)},
                                 {"best_epoch", if_any(at_.best_epoch > 0, at_.best_epoch)},
                                 {"test_acc1", if_any(result.test_acc1 >= 0, result.test_acc1)},
                                 {"test_loss", if_any(result.test_acc1 >= 0, test.loss)},
                                 {"seconds", result.seconds},
                                 {"images_per_s", result.images_per_s},
                                 {"precision", config_.train.precision},
                                 {"threads", parallel::threads()},
                                 {"isa", name(isa())},
                                 {"environment", provenance_.environment},
                                 {"version", version()},
                                 {"data",
                                  {{"name", config_.data.name},
                                   {"digest", data_.train->digest},
                                   {"official", data_.train->official},
                                   {"train_images", size_of(data_.train)},
                                   {"val_images", size_of(data_.val)},
                                   {"test_images", size_of(data_.test)},
                                   {"classes", data_.train->class_names}}}};
  if (result.tta_test_acc1 >= 0) summary.update({{"tta", config_.train.tta}, {"tta_test_acc1", result.tta_test_acc1}});
  if (!by.mean.empty()) summary["data"].update({{"mean", numbers(by.mean)}, {"std", numbers(by.std)}});
  if (!config_.train.weights.empty() && folder_.has("started_from.json"))
    summary["weights_checksum"] = weights_checksum(io::read_file(folder_ / "started_from.json"));
  if (!result.finished) summary["finished"] = false;
  folder_.write("summary.json", summary.dump(2) + "\n");
}

}  // namespace TESSERA_NS
}  // namespace tessera
