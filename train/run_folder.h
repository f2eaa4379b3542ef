#pragma once
// The directory of a run: made, locked while in use, and written file by file through io::replace_file. Free of `real`.
#include <optional>
#include <string>
#include <string_view>

#include "core/io/lock.h"

namespace tessera {

/// A folder for one run; or none (an empty path), and then nothing is written.
class RunFolder {
 public:
  /// Throws Error if `path` exists with something in it (unless `resume`, which needs it), cannot be made, or is in use.
  RunFolder(const std::string& path, bool resume);
  bool exists() const { return !path_.empty(); }
  /// The path of a file in it.
  std::string operator/(std::string_view name) const { return path_ + "/" + std::string(name); }
  bool has(std::string_view name) const;
  /// Replaces a file.
  void write(std::string_view name, std::string_view bytes) const;

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
  void add(const Row& row);
  void write() const;
  /// Takes the first `bytes` bytes of the file, those of a checkpoint; what came later happens again. Throws Error if the file
  /// is shorter.
  void cut_back(uint64_t bytes);
  uint64_t bytes() const { return text_.size(); }

 private:
  const RunFolder& folder_;
  std::string text_;
};

/// "41 s", "12 min", "3 h 05 min".
std::string duration(double seconds);

}  // namespace tessera
