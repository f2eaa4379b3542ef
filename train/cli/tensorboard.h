#pragma once
// `tessera train --tensorboard`: the curves of a run for TensorBoard, while it trains.
#include <cstdint>
#include <string>

#include "tessera/train/training/listener.h"

namespace tessera::cli {

/// Writes report::event_file of a run directory, all of it.
void write_events(const std::string& rundir);

/// Keeps that file as long as metrics.jsonl is. TensorBoard holds the file open and waits for more, so that it grows at its end, and is replaced
/// only if what is there is not its beginning: by a run that goes on. When it cannot be written, the run goes on without, with one line.
class EventListener : public Listener {
 public:
  explicit EventListener(std::string rundir) : rundir_(std::move(rundir)) {}
  void epoch(const RunState&, const EpochScores&) override;

 private:
  std::string rundir_, written_;
  bool failed_ = false;
};

}  // namespace tessera::cli
