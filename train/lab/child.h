#pragma once
// This program once more, as a process of its own.
#include <sys/types.h>

#include <string>
#include <vector>

namespace tessera::lab {

/// The file this program runs from.
std::string program_path();

class Child {
 public:
  /// stderr, and stdout with it if `both`, can be read from lines(); what is not, goes to nowhere. In a process group of its own, so that
  /// a terminal's Ctrl-C reaches it through its parent only. Throws Error.
  Child(std::vector<std::string> words, bool out_instead_of_err = false);
  ~Child();  ///< kills it if it still runs
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  void signal(int number) const;
  /// What it said since the last call, whole lines; waits for nothing.
  std::vector<std::string> lines();
  bool running();
  /// Exit code, or 128 + the signal that ended it.
  int code() const { return code_; }
  int pipe() const { return pipe_; }

 private:
  pid_t pid_ = -1;
  int pipe_ = -1, code_ = -1;
  std::string said_;
};

}  // namespace tessera::lab
