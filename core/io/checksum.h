#pragma once
// FNV-1a, 64 bits, over a stream of bytes. Every step is a bijection of the state, so that a single changed byte always
// shows.
#include <fmt/core.h>

#include <cstddef>
#include <cstdint>
#include <string>

namespace tessera::io {

class Checksum {
 public:
  void add(const char* bytes, size_t count) {
    for (size_t i = 0; i < count; ++i) state_ = (state_ ^ static_cast<uint8_t>(bytes[i])) * 0x100000001b3U;
  }
  uint64_t value() const { return state_; }
  std::string hex() const { return fmt::format("{:016x}", state_); }

 private:
  uint64_t state_ = 0xcbf29ce484222325U;
};

}  // namespace tessera::io
