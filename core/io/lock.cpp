#include "core/io/lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>

#include "core/error.h"
#include "core/io/replace_file.h"

namespace tessera::io {
namespace {

std::string describe_myself() {
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  std::array<char, 32> when{};
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  ::localtime_r(&now, &local);
  std::strftime(when.data(), when.size(), "%Y-%m-%d %H:%M:%S", &local);
  return fmt::format("process {} on {} since {}", ::getpid(), host.data(), when.data());
}

/// The holder's line, made safe to print.
std::string holder(int fd) {
  std::array<char, 400> text{};
  const ssize_t n = ::pread(fd, text.data(), text.size(), 0);
  std::string s(text.data(), static_cast<size_t>(std::max<ssize_t>(n, 0)));
  s.erase(std::remove_if(s.begin(), s.end(), [](char c) { return c < ' ' || c > '~'; }), s.end());
  return s.empty() ? "another process" : s;
}

}  // namespace

Lock::Lock(const std::string& folder) : path_(folder + "/.lock") {
  for (;;) {
    const int fd = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0) fail("lock", "{}: {}", path_, explain(errno));
    if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
      const int error = errno;
      const std::string who = holder(fd);
      ::close(fd);
      if (error == EINTR) continue;
      if (error != EWOULDBLOCK) fail("lock", "{}: {}", path_, explain(error));
      fail("lock", "{} is in use by {}; wait until it ends, or choose another folder", folder, who);
    }
    // the holder before us may have removed the file between our open and our flock: then we hold a file nobody else
    // sees
    struct stat mine {
    }, named{};
    if (::fstat(fd, &mine) == 0 && ::stat(path_.c_str(), &named) == 0 && mine.st_ino == named.st_ino &&
        mine.st_dev == named.st_dev) {
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
  ::unlink(path_.c_str());
  ::close(fd_);
}

}  // namespace tessera::io
