#pragma once
// Recordings: WAV, FLAC and Ogg files, read by libsndfile.
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace tessera::data {

class LogMel;

struct Sound {
  int rate = 0;                ///< samples a second
  std::vector<float> samples;  ///< the mean of the channels; full scale is 1
};

/// Was this program built to read them?
bool reads_sound();

/// Reads a recording. Throws Error that names the file: what is no WAV, FLAC or Ogg file by its first bytes, damaged, cut off, empty, longer
/// than 2^26 samples, of a rate outside of 1,000 to 768,000 a second or of more than 32 channels; a sample that is not finite or beyond
/// 2^15 times full scale.
Sound read_sound(const std::string& path);
/// The same from the bytes of a file.
Sound decode_sound(std::span<const uint8_t> bytes, const std::string& path);
/// Its frames. Throws Error on a recording that is too long for them.
std::vector<float> frames(const LogMel& mel, const Sound& sound, const std::string& path);

}  // namespace tessera::data
