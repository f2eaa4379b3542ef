#pragma once
// One writer a run directory. Free of `real`.
#include <string>

namespace tessera::io {

/// Holds `folder` while it lives, by flock on folder/.lock, so that a killed process leaves nothing behind that would
/// have to be cleaned up. Throws Error that names the holder when another process has it, when the file cannot be made, or when
/// there is something under that name that no Lock wrote (a symbolic or hard link, a pipe, a text): it is left as it is.
class Lock {
 public:
  explicit Lock(const std::string& folder);
  ~Lock();
  Lock(Lock&& other) noexcept;
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;
  Lock& operator=(Lock&&) = delete;

 private:
  std::string path_;
  int fd_ = -1;
};

}  // namespace tessera::io
