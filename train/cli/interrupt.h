#pragma once
// Signals as flags that a loop looks at.
#include <string>

namespace tessera::cli {

/// What SIGUSR1 says, which a queue of jobs sends some time before it ends them.
enum class Usr1 {
  checkpoint,  ///< write one, and go on
  stop         ///< as SIGTERM: of many runs, so that another process can take them up
};

/// While it lives: SIGINT, SIGTERM and SIGHUP ask to stop (a second SIGINT ends the process at once), SIGUSR1 as said. A hang-up that
/// was ignored before (nohup) stays ignored.
class Interrupt {
 public:
  explicit Interrupt(Usr1 usr1 = Usr1::checkpoint);
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
