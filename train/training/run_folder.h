#pragma once
// The directory of a run: made, locked while in use, and written file by file through io::replace_file. Free of `real`.
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "tessera/core/io/lock.h"

namespace tessera {

struct RunFile {
  std::string_view name;
  bool result = false;  ///< what a finished run leaves of its end: not of a run that goes on
};
/// Every file that is written into the directory of a run, by the run or by a command that looks at it.
std::span<const RunFile> run_files();

/// A folder for one run; or none (an empty path), and then nothing is written.
class RunFolder {
 public:
  /// Throws Error if `path` exists with something in it (unless `resume`, which needs it), cannot be made, or is in use, or if
  /// one of run_files() in it is no regular file: what is written there must not go through a link to somewhere else.
  RunFolder(const std::string& path, bool resume);
  bool exists() const { return !path_.empty(); }
  /// The path of a file in it.
  std::string operator/(std::string_view name) const { return path_ + "/" + std::string(name); }
  bool has(std::string_view name) const;
  /// Replaces a file.
  void write(std::string_view name, std::string_view bytes) const;
  /// Removes a file if it is there. Throws Error if it cannot.
  void remove(std::string_view name) const;
  /// Removes the results. Throws Error if it cannot.
  void forget_results() const;
  /// Gives a file's present bytes a second name, which replaces what had it. Throws Error.
  void keep(std::string_view name, std::string_view as) const;
  /// Gives a file another name. Throws Error.
  void rename(std::string_view name, std::string_view to) const;

 private:
  std::string path_;
  std::optional<io::Lock> lock_;
};

/// metrics.jsonl: one JSON object a line, in memory and on disk. The file is replaced as a whole: it never ends in half a line.
class Metrics {
 public:
  struct Row {
    int epoch;  ///< completed, or under way
    uint64_t step;
    const char* split;  ///< "train", "val", "test"
    double loss, acc1, lr, images_per_s, seconds;
  };
  explicit Metrics(const RunFolder& folder) : folder_(folder) {}
  /// Throws Error on a loss, accuracy or rate that is not finite: JSON has no such numbers, and a curve has no such point. A speed
  /// that is not finite (no time had passed) is written as null.
  void add(const Row& row);
  void write() const;
  /// Takes the first `bytes` bytes of the file, those of a checkpoint; what came later happens again. Throws Error if the file
  /// is shorter, or if these bytes are not those whose digest() the checkpoint knew; then nothing has changed.
  void cut_back(uint64_t bytes, std::string_view digest);
  uint64_t bytes() const { return text_.size(); }
  /// Of all lines so far.
  std::string digest() const;

 private:
  const RunFolder& folder_;
  std::string text_;
};

}  // namespace tessera
