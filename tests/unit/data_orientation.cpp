// Pictures as PIL's ImageOps.exif_transpose(image).convert("RGB") reads them: which way up, by which samples, and how many scans.
#include <doctest/doctest.h>
#include <zlib.h>

#include <chrono>
#include <cstring>
#include <string>

#include "tessera/core/error.h"
#include "tessera/train/data/orientation.h"
#include "tessera/train/data/set.h"
#include "tests/unit/data_folder.h"
#include "tests/unit/data_jpeg.h"

using namespace tessera;
using namespace tessera::data;
using test::Temporary;

namespace {

using Bytes = std::vector<uint8_t>;

/// 16 x 24 in six blocks of 8 x 8, each of one grey: JPEG keeps them. PIL 13.0.0 read the same pictures to these tables.
constexpr int side = 8;
Bytes blocks(const std::vector<std::vector<int>>& greys) {
  Bytes p;
  for (const auto& row : greys)
    for (int y = 0; y < side; ++y)
      for (const int grey : row) p.insert(p.end(), 3 * side, static_cast<uint8_t>(grey));
  return p;
}
const std::vector<std::vector<int>> stored = {{0, 40, 80}, {120, 160, 200}};

/// What exif_transpose makes of `stored` under each orientation.
std::vector<std::vector<int>> shown_as(int orientation) {
  switch (orientation) {
    case 2:
      return {{80, 40, 0}, {200, 160, 120}};
    case 3:
      return {{200, 160, 120}, {80, 40, 0}};
    case 4:
      return {{120, 160, 200}, {0, 40, 80}};
    case 5:
      return {{0, 120}, {40, 160}, {80, 200}};
    case 6:
      return {{120, 0}, {160, 40}, {200, 80}};
    case 7:
      return {{200, 80}, {160, 40}, {120, 0}};
    case 8:
      return {{80, 200}, {40, 160}, {0, 120}};
    default:
      return stored;
  }
}

std::string number(uint64_t v, int bytes, bool little) {
  std::string s;
  for (int i = 0; i < bytes; ++i) s += static_cast<char>(v >> 8 * (little ? i : bytes - 1 - i) & 255);
  return s;
}

/// A TIFF directory with two entries, the second of which is the orientation.
std::string tiff(int orientation, bool little, int type = 3, int count = 1) {
  const auto n = [&](uint64_t v, int bytes) { return number(v, bytes, little); };
  const std::string value =
      type == 3 ? n(static_cast<uint64_t>(orientation), 2) + n(0, 2) : n(static_cast<uint64_t>(orientation), 4);
  return (little ? "II" : "MM") + n(42, 2) + n(8, 4) + n(2, 2) + n(0x0100, 2) + n(3, 2) + n(1, 4) + n(24, 2) + n(0, 2) +
         n(0x0112, 2) + n(static_cast<uint64_t>(type), 2) + n(static_cast<uint64_t>(count), 4) + value + n(0, 4);
}

std::string exif(const std::string& tiff) { return std::string("Exif\0\0", 6) + tiff; }
std::string xmp(const std::string& body) { return std::string("http://ns.adobe.com/xap/1.0/\0", 29) + body; }

Bytes jpeg(int h, int w, const Bytes& pixels, const std::vector<std::string>& app1 = {}, bool progressive = false) {
  return test::jpeg(h, w, 3, JCS_RGB, pixels, app1, progressive);
}

std::string chunk(const std::string& type, const std::string& content) {
  const std::string body = type + content;
  const auto crc = crc32(0, reinterpret_cast<const Bytef*>(body.data()), static_cast<uInt>(body.size()));
  return number(content.size(), 4, false) + body + number(crc, 4, false);
}

std::string deflated(const std::string& rows) {
  uLongf size = compressBound(rows.size());
  std::string out(size, '\0');
  compress(reinterpret_cast<Bytef*>(out.data()), &size, reinterpret_cast<const Bytef*>(rows.data()), rows.size());
  return out.substr(0, size);
}

/// A PNG file by its parts; rows without filter bytes, each of `stride` bytes.
std::string png(int h, int w, int depth, int colour, const std::string& samples, const std::string& before = "",
                const std::string& after = "") {
  const size_t stride = samples.size() / static_cast<size_t>(h);
  std::string rows;
  for (size_t y = 0; y < static_cast<size_t>(h); ++y) rows += '\0' + samples.substr(y * stride, stride);
  const std::string head = number(static_cast<uint64_t>(w), 4, false) + number(static_cast<uint64_t>(h), 4, false) +
                           static_cast<char>(depth) + static_cast<char>(colour) + std::string(3, '\0');
  return "\x89PNG\r\n\x1a\n" + chunk("IHDR", head) + before + chunk("IDAT", deflated(rows)) + after + chunk("IEND", "");
}

void check_blocks(const Image& image, const std::vector<std::vector<int>>& greys) {
  REQUIRE(image.h == side * static_cast<int>(greys.size()));
  REQUIRE(image.w == side * static_cast<int>(greys[0].size()));
  const Bytes expected = blocks(greys);
  int worst = 0;
  for (size_t i = 0; i < expected.size(); ++i) worst = std::max(worst, std::abs(image.pixels[i] - expected[i]));
  CHECK(worst <= 2);
}

}  // namespace

TEST_CASE("image: JPEG files are turned upright as EXIF and XMP say") {
  Temporary dir;
  const Bytes pixels = blocks(stored);
  const auto read = [&](const std::vector<std::string>& app1) {
    return read_image(dir.write("x.jpg", jpeg(16, 24, pixels, app1)));
  };
  for (int orientation = 0; orientation <= 9; ++orientation)
    for (const bool little : {false, true}) {
      CAPTURE(orientation);
      check_blocks(read({exif(tiff(orientation, little))}), shown_as(orientation));
      check_blocks(read({exif(tiff(orientation, little, 4))}), shown_as(orientation));
    }
  check_blocks(read({}), stored);
  check_blocks(read({xmp("<x tiff:Orientation=\"6\"/>")}), shown_as(6));
  check_blocks(read({xmp("<tiff:Orientation>8</tiff:Orientation>")}), shown_as(8));
  check_blocks(read({xmp("<x tiff:Orientation=\"6\"/>"), exif(tiff(3, true))}), shown_as(3));  // EXIF counts
  check_blocks(read({exif(tiff(6, true, 3, 2))}), stored);                                     // two values are none
  check_blocks(read({"Exif"}), stored);
}

TEST_CASE("image: EXIF whose orientation is damaged turns nothing, and nothing outside of it is read") {
  Temporary dir;
  const std::string whole = exif(tiff(6, true));
  const Bytes pixels = blocks(stored);
  const size_t orientation_ends = 6 + 8 + 2 + 2 * 12;  // "Exif", the head, how many entries, two of them
  for (size_t n = 0; n < whole.size(); ++n) {
    CAPTURE(n);
    check_blocks(read_image(dir.write("x.jpg", jpeg(16, 24, pixels, {whole.substr(0, n)}))),
                 n < orientation_ends ? stored : shown_as(6));
  }
  for (const size_t at :
       {6, 8, 10, 11, 12, 13, 14, 15, 28, 30, 34}) {  // byte order, 42, offset, entries, tag, type, count
    CAPTURE(at);
    std::string bad = whole;
    bad[at] = '\xff';
    const bool more_entries = at == 14 || at == 15;  // than there are: those that are there count
    check_blocks(read_image(dir.write("x.jpg", jpeg(16, 24, pixels, {bad}))), more_entries ? shown_as(6) : stored);
  }
}

TEST_CASE("image: PNG files are turned upright as eXIf says, before or after the pixels") {
  Temporary dir;
  const Bytes pixels = blocks(stored);
  const std::string samples(pixels.begin(), pixels.end());
  for (int orientation = 1; orientation <= 8; ++orientation) {
    const std::string e = chunk("eXIf", tiff(orientation, orientation % 2 == 0));
    check_blocks(read_image(dir.write("x.png", png(16, 24, 8, 2, samples, e))), shown_as(orientation));
    check_blocks(read_image(dir.write("x.png", png(16, 24, 8, 2, samples, "", e))), shown_as(orientation));
  }
}

TEST_CASE("image: chunks that say how to show a PNG change none of its samples") {
  Temporary dir;
  std::string samples;
  for (int i = 0; i < 4 * 5 * 3; ++i) samples += static_cast<char>(4 * i);
  const Bytes plain(samples.begin(), samples.end());
  const auto n = [](uint64_t v) { return number(v, 4, false); };
  const std::string chrm = n(31270) + n(32900) + n(64000) + n(33000) + n(30000) + n(60000) + n(15000) + n(6000);
  for (const std::string& before :
       {std::string(), chunk("gAMA", n(100000)), chunk("gAMA", n(45455)), chunk("gAMA", n(22727)), chunk("gAMA", n(1)),
        chunk("gAMA", n(100000)) + chunk("cHRM", chrm), chunk("sRGB", std::string(1, '\1')),
        chunk("iCCP", std::string("x\0\0", 3) + deflated("no profile")), chunk("sBIT", "\5\6\5"),
        chunk("tRNS", std::string("\0\0\0\4\0\x8", 6)), chunk("bKGD", std::string("\0\1\0\2\0\3", 6)),
        chunk("gAMA", "short")})
    CHECK(read_image(dir.write("x.png", png(4, 5, 8, 2, samples, before))).pixels == plain);
}

TEST_CASE("image: PNG of every depth becomes what PIL's convert(\"RGB\") gives") {
  Temporary dir;
  const auto read = [&](int w, int depth, int colour, const std::string& samples, const std::string& before = "") {
    return read_image(dir.write("x.png", png(1, w, depth, colour, samples, before))).pixels;
  };
  const std::string gamma = chunk("gAMA", number(100000, 4, false));
  const std::string palette = chunk("PLTE", "\1\2\3\x28\x32\x3c\xc8\x64\x5a"),
                    clear = chunk("tRNS", std::string("\0\x80", 2));
  CHECK(read(2, 16, 2, "\x12\xff\x80\x01\xfe\x80\x01\x02\x03\x04\x05\x06", gamma) == Bytes{0x12, 0x80, 0xfe, 1, 3, 5});
  CHECK(read(2, 16, 6, "\x12\xff\x80\x01\xfe\x80\x11\x11\x01\x02\x03\x04\x05\x06\x22\x22") ==
        Bytes{0x12, 0x80, 0xfe, 1, 3, 5});
  CHECK(read(2, 16, 4, "\x12\xff\x33\x33\xfe\x80\x44\x44") == Bytes{0x12, 0x12, 0x12, 0xfe, 0xfe, 0xfe});
  CHECK(read(2, 8, 4, "\x12\x33\xfe\x44", gamma) == Bytes{0x12, 0x12, 0x12, 0xfe, 0xfe, 0xfe});
  CHECK(read(4, 2, 0, "\x1b", gamma) == Bytes{0, 0, 0, 85, 85, 85, 170, 170, 170, 255, 255, 255});
  CHECK(read(2, 4, 0, "\x1f") == Bytes{17, 17, 17, 255, 255, 255});
  CHECK(read(2, 1, 0, "\x40") == Bytes{0, 0, 0, 255, 255, 255});
  CHECK(read(3, 8, 3, std::string("\2\0\1", 3), gamma + palette + clear) == Bytes{200, 100, 90, 1, 2, 3, 40, 50, 60});
  CHECK(read(3, 2, 3, "\x84", palette) == Bytes{200, 100, 90, 1, 2, 3, 40, 50, 60});
  CHECK(read(1, 8, 0, "\x30", chunk("tRNS", std::string("\0\x30", 2))) == Bytes{0x30, 0x30, 0x30});
}

TEST_CASE("image: a progressive JPEG of many scans is refused at once") {
  Temporary dir;
  const Bytes good = jpeg(16, 24, blocks(stored), {}, true);
  CHECK(survey_jpeg(good).scans > 1);
  check_blocks(read_image(dir.write("good.jpg", good)), stored);
  // the last scan over and over, as a picture that takes minutes does
  size_t last = 0;
  for (size_t i = 0; i + 1 < good.size(); ++i)
    if (good[i] == 0xff && good[i + 1] == 0xda) last = i;
  const auto repeated = [&](int n) {
    Bytes many(good.begin(), good.end() - 2);
    for (int i = 0; i < n; ++i)
      many.insert(many.end(), good.begin() + static_cast<std::ptrdiff_t>(last), good.end() - 2);
    many.insert(many.end(), {0xff, 0xd9});
    return many;
  };
  CHECK(survey_jpeg(repeated(5000)).scans == survey_jpeg(good).scans + 5000);
  const auto start = std::chrono::steady_clock::now();
  for (const int n : {60, 500, 100'000})
    CHECK_THROWS_WITH_AS(read_image(dir.write("many.jpg", repeated(n))), doctest::Contains("scans"), Error);
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(20));
}

TEST_CASE("image: what is neither PNG nor JPEG says what it is") {
  Temporary dir;
  const auto says = [&](const std::string& bytes, const char* what) {
    CHECK_THROWS_WITH_AS(read_image(dir.write("x.jpg", bytes)), doctest::Contains(what), Error);
  };
  says(std::string("RIFF\0\0\0\0WEBPVP8 ", 16), "neither a PNG nor a JPEG file: it is WebP");
  says("BM1234567890123456", "BMP"), says("GIF89a", "GIF"), says("<!DOCTYPE html>", "text");
}
