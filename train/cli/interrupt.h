#pragma once
// Signals as flags that a loop looks at.
#include <string>

namespace tessera::cli {

/// While it lives: SIGINT, SIGTERM and SIGHUP ask to stop (a second SIGINT ends the process at once), SIGUSR1 asks for a
/// checkpoint. A hang-up that was ignored before (nohup) stays ignored.
class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;
  bool stop() const;
  /// The first signal that asked to stop ("SIGTERM"), or "".
  std::string name() const;
  /// Was a checkpoint asked for since the last call?
  bool take_checkpoint();
};

}  // namespace tessera::cli
