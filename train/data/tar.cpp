// A tar archive is a row of 512-byte blocks: per member one header (name, size in octal, type, checksum, in POSIX ustar
// a name prefix) and the content, padded to whole blocks; two blocks of zeros end it.
#include "tessera/train/data/tar.h"

#include <fcntl.h>
#include <unistd.h>
#include <zlib.h>

#include <array>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string_view>
#include <vector>

#include "tessera/core/error.h"
#include "tessera/core/io/replace_file.h"
#include "tessera/core/io/text.h"

namespace tessera::data {
namespace {

namespace fs = std::filesystem;
constexpr size_t block = 512;

class Gzip {
 public:
  explicit Gzip(std::string path) : path_(std::move(path)) {
    const io::RegularFile file(path_, "unpack");
    const int fd = ::fcntl(file.fd(), F_DUPFD_CLOEXEC, 0);
    file_ = fd < 0 ? nullptr : gzdopen(fd, "rb");
    if (!file_) {
      if (fd >= 0) ::close(fd);
      fail("unpack", "cannot open {}", path_);
    }
    gzbuffer(file_, 1 << 18);
  }
  ~Gzip() { gzclose_r(file_); }
  Gzip(const Gzip&) = delete;
  Gzip& operator=(const Gzip&) = delete;

  void read(void* to, size_t bytes) {
    const int n = gzread(file_, to, static_cast<unsigned>(bytes));
    int error = 0;
    const char* why = gzerror(file_, &error);
    if (n < 0 || error != Z_OK) fail("unpack", "{} is damaged: {}", path_, why && *why ? why : "bad gzip data");
    if (static_cast<size_t>(n) != bytes) fail("unpack", "{} is cut off in the middle of a file; fetch it again", path_);
  }

 private:
  std::string path_;
  gzFile file_ = nullptr;
};

std::string_view text(const uint8_t* field, size_t size) {
  const auto* p = reinterpret_cast<const char*>(field);
  return {p, strnlen(p, size)};
}

uint64_t octal(const uint8_t* field, size_t size, const std::string& archive) {
  uint64_t value = 0;
  bool any = false;
  for (char c : text(field, size)) {
    if (c == ' ') {
      if (any) break;
      continue;
    }
    if (c < '0' || c > '7' || value >> 60)
      fail("unpack", "{} has a damaged header: byte {} is no octal digit", archive, static_cast<unsigned char>(c));
    value = value * 8 + static_cast<uint64_t>(c - '0');
    any = true;
  }
  return value;
}

bool all_zero(const std::array<uint8_t, block>& b) {
  for (uint8_t v : b)
    if (v) return false;
  return true;
}

// The path below `top`, or an Error if the name would lead elsewhere. Empty for `top` itself.
fs::path below(const std::string& name, const std::string& top, const std::string& archive) {
  io::check_text("unpack", fmt::format("{} is hostile; the name", archive), name);
  const fs::path path(name);
  fs::path clean;
  for (const auto& part : path) {
    if (part == "." || part.empty()) continue;
    if (part == "..") fail("unpack", "{} is hostile: it holds the path '{}'; nothing was kept", archive, name);
    clean /= part;
  }
  if (path.is_absolute() || clean.empty() || *clean.begin() != top)
    fail("unpack", "{} is hostile: it holds '{}', outside of '{}'; nothing was kept", archive, name, top);
  fs::path rest;
  for (auto it = std::next(clean.begin()); it != clean.end(); ++it) rest /= *it;
  return rest;
}

}  // namespace

void unpack_tar_gz(const std::string& archive, const std::string& top, const std::string& into, uint64_t limit) {
  Gzip in(archive);
  std::vector<char> buffer(1 << 18);
  uint64_t total = 0;
  for (;;) {
    std::array<uint8_t, block> header;
    in.read(header.data(), block);
    if (all_zero(header)) return;
    uint64_t sum = 0;  // the checksum field itself counts as eight spaces
    for (size_t i = 0; i < block; ++i) sum += i >= 148 && i < 156 ? ' ' : header[i];
    if (octal(&header[148], 8, archive) != sum) fail("unpack", "{} has a damaged header; fetch it again", archive);

    std::string name(text(header.data(), 100));
    if (std::memcmp(&header[257], "ustar", 6) == 0 && header[345])
      name = std::string(text(&header[345], 155)) + "/" + name;
    const char type = static_cast<char>(header[156]);
    const uint64_t size = octal(&header[124], 12, archive);
    const uint64_t padding = (block - size % block) % block;
    total += size;
    if (size > limit || total > limit)
      fail("unpack", "{} unpacks to more than {} bytes: not what it should be", archive, limit);

    auto content = [&](auto&& use) {
      for (uint64_t left = size; left > 0;) {
        const auto n = static_cast<size_t>(std::min<uint64_t>(left, buffer.size()));
        in.read(buffer.data(), n);
        use(buffer.data(), n);
        left -= n;
      }
      in.read(buffer.data(), padding);
    };
    if (type == 'x' || type == 'g') {  // extended attributes: nothing in them matters for these files
      content([](const char*, size_t) {});
    } else if (type == '5') {
      below(name, top, archive);
      content([](const char*, size_t) {});
    } else if (type == '0' || type == '\0') {
      const fs::path path = below(name, top, archive);
      if (path.empty()) fail("unpack", "{} is hostile: '{}' is a file, not a folder; nothing was kept", archive, name);
      const fs::path target = fs::path(into) / path;
      std::error_code error;
      fs::create_directories(target.parent_path(), error);
      if (error) fail("unpack", "cannot make the folder {}: {}", target.parent_path().string(), error.message());
      io::replace_file(target.string(),
                       [&](io::Sink& out) { content([&](const char* bytes, size_t n) { out.write(bytes, n); }); });
    } else {
      fail("unpack", "{} is hostile: '{}' is a link or a device (type '{}'); nothing was kept", archive, name, type);
    }
  }
}

}  // namespace tessera::data
