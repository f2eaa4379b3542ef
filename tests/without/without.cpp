// The program where libpng, libjpeg, libsndfile, KissFFT, libcurl and OpenSSL are missing: it writes PNG and computes checksums without them, and says in one
// line what it cannot do. CMakeLists.txt compiles the readers here as they then are; they come before those of the library.
#include <doctest/doctest.h>
#include <zlib.h>

#include "tessera/core/error.h"
#include "tessera/train/data/digest.h"
#include "tessera/train/data/get.h"
#include "tessera/train/data/image.h"
#include "tessera/train/data/log_mel.h"
#include "tessera/train/data/sound.h"
#include "tests/unit/data_folder.h"

using namespace tessera;
using namespace tessera::data;
using tessera::test::Temporary;

TEST_CASE("without libpng and libjpeg: a picture is refused in one line that names the library") {
  Temporary dir;
  const auto png = encode_png(2, 3, 3, std::vector<uint8_t>(18, 7));
  const auto says = [](const std::string& path, const char* library) {
    try {
      read_image(path);
      FAIL("read");
    } catch (const Error& e) {
      const std::string what = e.what();
      CAPTURE(what);
      CHECK(what.find(path) != std::string::npos);
      CHECK(what.find(std::string("built without ") + library) != std::string::npos);
      CHECK(what.find('\n') == std::string::npos);
    }
  };
  says(dir.write("a.png", png), "libpng");
  says(dir.write("a.jpg", std::vector<uint8_t>{0xff, 0xd8, 0xff, 0xe0, 0, 0}), "libjpeg");
  CHECK_THROWS_WITH_AS(read_image(dir.write("a.txt", std::string("hello"))), doctest::Contains("neither"), Error);
}

TEST_CASE("without libpng: PNG files are written with zlib, chunk by chunk") {
  for (const int channels : {1, 3}) {
    const int h = 5, w = 4;
    std::vector<uint8_t> pixels(static_cast<size_t>(h * w * channels));
    for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<uint8_t>(i * 11);
    const auto png = encode_png(h, w, channels, pixels);
    const auto word = [&](size_t at) {
      return uint32_t{png[at]} << 24 | uint32_t{png[at + 1]} << 16 | uint32_t{png[at + 2]} << 8 | uint32_t{png[at + 3]};
    };
    std::string types;
    for (size_t at = 8; at < png.size(); at += 12 + word(at)) {
      const size_t n = word(at);
      types.append(png.begin() + static_cast<long>(at) + 4, png.begin() + static_cast<long>(at) + 8);
      CHECK(word(at + 8 + n) == crc32(0, &png[at + 4], static_cast<uInt>(n + 4)));
      if (png[at + 7] == 'R') {
        CHECK(word(at + 8) == 4);
        CHECK(word(at + 12) == 5);
        CHECK(int{png[at + 17]} == (channels == 1 ? 0 : 2));
      }
      if (png[at + 7] == 'T') {
        std::vector<uint8_t> rows(static_cast<size_t>(h * (w * channels + 1)));
        uLongf size = rows.size();
        REQUIRE(uncompress(rows.data(), &size, &png[at + 8], static_cast<uLong>(n)) == Z_OK);
        REQUIRE(size == rows.size());
        for (int y = 0; y < h; ++y) {
          const auto row = std::span(rows).subspan(static_cast<size_t>(y * (w * channels + 1)));
          CHECK(row[0] == 0);
          for (int x = 0; x < w * channels; ++x)
            CHECK(row[static_cast<size_t>(x) + 1] == pixels[static_cast<size_t>(y * w * channels + x)]);
        }
      }
    }
    CHECK(types == "IHDRIDATIEND");
  }
}

TEST_CASE("without libsndfile and KissFFT: a recording is refused in one line that names the library") {
  Temporary dir;
  const std::string path = dir.write("a.wav", std::string("RIFF"));
  CHECK_FALSE(reads_sound());
  CHECK_THROWS_WITH_AS(read_sound(path), doctest::Contains("built without libsndfile"), Error);
  CHECK_THROWS_WITH_AS(LogMel({.sample_rate = 8000}), doctest::Contains("built without it"), Error);
}

TEST_CASE("without libcurl: data get says where to put the files") {
  Temporary dir;
  CHECK_THROWS_WITH_AS(get("cifar10", dir / "data"), doctest::Contains("built without libcurl"), Error);
}

TEST_CASE("without OpenSSL: the same digests") {
  CHECK(Digest(Digest::sha256).add("abc").hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(Digest(Digest::md5).add("a").add("bc").hex() == "900150983cd24fb0d6963f7d28e17f72");
}
