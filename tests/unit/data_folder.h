#pragma once
// A temporary folder that goes away, and files in it.
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace tessera::test {

class Temporary {
 public:
  Temporary() {
    std::string name = (std::filesystem::temp_directory_path() / "tessera-test-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~Temporary() {
    std::error_code none;
    std::filesystem::remove_all(path_, none);
  }
  Temporary(const Temporary&) = delete;
  Temporary& operator=(const Temporary&) = delete;
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }
  /// Writes a file, making its folders; returns its path.
  template <class Bytes>
  std::string write(const std::string& name, const Bytes& bytes) const {
    std::string path = *this / name;
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    return path;
  }
  /// A file of `size` zero bytes that takes no room on the disk.
  std::string zeros(const std::string& name, uintmax_t size) const {
    std::string path = write(name, std::string());
    std::filesystem::resize_file(path, size);
    return path;
  }

 private:
  std::string path_;
};

}  // namespace tessera::test
