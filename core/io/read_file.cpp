#include "tessera/core/io/read_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

#include "tessera/core/error.h"

namespace tessera::io {
namespace {

std::string_view kind_of(mode_t mode) {
  if (S_ISFIFO(mode)) return "a pipe (FIFO)";
  if (S_ISSOCK(mode)) return "a socket";
  return "a device";
}

}  // namespace

std::string explain_read(int error) {
  const std::string reason = std::generic_category().message(error);
  switch (error) {
    case ENOENT:
      return reason + ": check the path";
    case EACCES:
    case EPERM:
      return reason + ": change its rights";
    case ENOTDIR:
      return reason + ": a part of the path is a file";
    case EISDIR:
      return reason + ": give the name of a file";
    case ELOOP:
      return reason + ": the link leads to itself";
    case EIO:
      return reason + ": check the disk";
    case EMFILE:
    case ENFILE:
      return reason + ": close some programs or raise ulimit -n";
    default:
      return reason;
  }
}

RegularFile::RegularFile(const std::string& path, std::string_view where) : path_(path), where_(where) {
  const auto refuse = [&](std::string_view why) {
    if (fd_ >= 0) ::close(fd_);
    fail(where_, "{}: {}", path_, why);
  };
  // O_NONBLOCK: a FIFO that nobody writes to opens at once; O_NOCTTY: a terminal does not become ours
  do fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  while (fd_ < 0 && errno == EINTR);
  if (fd_ < 0 && errno == ENXIO) refuse("not a regular file but a socket or a device");
  if (fd_ < 0) refuse(explain_read(errno));
  struct stat info {};
  if (::fstat(fd_, &info) != 0) refuse(explain_read(errno));
  if (S_ISDIR(info.st_mode)) refuse("not a regular file: " + explain_read(EISDIR));
  if (!S_ISREG(info.st_mode)) refuse(fmt::format("not a regular file but {}", kind_of(info.st_mode)));
  size_ = static_cast<uint64_t>(info.st_size);
}

RegularFile::RegularFile(RegularFile&& o) noexcept
    : path_(std::move(o.path_)), where_(std::move(o.where_)), fd_(std::exchange(o.fd_, -1)), size_(o.size_) {}

RegularFile::~RegularFile() {
  if (fd_ >= 0) ::close(fd_);
}

size_t RegularFile::read(void* to, size_t count) {
  for (;;) {
    const ssize_t n = ::read(fd_, to, count);
    if (n >= 0) return static_cast<size_t>(n);
    if (errno != EINTR) fail(where_, "{}: {}", path_, explain_read(errno));
  }
}

void RegularFile::read_at(uint64_t offset, void* to, size_t count) const {
  for (char* p = static_cast<char*>(to); count > 0;) {
    const ssize_t n = ::pread(fd_, p, count, static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(where_, "{}: {}", path_, explain_read(errno));
    if (n == 0) fail(where_, "{}: the file became shorter while it was read", path_);
    p += n, offset += static_cast<uint64_t>(n), count -= static_cast<size_t>(n);
  }
}

std::string read_file(const std::string& path, uint64_t most, std::string_view where) {
  RegularFile file(path, where);
  const auto too_large = [&] {
    fail(where, "{}: larger than {} bytes, which is all that is read of such a file", path, most);
  };
  if (file.size() > most) too_large();
  constexpr size_t least_step = 1 << 16;
  std::string bytes;
  bytes.reserve(file.size() + 1);
  for (;;) {  // to the end, not to size(): files of /proc, and files that grow
    const size_t had = bytes.size(), step = std::max(bytes.capacity() - had, least_step);
    bytes.resize(had + step);
    const size_t n = file.read(bytes.data() + had, step);
    bytes.resize(had + n);
    if (n == 0) return bytes;
    if (bytes.size() > most) too_large();
  }
}

}  // namespace tessera::io
