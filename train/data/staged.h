#pragma once
// A folder that appears complete or not at all: filled under a temporary name beside its place, synced, renamed.
#include <filesystem>
#include <string>

namespace tessera::data {

class Staged {
 public:
  /// Makes the temporary folder .NAME.tmp-PID beside `target`. Those that earlier processes left there when they were
  /// killed are removed: nobody holds their lock. `where` begins the messages. Throws Error.
  Staged(std::filesystem::path target, std::string where);
  /// Removes the temporary folder unless it was published.
  ~Staged();
  Staged(const Staged&) = delete;
  Staged& operator=(const Staged&) = delete;
  const std::filesystem::path& path() const { return temporary_; }
  /// Renames it to its place, where nothing or an empty folder may be. Throws Error.
  void publish();

 private:
  std::filesystem::path target_, temporary_;
  std::string where_;
  int lock_ = -1;
};

}  // namespace tessera::data
