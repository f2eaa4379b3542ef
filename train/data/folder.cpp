#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <limits>

#include "core/error.h"
#include "train/data/digest.h"
#include "train/data/readers.h"

namespace tessera::data {
namespace {

struct File {  // closes itself
  int fd;
  ~File() {
    if (fd >= 0) ::close(fd);
  }
};

}  // namespace

std::vector<uint8_t> read_file(const std::string& path) {
  // O_NONBLOCK: opening a FIFO must not hang
  const File file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.fd < 0) fail("data", "cannot open {}: {}", path, std::strerror(errno));
  struct stat info {};
  if (::fstat(file.fd, &info) != 0) fail("data", "cannot read {}: {}", path, std::strerror(errno));
  if (!S_ISREG(info.st_mode)) fail("data", "{} is not a regular file", path);
  if (info.st_size == 0) fail("data", "{} is empty; fetch it again", path);
  std::vector<uint8_t> bytes(static_cast<size_t>(info.st_size));
  size_t have = 0;
  while (have < bytes.size()) {
    const ssize_t n = ::read(file.fd, bytes.data() + have, bytes.size() - have);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("data", "cannot read {}: {}", path, std::strerror(errno));
    if (n == 0) fail("data", "{} shrank while it was read", path);
    have += static_cast<size_t>(n);
  }
  return bytes;
}

Folder::Folder(std::string path) : path_(std::move(path)) {
  if (has(verified)) {
    const auto bytes = read_file(path_ + "/" + verified);
    known_.assign(bytes.begin(), bytes.end());
  }
}

bool Folder::has(const std::string& file) const {
  std::error_code none;
  return std::filesystem::is_regular_file(path_ + "/" + file, none);
}

std::vector<uint8_t> Folder::read(const std::string& file, int64_t size) {
  const std::string path = path_ + "/" + file;
  std::error_code none;
  const auto there = std::filesystem::file_size(path, none);
  if (!none && size >= 0 && there != 0 && there != static_cast<uintmax_t>(size))
    fail("data", "{} has {} bytes, {} are right: it was cut off or is another file; fetch it again", path, there, size);
  auto bytes = read_file(path);
  const std::string digest = hex_digest(Digest::sha256, bytes);
  note(digest, known_.find(fmt::format("{}  {}\n", digest, file)) != std::string::npos);
  return bytes;
}

void Folder::note(const std::string& digest, bool official) {
  digests_.push_back(digest);
  official_ = official_ && official;
}

std::string Folder::digest() const {
  Digest all(Digest::sha256);
  for (const std::string& d : digests_) all.add(d);
  return all.hex();
}

}  // namespace tessera::data
