#include "tessera/train/report/event_file.h"

#include <array>
#include <bit>
#include <cmath>

namespace tessera::report {
namespace {

constexpr std::array<uint32_t, 256> table = [] {
  std::array<uint32_t, 256> t{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t c = i;
    for (int bit = 0; bit < 8; ++bit) c = c & 1 ? c >> 1 ^ 0x82f63b78u : c >> 1;
    t[i] = c;
  }
  return t;
}();

/// Little-endian, whatever the machine is.
template <class T>
std::string fixed(T v) {
  std::string s;
  for (size_t i = 0; i < sizeof(T); ++i) s += static_cast<char>(static_cast<uint8_t>(v >> 8 * i));
  return s;
}

// ---- protocol buffers: a key (field number and wire type), then the value ----

std::string varint(uint64_t v) {
  std::string s;
  for (; v >= 0x80; v >>= 7) s += static_cast<char>(static_cast<uint8_t>(v | 0x80));
  return s + static_cast<char>(static_cast<uint8_t>(v));
}
std::string whole(uint32_t field, uint64_t v) { return varint(field << 3) + varint(v); }
std::string real64(uint32_t field, double v) { return varint(field << 3 | 1) + fixed(std::bit_cast<uint64_t>(v)); }
std::string bytes(uint32_t field, std::string_view v) {
  return varint(field << 3 | 2) + varint(v.size()) + std::string(v);
}
std::string real32(uint32_t field, float v) { return varint(field << 3 | 5) + fixed(std::bit_cast<uint32_t>(v)); }

/// A number whose value is zero is not written, as proto3 has it.
std::string event(double wall_time, int64_t step) {
  return (wall_time == 0 ? "" : real64(1, wall_time)) + (step == 0 ? "" : whole(2, static_cast<uint64_t>(step)));
}

}  // namespace

uint32_t crc32c(std::string_view text) {
  uint32_t c = ~0u;
  for (const char byte : text) c = table[(c ^ static_cast<uint8_t>(byte)) & 255] ^ c >> 8;
  return ~c;
}

std::string event_record(std::string_view text) {
  const auto masked = [](std::string_view s) { return std::rotr(crc32c(s), 15) + 0xa282ead8u; };
  const std::string length = fixed(static_cast<uint64_t>(text.size()));
  return length + fixed(masked(length)) + std::string(text) + fixed(masked(text));
}

std::string version_event(double wall_time) { return event(wall_time, 0) + bytes(3, "brain.Event:2"); }

std::string scalar_event(double wall_time, int64_t step, const std::vector<std::pair<std::string, float>>& scalars) {
  std::string summary;
  for (const auto& [tag, value] : scalars) summary += bytes(1, bytes(1, tag) + real32(2, value));
  return event(wall_time, step) + bytes(5, summary);
}

std::string events_of(const RunFiles& run) {
  std::string file = event_record(version_event(0));
  for (const Metric& m : run.metrics) {
    if (!(m.step >= 0 && m.step < 9e15)) continue;
    std::vector<std::pair<std::string, float>> scalars;
    const auto add = [&](const std::string& tag, double v) {
      if (std::isfinite(v)) scalars.emplace_back(tag, static_cast<float>(v));
    };
    add("loss/" + m.split, m.loss);
    add("accuracy/" + m.split, m.acc1 / 100);
    if (m.split == "train") add("learning_rate", m.lr), add("images_per_s", m.images_per_s);
    const double seconds = std::isfinite(m.seconds) ? m.seconds : 0;
    if (!scalars.empty()) file += event_record(scalar_event(seconds, static_cast<int64_t>(m.step), scalars));
  }
  return file;
}

}  // namespace tessera::report
