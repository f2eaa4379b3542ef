#include "tessera/core/io/replace_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <system_error>
#include <utility>

#include "tessera/core/error.h"
#include "tessera/core/io/read_file.h"

namespace tessera::io {
namespace {

constexpr size_t gather_size = 1 << 16;
constexpr int kill_process = -1;

// ---- faults for tests ---------------------------------------------------------------------------------------------

struct Fault {
  std::string call;
  uint64_t bytes = 0;
  int error = 0;
};
std::mutex fault_mutex;
std::atomic<bool> fault_armed{false};
Fault fault;

int error_number(std::string_view name) {
  if (name == "ENOSPC") return ENOSPC;
  if (name == "EIO") return EIO;
  if (name == "EACCES") return EACCES;
  if (name == "EROFS") return EROFS;
  if (name == "EDQUOT") return EDQUOT;
  if (name == "KILL") return kill_process;
  fail("TESSERA_FAULT", "unknown error {}; known are ENOSPC, EIO, EACCES, EROFS, EDQUOT and KILL", name);
}

void arm_from_environment() {
  static const bool once = [] {
    const char* text = std::getenv("TESSERA_FAULT");
    if (!text || !*text) return false;
    const std::string_view t(text);
    const size_t a = t.find(':'), b = t.rfind(':');
    uint64_t bytes = 0;
    if (a == b || std::from_chars(t.data() + a + 1, t.data() + b, bytes).ptr != t.data() + b) {
      fail("TESSERA_FAULT", "expected call:bytes:error, for example write:4096:ENOSPC, but it is '{}'", t);
    }
    inject_fault(t.substr(0, a), bytes, error_number(t.substr(b + 1)));
    return true;
  }();
  static_cast<void>(once);
}

/// The fault due at a call other than write: its errno, or 0.
int fault_at(std::string_view call) {
  arm_from_environment();
  if (!fault_armed.load(std::memory_order_relaxed)) return 0;
  const std::lock_guard guard(fault_mutex);
  if (fault.call != call || fault.bytes > 0) return 0;
  if (fault.error == kill_process) std::raise(SIGKILL);
  fault_armed = false;
  return std::exchange(fault.error, 0);
}

/// How many of the next `count` bytes may be written, and the errno if that is not all of them.
std::pair<size_t, int> write_fault(size_t count) {
  arm_from_environment();
  if (!fault_armed.load(std::memory_order_relaxed)) return {count, 0};
  const std::lock_guard guard(fault_mutex);
  const size_t may = std::min<size_t>(fault.bytes, count);
  fault.bytes -= may;
  if (fault.call != "write" || may == count) return {count, 0};
  fault_armed = false;
  return {may, std::exchange(fault.error, 0)};
}

// ---- the temporary ------------------------------------------------------------------------------------------------

[[noreturn]] void fail_write(const std::string& path, std::string_view what, int error) {
  fail("write", "{}: {} failed; {}; nothing was changed", path, what, explain(error));
}

struct Fd {
  int fd = -1;
  ~Fd() {
    if (fd >= 0) ::close(fd);
  }
};

struct Temporary {
  std::string name;  ///< empty while the file has no name (O_TMPFILE), or after the rename
  ~Temporary() {
    if (!name.empty()) ::unlink(name.c_str());
  }
};

std::string temporary_name(const std::filesystem::path& path) {
  static std::atomic<unsigned> count{0};
  const std::string name = fmt::format(".{}.tmp-{}-{}", short_name(path.filename().string()), ::getpid(), count++);
  return (path.parent_path() / name).string();
}

/// Calls `make` with new names until none is in the way, as the temporary of a killed process with the same number may be (in
/// a container every run has the same). Returns what `make` returned last.
template <class Make>
int with_new_name(const std::filesystem::path& path, std::string& name, Make make) {
  int result = -1;
  for (int attempt = 0; attempt < 1000; ++attempt) {
    name = temporary_name(path);
    if (result = make(name.c_str()); result >= 0 || errno != EEXIST) break;
  }
  return result;
}

/// Where a chain of links leads, be there a file or not.
std::filesystem::path followed(std::filesystem::path path, std::error_code& error) {
  namespace fs = std::filesystem;
  std::error_code none;
  for (int links = 0; fs::is_symlink(path, none); ++links) {
    const fs::path target = fs::read_symlink(path, error);
    if (!error && links == 40) error = std::make_error_code(std::errc::too_many_symbolic_link_levels);
    if (error) break;
    path = target.is_absolute() ? target : path.parent_path() / target;
  }
  return path;
}

/// A file without a name vanishes with the process, even when it is killed; not every file system has that.
int open_nameless(const std::string& folder) {
  if (::access("/proc/self/fd", X_OK) != 0) return -1;
  return ::open(folder.c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0666);
}

int open_retrying(const char* path, int flags, mode_t mode = 0) {
  int fd = -1;
  do fd = ::open(path, flags, mode);
  while (fd < 0 && errno == EINTR);
  return fd;
}

}  // namespace

std::string explain(int error) {
  const std::string reason = std::generic_category().message(error);
  switch (error) {  // what differs from reading
    case ENOSPC:
    case EDQUOT:
      return reason + ": free some space or choose another folder";
    case EACCES:
    case EPERM:
      return reason + ": change its rights or choose a folder that you may write to";
    case EROFS:
      return reason + ": choose a folder on a writable disk";
    case ENOENT:
      return reason + ": check the path, create the folder first";
    case ENAMETOOLONG:
      return reason + ": choose a shorter name";
    case ENXIO:
      return reason + ": nobody reads from this pipe";
    default:
      return explain_read(error);
  }
}

std::string short_name(const std::string& name) {
  constexpr size_t most = 100;  // file systems take 255 bytes, some (eCryptfs) 143
  if (name.size() <= most) return name;
  size_t n = most;
  while (n > 0 && (static_cast<unsigned char>(name[n]) & 0xc0) == 0x80) --n;
  return name.substr(0, n);
}

void inject_fault(std::string_view call, uint64_t bytes, int error) {
  const std::lock_guard guard(fault_mutex);
  fault = {std::string(call), bytes, error};
  fault_armed = error != 0;
}

Sink::Sink(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}

void Sink::put(const char* bytes, size_t count) {
  while (count > 0) {
    const auto [may, injected] = write_fault(std::min(count, size_t{1} << 30));
    const ssize_t n = may > 0 ? ::write(fd_, bytes, may) : 0;
    if (n < 0 && errno == EINTR) continue;
    if (injected == kill_process) std::raise(SIGKILL);
    if (n < 0 || injected) {
      const int error = injected ? injected : errno;
      fail_write(path_, fmt::format("writing after {} bytes", written_ + static_cast<uint64_t>(n < 0 ? 0 : n)), error);
    }
    bytes += n, count -= static_cast<size_t>(n), written_ += static_cast<uint64_t>(n);
  }
}

void Sink::flush() {
  put(gathered_.data(), gathered_.size());
  gathered_.clear();
}

void Sink::write(const void* bytes, size_t count) {
  const char* p = static_cast<const char*>(bytes);
  if (gathered_.size() + count > gather_size) flush();
  if (count >= gather_size) return put(p, count);
  gathered_.append(p, count);
}

void replace_file(const std::string& to, const std::function<void(Sink&)>& fill) {
  namespace fs = std::filesystem;
  if (to.empty()) fail("write", "the file name is empty");
  std::error_code error;
  const fs::path path = followed(to, error);
  if (error) fail_write(to, "following the link", error.value());
  struct stat old {};
  const bool exists = ::stat(path.c_str(), &old) == 0;
  if (exists && S_ISDIR(old.st_mode)) fail_write(to, "opening", EISDIR);
  if (const int e = fault_at("open")) fail_write(to, "opening", e);
  if (exists && !S_ISREG(old.st_mode)) {  // /dev/stdout, a pipe: nothing that could be replaced
    // O_NONBLOCK: a pipe that nobody reads is an error instead of a wait without end
    const Fd device{open_retrying(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)};
    if (device.fd < 0) fail_write(to, "opening", errno);
    if (const int flags = ::fcntl(device.fd, F_GETFL); flags >= 0) ::fcntl(device.fd, F_SETFL, flags & ~O_NONBLOCK);
    Sink sink(device.fd, to);
    fill(sink);
    return sink.flush();
  }
  // a file that may not be written to is not to be replaced either, though the folder's rights would allow it
  if (exists && ::access(path.c_str(), W_OK) != 0) fail_write(to, "opening", errno);

  const std::string folder = path.has_parent_path() ? path.parent_path().string() : ".";
  std::string name;
  Temporary temporary;
  Fd file{open_nameless(folder)};
  if (file.fd < 0) {
    file.fd = with_new_name(path, name, [](const char* n) {  // O_EXCL follows no link
      return open_retrying(n, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0666);
    });
    if (file.fd < 0) fail_write(to, "opening", errno);
    temporary.name = name;
  }
  if (exists && ::fchmod(file.fd, old.st_mode & 07777) != 0) fail_write(to, "setting its rights", errno);
  Sink sink(file.fd, to);
  fill(sink);
  sink.flush();

  const auto step = [&](std::string_view call, const auto& act) {
    if (const int e = fault_at(call)) fail_write(to, call, e);
    if (act() != 0) fail_write(to, call, errno);
  };
  step("fsync", [&] { return ::fsync(file.fd); });
  if (temporary.name.empty()) {
    const std::string nameless = fmt::format("/proc/self/fd/{}", file.fd);
    step("link", [&] {
      return with_new_name(path, name, [&](const char* n) {
        return ::linkat(AT_FDCWD, nameless.c_str(), AT_FDCWD, n, AT_SYMLINK_FOLLOW);
      });
    });
    temporary.name = name;
  }
  step("rename", [&] { return ::rename(name.c_str(), path.c_str()); });
  temporary.name.clear();
  // From here on the new file is in place; the folder's fsync makes the rename itself survive a power cut.
  const Fd directory{open_retrying(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  int e = fault_at("folder");
  if (!e && directory.fd >= 0 && ::fsync(directory.fd) != 0 && errno != EINVAL) e = errno;
  if (e) fail("write", "{}: the new file is in place, but fsync of its folder failed; {}", to, explain(e));
}

void replace_file(const std::string& path, std::string_view bytes) {
  replace_file(path, [&](Sink& sink) { sink.write(bytes); });
}

}  // namespace tessera::io
