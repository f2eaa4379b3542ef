#pragma once
// What a person sees of a run, through its hooks: a line an epoch, and one that replaces itself.
#include <chrono>

#include "tessera/train/training/listener.h"
#include "tessera/train/training/trainer.h"

namespace tessera {

class Narrator final : public Listener {
 public:
  /// `hooks` must outlive it.
  explicit Narrator(const Hooks& hooks) : hooks_(hooks) {}
  void say(std::string_view line) override {
    if (hooks_.say) hooks_.say(line);
  }
  void step(const RunState& run) override;
  void epoch(const RunState& run, const EpochScores& scores) override;

 private:
  const Hooks& hooks_;
  std::chrono::steady_clock::time_point shown_{};
};

}  // namespace tessera
