#pragma once
// Checksums (OpenSSL where there is one, train/data/hashes.h else): SHA-256 says which data a run used, MD5 is what publishers list for their archives.
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace tessera::data {

class Digest {
 public:
  enum Kind { sha256, md5 };
  explicit Digest(Kind kind);
  ~Digest();
  Digest(Digest&&) noexcept;
  Digest& add(std::span<const uint8_t> bytes);
  Digest& add(std::string_view text);
  /// The digest in lower-case hexadecimal; the object is then used up.
  std::string hex();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string hex_digest(Digest::Kind kind, std::span<const uint8_t> bytes);
/// The digest of a file's bytes. Throws Error if it cannot be read.
std::string file_digest(Digest::Kind kind, const std::string& path);

}  // namespace tessera::data
