#include "tessera/train/data/sound.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>

#include "tessera/core/error.h"
#include "tessera/core/io/text.h"
#include "tessera/train/data/readers.h"
#if TESSERA_HAVE_SNDFILE
#include <sndfile.h>
#endif

namespace tessera::data {

bool reads_sound() { return TESSERA_HAVE_SNDFILE != 0; }

#if TESSERA_HAVE_SNDFILE
namespace {

constexpr size_t most_samples = size_t{1} << 26;
constexpr int most_channels = 32;
constexpr int lowest_rate = 1'000, highest_rate = 768'000;
constexpr float loudest = 32768;  // integers that nobody scaled pass

// libsndfile reads from memory, through these. Offsets come from the file: each is checked.
struct Bytes {
  std::span<const uint8_t> all;
  sf_count_t at = 0;
  sf_count_t size() const { return static_cast<sf_count_t>(all.size()); }
};
sf_count_t size_of_bytes(void* of) { return static_cast<Bytes*>(of)->size(); }
sf_count_t tell(void* of) { return static_cast<Bytes*>(of)->at; }
sf_count_t seek(sf_count_t offset, int whence, void* of) {
  auto& b = *static_cast<Bytes*>(of);
  const sf_count_t from = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? b.at : b.size();
  if (offset < -from || offset > b.size() - from) return -1;
  return b.at = from + offset;
}
sf_count_t read(void* to, sf_count_t count, void* of) {
  auto& b = *static_cast<Bytes*>(of);
  const sf_count_t n = std::clamp<sf_count_t>(count, 0, b.size() - b.at);
  if (n > 0) std::memcpy(to, b.all.data() + b.at, static_cast<size_t>(n));
  b.at += n;
  return n;
}
sf_count_t write(const void*, sf_count_t, void*) { return 0; }

uint32_t little(std::span<const uint8_t> b, size_t at) {
  return uint32_t{b[at]} | uint32_t{b[at + 1]} << 8 | uint32_t{b[at + 2]} << 16 | uint32_t{b[at + 3]} << 24;
}

/// libsndfile takes a WAV file that ends in the midst of its samples for a shorter one. A program that wrote into a pipe could not know
/// the length and left all bits set, or none.
void check_whole(std::span<const uint8_t> b, const std::string& path) {
  constexpr size_t header = 8;
  for (size_t at = 12; at + header <= b.size();) {
    const size_t said = little(b, at + 4), left = b.size() - at - header;
    if (std::memcmp(b.data() + at, "data", 4) == 0) {
      if (said > left && said != UINT32_MAX)
        fail("data", "{} was cut off: its header says {} bytes of samples, {} are there", path, said, left);
      return;
    }
    if (said > left) return;  // libsndfile says what is wrong
    at += header + said + said % 2;
  }
}

struct Close {
  void operator()(SNDFILE* file) const { sf_close(file); }
};

}  // namespace

Sound decode_sound(std::span<const uint8_t> bytes, const std::string& path) {
  const auto begins = [&](const char* magic) { return bytes.size() >= 12 && std::memcmp(bytes.data(), magic, 4) == 0; };
  // the other formats of libsndfile are not asked for, and what reads them is not trusted with files from anywhere
  if (!begins("RIFF") && !begins("fLaC") && !begins("OggS")) fail("data", "{} is no WAV, FLAC or Ogg file", path);
  if (begins("RIFF")) check_whole(bytes, path);
  Bytes memory{bytes};
  SF_VIRTUAL_IO io{size_of_bytes, seek, read, write, tell};
  SF_INFO info{};
  const std::unique_ptr<SNDFILE, Close> file(sf_open_virtual(&io, SFM_READ, &info, &memory));
  if (!file) fail("data", "{} is damaged: {}", path, io::printable(sf_strerror(nullptr)));
  if (info.channels < 1 || info.channels > most_channels)
    fail("data", "{} has {} channels, expected 1 to {}", path, info.channels, most_channels);
  if (info.samplerate < lowest_rate || info.samplerate > highest_rate)
    fail("data", "{} has {} samples a second, expected {} to {}", path, info.samplerate, lowest_rate, highest_rate);
  // what the header says of the length is a promise; samples are counted as they come
  const auto channels = static_cast<size_t>(info.channels);
  constexpr size_t at_once = 4096;
  std::vector<float> block(at_once * channels);
  Sound sound{info.samplerate, {}};
  for (;;) {
    const sf_count_t n = sf_readf_float(file.get(), block.data(), at_once);
    if (n <= 0) break;
    if (sound.samples.size() + static_cast<size_t>(n) > most_samples)
      fail("data", "{} is longer than {} samples: cut it into pieces", path, most_samples);
    for (size_t i = 0; i < static_cast<size_t>(n); ++i) {
      double sum = 0;
      for (size_t c = 0; c < channels; ++c) {
        const float x = block[i * channels + c];
        if (!(std::fabs(x) <= loudest))
          fail("data", "{}: sample {} is {}, expected a number of at most {} in size", path, sound.samples.size(), x,
               loudest);
        sum += static_cast<double>(x);
      }
      sound.samples.push_back(static_cast<float>(sum / static_cast<double>(channels)));
    }
  }
  if (const int error = sf_error(file.get()); error != SF_ERR_NO_ERROR)
    fail("data", "{} is damaged: {}", path, io::printable(sf_error_number(error)));
  if (begins("fLaC") && info.frames > 0 && static_cast<size_t>(info.frames) > sound.samples.size())
    fail("data", "{} was cut off: its header says {} samples, {} are there", path, info.frames, sound.samples.size());
  if (sound.samples.empty()) fail("data", "{} holds no samples", path);
  return sound;
}

#else

Sound decode_sound(std::span<const uint8_t>, const std::string& path) {
  fail("data", "{} is a sound file, and this program was built without libsndfile; build it anew with libsndfile",
       path);
}

#endif

Sound read_sound(const std::string& path) {
  if (!reads_sound()) return decode_sound({}, path);
  return decode_sound(read_file(path, uint64_t{1} << 30), path);
}

}  // namespace tessera::data
