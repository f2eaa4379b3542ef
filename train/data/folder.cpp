#include <fmt/format.h>

#include <filesystem>

#include "tessera/core/error.h"
#include "tessera/train/data/digest.h"
#include "tessera/train/data/readers.h"

namespace tessera::data {
std::vector<uint8_t> read_file(const std::string& path, uint64_t most) {
  io::RegularFile file(path, "data");
  if (file.size() == 0) fail("data", "{} is empty; fetch it again", path);
  if (file.size() > most) fail("data", "{} has {} bytes; {} are the most that are read", path, file.size(), most);
  std::vector<uint8_t> bytes(file.size());
  file.read_at(0, bytes.data(), bytes.size());
  return bytes;
}

Folder::Folder(std::string path) : path_(std::move(path)) {
  if (has(verified)) {
    const auto bytes = read_file(path_ + "/" + verified, 1 << 20);
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
