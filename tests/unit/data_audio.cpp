// Recordings: what is read of a file, what is refused, and the sets that are made of them.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>

#include "tessera/core/io/read_file.h"
#include "tessera/core/rng.h"
#include "tessera/train/data/augment.h"
#include "tessera/train/data/frames.h"
#include "tessera/train/data/loader.h"
#include "tessera/train/data/named.h"
#include "tessera/train/data/sound.h"
#include "tests/error_of.h"
#include "tests/unit/data_folder.h"
#include "tests/unit/data_wav.h"

namespace tessera::data::test {
namespace {

using tessera::test::error_of;
using tessera::test::little_endian;
using tessera::test::Temporary;
using tessera::test::tone;
using tessera::test::Wav;
using tessera::test::write_tones;

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("recordings: samples are those of the file, channels become their mean") {
  const Temporary dir;
  const std::vector<float> x = {0, 0.5f, -0.25f, 1};
  const Sound mono = read_sound(dir.write("a.wav", Wav{.rate = 11025}(x)));
  CHECK(mono.rate == 11025);
  REQUIRE(mono.samples.size() == 4);
  for (size_t i = 0; i < 4; ++i)
    CHECK(mono.samples[i] == static_cast<float>(std::lround(x[i] * 32767)) / 32768);  // 16 bits
  const Sound stereo = read_sound(dir.write("b.wav", Wav{.channels = 2, .bits = 32}(x)));
  CHECK(stereo.samples == std::vector<float>{0.25f, 0.375f});
}

TEST_CASE("recordings: whatever is wrong with a file is said in one line that names it") {
  const Temporary dir;
  const std::string good = Wav{}(tone(440, 800));
  const auto refused = [&](const std::string& bytes, const std::string& why) {
    const std::string path = dir.write("x.wav", bytes), said = error_of([&] { read_sound(path); });
    CAPTURE(said);
    CHECK(has(said, path));
    CHECK(has(said, why));
    CHECK(said.find('\n') == std::string::npos);
  };
  refused("", "empty");
  refused("RIFF", "no WAV, FLAC or Ogg file");
  refused(std::string(1000, 'x'), "no WAV, FLAC or Ogg file");
  refused("FORM" + good.substr(4), "no WAV, FLAC or Ogg file");
  refused(good.substr(0, 500), "cut off");
  refused(good.substr(0, 44), "cut off");
  refused(good.substr(0, 30), "damaged");
  refused(Wav{}.header(0), "no samples");
  refused(Wav{}.header(0xfffffff0) + good.substr(44), "cut off");
  refused(Wav{.rate = 1}(tone(440, 800)), "samples a second");
  refused(Wav{.rate = 2'000'000'000}(tone(440, 80)), "samples a second");
  refused(Wav{.channels = 0}.header(800) + std::string(800, 'a'), "x.wav");
  refused(Wav{.channels = 4000}.header(8000) + std::string(8000, 'a'), "x.wav");
  for (const float bad : {NAN, INFINITY, -INFINITY, 1e30f})
    refused(Wav{.bits = 32}(std::vector<float>{0, 0.5f, bad, 0}), "sample 2 is");
  refused("fLaC" + std::string(300, '\xff'), "damaged");
  refused("OggS" + std::string(300, '\0'), "damaged");
  CHECK(has(error_of([&] { read_sound(dir.path()); }), "not a regular file"));
  CHECK(has(error_of([&] { read_sound(dir / "none.wav"); }), "none.wav"));
}

TEST_CASE("recordings: bytes changed at random are read or refused, never more than that") {
  const Temporary dir;
  const std::string good = Wav{.channels = 2}(tone(440, 400));
  const rng::Stream stream(rng::mix(7));
  for (uint64_t round = 0; round < 2000; ++round) {
    std::string bytes = good.substr(0, 44 + stream.below(4 * round, 400));
    for (uint64_t k = 1; k < 4; ++k)
      bytes[stream.below(4 * round + k, k == 3 ? static_cast<uint32_t>(bytes.size()) : 44)] =
          static_cast<char>(rng::mix(4 * round + k));
    const std::string said = error_of([&] {
      const Sound s = decode_sound({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}, "bytes");
      CHECK(!s.samples.empty());
    });
    CHECK(said.find('\n') == std::string::npos);
  }
}

// tests/golden/data/tone.flac and tone.ogg: 800 samples of tone(440), written by libsndfile (FLAC of 16 bits, Vorbis)
TEST_CASE("recordings: FLAC is exact, Ogg near; damaged and cut they are read or refused with one line") {
  for (const char* kind : {"flac", "ogg"}) {
    const std::string path = std::string(TESSERA_SOURCE_DIR) + "/tests/golden/data/tone." + kind;
    const Sound s = read_sound(path);
    CHECK(s.rate == 8000);
    REQUIRE(s.samples.size() == 800);
    const std::vector<float> x = tone(440, 800);
    float worst = 0;
    for (size_t i = 0; i < 800; ++i) worst = std::max(worst, std::fabs(s.samples[i] - x[i]));
    CHECK(worst < (kind[0] == 'f' ? 1.0f / 32768 : 0.05f));
    const std::string good = io::read_file(path);
    const rng::Stream stream(rng::mix(11));
    const auto size = static_cast<uint32_t>(good.size());
    for (uint64_t round = 0; round < 600; ++round) {
      std::string bytes = round % 3 == 0 ? good.substr(0, stream.below(4 * round, size)) : good;
      for (uint64_t k = 1; k < 4 && round % 3 != 0; ++k)
        bytes[4 + stream.below(4 * round + k, size - 4)] = static_cast<char>(rng::mix(4 * round + k));
      const std::string said = error_of([&] {
        const Sound changed = decode_sound({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}, "bytes");
        CHECK(!changed.samples.empty());
      });
      CHECK(said.find('\n') == std::string::npos);
      if (round % 3 == 0 && kind[0] == 'f') CHECK(!said.empty());
    }
  }
}

TEST_CASE("audiofolder: class folders of recordings, normalised by the training split") {
  const Temporary dir;
  write_tones(dir, "tones", 7);
  const std::string spec = "audiofolder:" + dir / "tones";
  CHECK(available(spec));
  const Splits s = open_splits(spec);
  REQUIRE(s.train);
  CHECK(s.train->size() == 14);
  CHECK(s.test->size() == 6);
  CHECK(s.val == nullptr);
  CHECK(s.sample_rate == 8000);
  CHECK(s.train->class_names == std::vector<std::string>{"high", "low"});
  CHECK(s.train->form() ==
        InputShape{.kind = InputShape::Kind::frames, .T = 1 + (400 + 137 * 10) / 80, .features = 40});
  CHECK(s.test->form() == s.train->form());
  CHECK(s.train->length(0) == 1 + 400 / 80);
  CHECK(s.test->normalisation().mean == s.train->normalisation().mean);
  // over all frames of the training split each feature has mean 0 and deviation 1
  std::vector<double> sum(40), squares(40);
  double frames = 0;
  for (int32_t i = 0; i < 14; ++i) {
    const Batch b = gather(*s.train, std::span(&i, 1));
    frames += b.in.lengths[0];
    for (int64_t k = 0; k < b.in.x.size(); ++k)
      sum[static_cast<size_t>(k % 40)] += b.in.x.data()[k],
          squares[static_cast<size_t>(k % 40)] += b.in.x.data()[k] * b.in.x.data()[k];
  }
  for (size_t f = 0; f < 40; ++f) {
    CHECK(std::fabs(sum[f] / frames) < 1e-5);
    CHECK(std::fabs(squares[f] / frames - 1) < 1e-4);
  }
  const auto other = s.test->normalised_by({std::vector<float>(40, 1), std::vector<float>(40, 2)});
  CHECK(other->normalisation().std[0] == 2);
  CHECK_THROWS_AS(s.test->normalised_by({{1}, {1}}), Error);
  CHECK_THROWS_AS(open(spec), Error);  // no pictures
  CHECK(s.train->digest == open_splits(spec, "", {.sound = {.n_mels = 20}}).train->digest);
  dir.write("tones/test/low/0.wav", Wav{}(tone(301, 400)));
  CHECK(s.train->digest != open_splits(spec).train->digest);
}

TEST_CASE("audiofolder: one rate for all, and what else is refused") {
  const Temporary dir;
  write_tones(dir, "tones", 2);
  const std::string spec = "audiofolder:" + dir / "tones";
  CHECK(has(error_of([&] { open_splits(spec, "", {.sound = {.sample_rate = 16000}}); }), "data.sample_rate is 16000"));
  CHECK(has(error_of([&] { open_splits(spec, "", {.sound = {.n_mels = 120}}); }), "data.n_mels=120 are too many"));
  dir.write("tones/test/low/0.wav", Wav{.rate = 11025}(tone(300, 400, 11025)));
  CHECK(has(error_of([&] { open_splits(spec); }), "one rate"));
  dir.write("tones/test/low/0.wav", std::string("not audio at all"));
  CHECK(has(error_of([&] { open_splits(spec); }), "no WAV, FLAC or Ogg file"));
  CHECK(has(error_of([] { open_splits("audiofolder"); }), "audiofolder:DIR"));
  CHECK(has(error_of([&] { open_splits("audiofolder:" + dir / "none"); }), "not a folder"));
}

TEST_CASE("audiofolder: class folders without splits are cut 80/20, others are said") {
  const Temporary dir;
  for (const char* label : {"a", "b"})
    for (int i = 0; i < 10; ++i)
      dir.write(std::string("one/") + label + "/" + std::to_string(i) + ".WAV", Wav{}(tone(200 + 50 * i, 500)));
  dir.write("one/a/readme.txt", std::string("x"));
  const Splits s = open_splits("audiofolder:" + dir / "one", "", {.seed = 3});
  CHECK(s.train->size() == 16);
  CHECK(histogram(*s.test) == std::vector<int64_t>{2, 2});
  CHECK(has(s.note, "split 80/20"));
  CHECK(has(s.note, "1 of 21 files skipped: 1 txt (WAV, FLAC and Ogg are read)"));
}

TEST_CASE("fsdd: the split is by the number of the recording") {
  const Temporary dir;
  for (const char* name : {"0_jackson_0", "0_jackson_4", "0_jackson_5", "7_theo_49", "7_theo_3"})
    dir.write(std::string("fsdd/recordings/") + name + ".wav", Wav{}(tone(300, 900)));
  dir.write("fsdd/recordings/notes.wav", std::string("not read"));
  for (const Splits& s : {open_splits("fsdd", dir.path()), open_splits("fsdd:" + dir / "fsdd")}) {
    CHECK(s.train->size() == 2);
    CHECK(s.train->label(1) == 7);
    CHECK(s.test->size() == 3);
    CHECK(s.train->classes == 10);
    CHECK(has(s.note, "2 and 3 recordings, the official set 2700 and 300"));
    CHECK(has(s.note, "1 of the WAV files are no DIGIT_SPEAKER_N.wav"));
  }
  CHECK(has(error_of([&] { open_splits("fsdd:" + dir.path()); }), "0 training and 0 test recordings"));
}

TEST_CASE("real FSDD: 2,700 and 300 recordings of ten digits") {
  if (!available("fsdd")) {
    MESSAGE("skipped: no FSDD in $TESSERA_DATA");
    return;
  }
  const Splits s = open_splits("fsdd");
  CHECK(s.train->size() == 2700);
  CHECK(histogram(*s.test) == std::vector<int64_t>(10, 30));
  CHECK(s.sample_rate == 8000);
  CHECK(s.note.empty());
}

}  // namespace tessera::data::test
