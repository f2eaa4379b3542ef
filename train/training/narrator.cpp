#include "tessera/train/training/narrator.h"

#include <fmt/format.h>

#include "tessera/train/training/progress_line.h"
#include "tessera/train/training/task.h"
#include "tessera/train/training/text.h"

namespace tessera {

void Narrator::step(const RunState& run) {
  const auto now = std::chrono::steady_clock::now();
  if (!hooks_.progress || now - shown_ < std::chrono::milliseconds(100)) return;
  shown_ = now;
  const Progress& at = run.at;
  const auto seen = static_cast<double>(at.seen);
  const double rate = seen / at.epoch_seconds;
  hooks_.progress(progress_line({.epoch = at.epoch + 1,
                                 .epochs = run.config.train.epochs,
                                 .batch = at.batch,
                                 .batches = run.batches,
                                 .loss = at.loss_sum / seen,
                                 .acc1 = Share{at.hits, at.asked}.value(),
                                 .samples_per_s = rate,
                                 .seconds_left = run.samples_left / rate,
                                 .unit = run.unit},
                                hooks_.columns ? hooks_.columns() : 80));
}

void Narrator::epoch(const RunState& run, const EpochScores& s) {
  const Progress& at = run.at;
  std::string line = fmt::format("epoch {}/{}  loss {:.4f}  train {:.2f} %", at.epoch, run.config.train.epochs, s.loss,
                                 100 * s.metric);
  if (s.val_metric >= 0) line += fmt::format("  val {:.2f} %", 100 * s.val_metric);
  line += fmt::format("  lr {:.2e}  {:.0f} {}s/s", at.lr, s.samples_per_s, run.unit);
  const double left = run.samples_left / (static_cast<double>(at.images) / at.train_seconds);
  if (left > 0) line += fmt::format("  {} left", duration(left));
  say(line);
}

}  // namespace tessera
