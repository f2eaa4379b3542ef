#pragma once
// This program once more, as a process of its own.
#include <sys/types.h>

#include <string>
#include <vector>

namespace tessera::lab {

/// The file this program runs from.
std::string program_path();
/// As a word of a shell's line, in quotes where it needs them.
std::string shell_word(const std::string& text);

class Child {
 public:
  /// stderr, or stdout if `out_instead_of_err`, can be read from lines(); the other one goes to nowhere. In a process group of its own, so
  /// that a terminal's Ctrl-C reaches it through its parent only. A process that ignores SIGCHLD no longer does. Throws Error.
  Child(std::vector<std::string> words, bool out_instead_of_err = false);
  ~Child();  ///< kills it if it still runs
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  void signal(int number);  ///< to one that still runs
  /// What it said since the last call, whole lines; waits for nothing.
  std::vector<std::string> lines();
  bool running();
  /// Exit code, 128 + the signal that ended it, or unknown_end where somebody else of this process has waited for it.
  static constexpr int unknown_end = 255;
  int code() const { return code_; }
  int pipe() const { return pipe_; }

 private:
  pid_t pid_ = -1;
  int pipe_ = -1, code_ = -1;
  std::string said_;
};

}  // namespace tessera::lab
