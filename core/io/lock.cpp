#include "tessera/core/io/lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>
#include <string_view>

#include "tessera/core/error.h"
#include "tessera/core/io/replace_file.h"

namespace tessera::io {
namespace {

constexpr std::string_view begins = "process ";

std::string describe_myself() {
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  std::array<char, 32> when{};
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  ::localtime_r(&now, &local);
  std::strftime(when.data(), when.size(), "%Y-%m-%d %H:%M:%S", &local);
  return fmt::format("{}{} on {} since {}", begins, ::getpid(), host.data(), when.data());
}

/// The holder's line, made safe to print.
std::string holder(int fd) {
  std::array<char, 400> text{};
  const ssize_t n = ::pread(fd, text.data(), text.size(), 0);
  std::string s(text.data(), static_cast<size_t>(std::max<ssize_t>(n, 0)));
  s.erase(std::remove_if(s.begin(), s.end(), [](char c) { return c < ' ' || c > '~'; }), s.end());
  return s.empty() ? "another process" : s;
}

/// Is `path` the file behind `fd`, and no link to it?
bool names(const std::string& path, int fd) {
  struct stat mine {
  }, named{};
  return ::fstat(fd, &mine) == 0 && ::lstat(path.c_str(), &named) == 0 && mine.st_ino == named.st_ino &&
         mine.st_dev == named.st_dev;
}

/// A regular file of no other name, empty or with a line that a Lock wrote: what may be overwritten and removed.
bool a_lock(int fd) {
  struct stat s {};
  if (::fstat(fd, &s) != 0 || !S_ISREG(s.st_mode) || s.st_nlink > 1) return false;
  std::array<char, begins.size()> text{};
  const ssize_t n = ::pread(fd, text.data(), text.size(), 0);
  return n >= 0 && begins.starts_with(std::string_view(text.data(), static_cast<size_t>(n)));
}

[[noreturn]] void refuse(const std::string& path) {
  fail("lock", "{} is no lock of this program but a link, a pipe or somebody's file: see what it is, and move it away",
       path);
}

}  // namespace

Lock::Lock(const std::string& folder) : path_(folder + "/.lock") {
  for (;;) {
    // the folder may come from elsewhere: a link is not followed, and a pipe is not waited for
    const int fd = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
    if (fd < 0 && errno == EINTR) continue;
    if (fd < 0 && (errno == ELOOP || errno == ENXIO || errno == EISDIR)) refuse(path_);
    if (fd < 0) fail("lock", "{}: {}", path_, explain(errno));
    if (!a_lock(fd)) {
      ::close(fd);
      refuse(path_);
    }
    int locked = 0;
    do locked = ::flock(fd, LOCK_EX | LOCK_NB);
    while (locked != 0 && errno == EINTR);
    if (locked != 0) {
      const int error = errno;
      const std::string who = holder(fd);
      ::close(fd);
      if (error != EWOULDBLOCK) fail("lock", "{}: {}", path_, explain(error));
      fail("lock", "{} is in use by {}; wait until it ends, or choose another folder", folder, who);
    }
    // the holder before us may have removed the file between our open and our flock: then we hold a file nobody else
    // sees
    if (names(path_, fd)) {
      fd_ = fd;
      break;
    }
    ::close(fd);
  }
  const std::string line = describe_myself() + "\n";
  // who holds it is only for the message: the lock works on a full disk too
  if (::ftruncate(fd_, 0) == 0 && ::pwrite(fd_, line.data(), line.size(), 0) < 0) errno = 0;
}

Lock::Lock(Lock&& other) noexcept : path_(std::move(other.path_)), fd_(other.fd_) { other.fd_ = -1; }

Lock::~Lock() {
  if (fd_ < 0) return;
  if (names(path_, fd_)) ::unlink(path_.c_str());
  ::close(fd_);
}

}  // namespace tessera::io
