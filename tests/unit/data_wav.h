#pragma once
// WAV files made of bytes, right ones and wrong ones.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <numbers>
#include <span>
#include <string>
#include <vector>

namespace tessera::test {

inline std::string little_endian(uint64_t v, int bytes) {
  std::string s;
  for (int i = 0; i < bytes; ++i) s += static_cast<char>(v >> 8 * i & 255);
  return s;
}

struct Wav {
  int rate = 8000, channels = 1, bits = 16;  // 32: floats
  /// The file; samples of the channels in turn.
  std::string operator()(std::span<const float> samples) const {
    std::string data;
    for (const float x : samples) {
      uint32_t pattern = 0;
      std::memcpy(&pattern, &x, 4);
      data += bits == 32 ? little_endian(pattern, 4)
                         : little_endian(static_cast<uint16_t>(static_cast<int16_t>(std::lround(x * 32767))), 2);
    }
    return header(data.size()) + data;
  }
  /// All that comes before `bytes` bytes of samples.
  std::string header(uint64_t bytes) const {
    const int frame = channels * bits / 8;
    return "RIFF" + little_endian(36 + bytes, 4) + "WAVEfmt " + little_endian(16, 4) +
           little_endian(bits == 32 ? 3 : 1, 2) + little_endian(static_cast<uint64_t>(channels), 2) +
           little_endian(static_cast<uint64_t>(rate), 4) +
           little_endian(static_cast<uint64_t>(rate) * static_cast<uint64_t>(frame), 4) +
           little_endian(static_cast<uint64_t>(frame), 2) + little_endian(static_cast<uint64_t>(bits), 2) + "data" +
           little_endian(bytes, 4);
  }
};

inline std::vector<float> tone(double hertz, int samples, int rate = 8000, double loud = 0.5) {
  std::vector<float> x(static_cast<size_t>(samples));
  for (size_t i = 0; i < x.size(); ++i)
    x[i] = static_cast<float>(loud * std::sin(2 * std::numbers::pi * hertz * static_cast<double>(i) / rate));
  return x;
}

/// DIR/train and DIR/test with the classes high and low: `n` and 3 tones each, of different lengths.
template <class Folder>
void write_tones(const Folder& dir, const std::string& name, int n, int rate = 8000) {
  for (const auto& [split, count] : {std::pair{"train", n}, std::pair{"test", 3}})
    for (const auto& [label, hertz] : {std::pair{"low", 300.0}, std::pair{"high", 2000.0}})
      for (int i = 0; i < count; ++i)
        dir.write(name + "/" + split + "/" + label + "/" + std::to_string(i) + ".wav",
                  Wav{.rate = rate}(tone(hertz + 11 * i, 400 + 137 * ((7 * i) % 11), rate)));
}

}  // namespace tessera::test
