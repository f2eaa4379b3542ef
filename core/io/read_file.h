#pragma once
// The one door through which files are read. A path may lead to anything: a pipe that nobody writes to would hang its
// reader for ever, /dev/zero never ends, a folder is no file. So a file is opened without waiting, looked at, refused
// unless it is a regular one, and never read beyond what its kind can need. Free of `real`.
#include <cstdint>
#include <string>
#include <string_view>

namespace tessera::io {

/// What files of a kind may be, in bytes. Whoever writes such a file keeps below it (class names: data::most_classes).
namespace limit {
constexpr uint64_t recipe = uint64_t{1} << 20;    ///< recipes and config.toml
constexpr uint64_t summary = uint64_t{64} << 20;  ///< summary.json
constexpr uint64_t metrics = uint64_t{1} << 30;   ///< metrics.jsonl, report_data.json
constexpr uint64_t picture = uint64_t{1} << 30;   ///< a PNG or JPEG file
constexpr uint64_t any = uint64_t{1} << 40;
}  // namespace limit

/// A regular file, open for reading; it closes itself.
class RegularFile {
 public:
  /// Throws Error "[where] path: why" when the file cannot be opened or is no regular file: a folder, a pipe, a socket,
  /// a device. Never waits. Links are followed.
  explicit RegularFile(const std::string& path, std::string_view where = "read");
  RegularFile(RegularFile&& other) noexcept;
  RegularFile& operator=(RegularFile&&) = delete;
  ~RegularFile();

  /// As the file system says; /proc says 0.
  uint64_t size() const { return size_; }
  int fd() const { return fd_; }
  /// Up to `count` bytes of the file from where the last call ended; 0 at its end. Throws Error when the disk fails.
  size_t read(void* to, size_t count);
  /// Exactly `count` bytes at `offset`. Throws Error when the disk fails or the file ends before.
  void read_at(uint64_t offset, void* to, size_t count) const;

 private:
  std::string path_, where_;
  int fd_ = -1;
  uint64_t size_ = 0;
};

/// The whole of a regular file. Throws Error as RegularFile, or when it is larger than `most` bytes.
std::string read_file(const std::string& path, uint64_t most = limit::any, std::string_view where = "read");

/// "No such file or directory: check the path" for the errno of an open or a read.
std::string explain_read(int error);

}  // namespace tessera::io
