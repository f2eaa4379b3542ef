#pragma once
// Runs the built program as a user would, in a folder of its own.
#include <doctest/doctest.h>
#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

namespace tessera::test {

/// A fresh folder, removed with everything in it.
class Folder {
 public:
  Folder();
  ~Folder();
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  std::string operator/(std::string_view name) const { return path_ + "/" + std::string(name); }
  const std::string& path() const { return path_; }
  /// Names of everything below, sorted, relative; files that start with a dot too.
  std::vector<std::string> list() const;

 private:
  std::string path_;
};

struct Result {
  int code = -1;  ///< exit code; 128 + n if signal n ended it
  std::string out, err;
  /// Lines of err that report an error.
  std::vector<std::string> errors() const;
};

struct RunOptions {
  std::vector<std::string> env = {};  ///< "NAME=value", added to a clean environment without TESSERA_* variables
  std::string folder = {};            ///< working directory
  std::string out_to = {};            ///< stdout goes to this file instead of Result::out
  long file_limit = -1;               ///< ulimit -f, in bytes
  double seconds = 120;               ///< killed after this
};

/// A running program.
class Process {
 public:
  Process(const std::vector<std::string>& args, const RunOptions& options = {});
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  void signal(int number) const;
  bool running();
  Result wait();

 private:
  pid_t pid_ = -1;
  int err_ = -1, status_ = 0;
  std::string said_;
  bool ended_ = false;
  double seconds_;
  Folder files_;
};

Result tessera(const std::vector<std::string>& args, const RunOptions& options = {});

/// The words of a training of a second or so on `where`, then `more`; "": no --out.
std::vector<std::string> tiny_run(const std::string& out, const std::vector<std::string>& more = {});

std::string read(const std::string& path);
void write(const std::string& path, std::string_view bytes);
bool exists(const std::string& path);
/// A safetensors file from its header and data as they are.
std::string safetensors(const std::string& header, std::string_view data);

/// The program must exit with `code`, with exactly one error line on stderr that contains every one of `words`.
void check_refused(const Result& r, int code, const std::vector<std::string>& words);

}  // namespace tessera::test
