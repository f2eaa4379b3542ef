#pragma once
// Signals as flags that a loop looks at.

namespace tessera::cli {

/// While it lives: SIGINT and SIGTERM ask to stop (a second SIGINT ends the process at once), SIGUSR1 asks for a
/// checkpoint.
class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;
  bool stop() const;
  /// Was a checkpoint asked for since the last call?
  bool take_checkpoint();
};

}  // namespace tessera::cli
