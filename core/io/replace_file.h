#pragma once
// Every durable write goes through replace_file: a temporary in the same folder, write, fsync, rename, fsync of the
// folder. A reader sees the old file or the new one, never a part; after any failure the old file is untouched and no
// temporary is left. All writing system calls pass one counter here, so that tests can let any of them fail. Free of
// `real`.
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "tessera/core/io/read_file.h"

namespace tessera::io {

/// Where the bytes of a replaced file go. Small writes are gathered.
class Sink {
 public:
  Sink(int fd, std::string path);
  Sink(const Sink&) = delete;
  Sink& operator=(const Sink&) = delete;
  /// Throws Error: what failed, where, what to do.
  void write(const void* bytes, size_t count);
  void write(std::string_view bytes) { write(bytes.data(), bytes.size()); }
  uint64_t written() const { return written_; }

 private:
  friend void replace_file(const std::string&, const std::function<void(Sink&)>&);
  void flush();
  void put(const char* bytes, size_t count);
  int fd_;
  std::string path_, gathered_;
  uint64_t written_ = 0;
};

/// Replaces (or creates) the file `path` by what `fill` writes. Throws Error on a full disk, a missing right, a folder
/// that does not exist, a failing disk; what `fill` throws passes through. Symbolic links are followed: the link stays,
/// and what it points to is replaced or created. Devices and pipes are written as they are; a pipe that nobody reads is
/// an error. The rights of a file that existed are kept. The temporary is called .NAME.tmp-PID-N, a long NAME cut short.
void replace_file(const std::string& path, const std::function<void(Sink&)>& fill);
void replace_file(const std::string& path, std::string_view bytes);

/// "No space left on device: free some space or choose another folder" for the errno of a write; of a read: explain_read.
std::string explain(int error);

/// "NAME" cut to fewer bytes where it is long, never inside a UTF-8 sequence: what a temporary beside it is called by.
std::string short_name(const std::string& name);

/// A fault for tests: after `bytes` more bytes have been written, `call` ("open", "write", "fsync", "link", "rename" or
/// "folder") fails once with `error`; 0 takes the fault back. The environment variable
/// TESSERA_FAULT="write:4096:ENOSPC" (or EIO, EACCES, EROFS, or KILL for a sudden death of the process) does the same
/// for a whole program.
void inject_fault(std::string_view call, uint64_t bytes, int error);

}  // namespace tessera::io
