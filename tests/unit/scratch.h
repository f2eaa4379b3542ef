#pragma once
// A folder of its own for a test, removed at its end.
#include <cstdlib>
#include <filesystem>
#include <string>

namespace tessera {

class Scratch {
 public:
  Scratch() : path_((std::filesystem::temp_directory_path() / "tessera-test-XXXXXX").string()) {
    if (!::mkdtemp(path_.data())) throw std::runtime_error("no scratch folder " + path_);
  }
  ~Scratch() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  /// How many entries it has, hidden ones included.
  long files() const {
    return std::distance(std::filesystem::directory_iterator(path_), std::filesystem::directory_iterator());
  }

 private:
  std::string path_;
};

}  // namespace tessera
