// PNG and JPEG files of every kind, and folders of them.
#include <doctest/doctest.h>
#include <png.h>

#include <cmath>
#include <cstring>

#include "tessera/core/error.h"
#include "tessera/core/rng.h"
#include "tessera/train/data/image.h"
#include "tessera/train/data/where.h"
#include "tests/unit/data_folder.h"
#include "tests/unit/data_jpeg.h"

using namespace tessera;
using namespace tessera::data;
using test::jpeg;
using test::Temporary;

namespace {

using Bytes = std::vector<uint8_t>;

// Smooth colours: JPEG keeps them.
Bytes gradient(int h, int w, int channels) {
  Bytes p;
  for (int y = 0; y < h; ++y)
    for (int x = 0; x < w; ++x)
      for (int c = 0; c < channels; ++c)
        p.push_back(static_cast<uint8_t>((c == 0 ? 200 * x / w : c == 1 ? 200 * y / h : 100 + 50 * x / w) + 20));
  return p;
}

Bytes png(int h, int w, uint32_t format, const void* pixels, const void* colours = nullptr, uint32_t entries = 0) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = static_cast<uint32_t>(w), image.height = static_cast<uint32_t>(h), image.format = format;
  image.colormap_entries = entries;
  png_alloc_size_t size = 0;
  REQUIRE(png_image_write_get_memory_size(image, size, 0, pixels, 0, colours));
  Bytes out(size);
  REQUIRE(png_image_write_to_memory(&image, out.data(), &size, 0, pixels, 0, colours));
  out.resize(size);
  return out;
}

double worst(const Bytes& a, const Bytes& b) {
  REQUIRE(a.size() == b.size());
  double most = 0;
  for (size_t i = 0; i < a.size(); ++i) most = std::max(most, std::abs(a[i] - 1.0 * b[i]));
  return most;
}

}  // namespace

TEST_CASE("image: every kind of PNG becomes RGB") {
  Temporary dir;
  const int h = 6, w = 5;
  const Bytes rgb = gradient(h, w, 3);
  const auto read = [&](const Bytes& file) {
    const Image image = read_image(dir.write("x.png", file));
    CHECK(image.h == h);
    CHECK(image.w == w);
    return image.pixels;
  };
  CHECK(read(encode_png(h, w, 3, rgb)) == rgb);
  const Bytes grey = gradient(h, w, 1);
  Bytes grey3, rgba, palette_index;
  std::vector<uint16_t> deep;
  for (size_t i = 0; i < grey.size(); ++i) {
    grey3.insert(grey3.end(), 3, grey[i]);
    rgba.insert(rgba.end(), &rgb[3 * i], &rgb[3 * i] + 3);
    rgba.push_back(static_cast<uint8_t>(1 + 8 * i));  // alpha is dropped, not blended
    palette_index.push_back(static_cast<uint8_t>(i % 3));
  }
  CHECK(read(encode_png(h, w, 1, grey)) == grey3);
  CHECK(read(png(h, w, PNG_FORMAT_RGBA, rgba.data())) == rgb);
  const uint8_t colours[9] = {1, 2, 3, 40, 50, 60, 200, 100, 0};
  Bytes painted;
  for (uint8_t i : palette_index) painted.insert(painted.end(), colours + 3 * i, colours + 3 * i + 3);
  CHECK(read(png(h, w, PNG_FORMAT_RGB_COLORMAP, palette_index.data(), colours, 3)) == painted);
  // 16 bits are cut to their upper 8, though libpng's writer notes a gamma (data_orientation.cpp has every kind)
  const std::vector<uint16_t> linear(static_cast<size_t>(h * w), 14'150);
  CHECK(read(png(h, w, PNG_FORMAT_LINEAR_Y, linear.data())) == Bytes(static_cast<size_t>(h * w * 3), 14'150 >> 8));
}

TEST_CASE("image: JPEG in colour, grey and CMYK") {
  Temporary dir;
  const int h = 24, w = 17;
  const Bytes rgb = gradient(h, w, 3), grey = gradient(h, w, 1);
  CHECK(worst(read_image(dir.write("a.jpg", jpeg(h, w, 3, JCS_RGB, rgb))).pixels, rgb) <= 12);
  Bytes grey3, cmyk;
  for (size_t i = 0; i < grey.size(); ++i) {
    grey3.insert(grey3.end(), 3, grey[i]);
    cmyk.insert(cmyk.end(), &rgb[3 * i], &rgb[3 * i] + 3);
    cmyk.push_back(255);  // no black, inverted as Adobe does
  }
  CHECK(worst(read_image(dir.write("b.jpg", jpeg(h, w, 1, JCS_GRAYSCALE, grey))).pixels, grey3) <= 6);
  CHECK(worst(read_image(dir.write("c.jpg", jpeg(h, w, 4, JCS_CMYK, cmyk))).pixels, rgb) <= 12);
}

TEST_CASE("image: damaged and hostile files are named") {
  Temporary dir;
  const Bytes good_png = encode_png(20, 20, 3, gradient(20, 20, 3)),
              good_jpeg = jpeg(20, 20, 3, JCS_RGB, gradient(20, 20, 3));
  for (const Bytes& good : {good_png, good_jpeg}) {
    for (size_t n = 1; n < good.size() - 12; n += 7) {
      CAPTURE(n);
      const std::string path = dir.write("cut", Bytes(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(n)));
      CHECK_THROWS_WITH_AS(read_image(path), doctest::Contains(path.c_str()), Error);
    }
    // any change is an error or a picture, never a crash
    for (uint64_t n = 0; n < 300; ++n) {
      const rng::Stream stream(n);
      Bytes bad = good;
      for (uint64_t k = 0; k < 1 + n % 4; ++k)
        bad[stream.below(2 * k, static_cast<uint32_t>(bad.size()))] = static_cast<uint8_t>(stream.bits(2 * k + 1));
      try {
        const Image image = read_image(dir.write("bad", bad));
        CHECK(image.pixels.size() == static_cast<size_t>(image.h) * static_cast<size_t>(image.w) * 3);
      } catch (const Error&) {}
    }
  }
  CHECK_THROWS_WITH_AS(read_image(dir.write("text", std::string("hello"))), doctest::Contains("neither"), Error);
  CHECK_THROWS_WITH_AS(read_image(dir.write("empty", std::string())), doctest::Contains("is empty"), Error);
  CHECK_THROWS_WITH_AS(read_image(dir / "none"), doctest::Contains("No such file"), Error);
  // a header that promises 60000 x 60000 pixels
  Bytes bomb = good_jpeg;
  for (size_t i = 0; i + 9 < bomb.size(); ++i)
    if (bomb[i] == 0xff && bomb[i + 1] == 0xc0) std::memcpy(&bomb[i + 5], "\xea\x60\xea\x60", 4);
  CHECK_THROWS_WITH_AS(read_image(dir.write("bomb", bomb)), doctest::Contains("60000x60000"), Error);
}

TEST_CASE(
    "image: a JPEG file of which libjpeg would make up a part is damaged; bytes too many before a marker are not") {
  Temporary dir;
  const int side = 40;
  const Bytes pixels = gradient(side, side, 3), good = jpeg(side, side, 3, JCS_RGB, pixels),
              restarts = jpeg(side, side, 3, JCS_RGB, pixels, {}, false, 1);
  const auto marker = [](const Bytes& bytes, int code, int nth = 0) {
    for (size_t i = 0; i + 1 < bytes.size(); ++i)
      if (bytes[i] == 0xff && bytes[i + 1] == code && nth-- == 0) return static_cast<std::ptrdiff_t>(i);
    return std::ptrdiff_t{-1};
  };
  const auto damaged = [&](const char* what, const Bytes& bytes) {
    CAPTURE(what);
    CHECK_THROWS_WITH_AS(read_image(dir.write("bad.jpg", bytes)), doctest::Contains("is a damaged JPEG file"), Error);
  };
  const std::ptrdiff_t scan = marker(good, 0xda) + 14;  // behind the header of the scan
  REQUIRE(scan > 14);
  Bytes ones = good;  // no code begins with sixteen ones; 0xff is written with a 0 behind it
  for (size_t i = static_cast<size_t>(scan) + 8; i + 2 < good.size(); i += 2) ones[i] = 0xff, ones[i + 1] = 0;
  damaged("no code", ones);
  REQUIRE(marker(restarts, 0xd1) > 0);
  Bytes order = restarts;
  order[static_cast<size_t>(marker(restarts, 0xd1)) + 1] = 0xd5;
  damaged("a marker that is not its turn", order);
  Bytes gap = good;
  gap.erase(gap.begin() + scan + 8, gap.begin() + scan + 40);
  damaged("a gap", gap);
  CHECK(read_image(dir.write("restarts.jpg", restarts)).pixels == read_image(dir.write("a.jpg", good)).pixels);
  for (const size_t extra : {1, 2, 1403}) {  // as some cameras and hosts write them
    Bytes padded = good;
    padded.insert(padded.end() - 2, extra, 0);
    CHECK(read_image(dir.write("padded.jpg", padded)).pixels == read_image(dir / "a.jpg").pixels);
    padded = good;
    padded.insert(padded.begin() + marker(good, 0xdb), extra, 0);
    CHECK(read_image(dir.write("padded.jpg", padded)).pixels == read_image(dir / "a.jpg").pixels);
  }
}

TEST_CASE("image: fit keeps constants and ramps, cuts the middle") {
  Image flat{30, 50, 3, Bytes(30 * 50 * 3, 77)};
  const Image small = fit(flat, 8);
  CHECK(small.h == 8);
  CHECK(small.w == 8);
  for (uint8_t v : small.pixels) REQUIRE(v == 77);
  // a horizontal ramp of 2 a pixel, halved: 4 a pixel, pixel centres at 2x + 0.5
  Image ramp{16, 64, 1, {}};
  for (int y = 0; y < 16; ++y)
    for (int x = 0; x < 64; ++x) ramp.pixels.push_back(static_cast<uint8_t>(2 * x));
  const Image half = fit(ramp, 8);  // 8 x 32, columns 12 to 19
  for (int x = 0; x < 8; ++x) CHECK(std::abs(half.pixels[static_cast<size_t>(x)] - (4 * (x + 12) + 1)) <= 1);
  const Image same = fit(Image{4, 4, 3, gradient(4, 4, 3)}, 4);
  CHECK(same.pixels == gradient(4, 4, 3));
  CHECK(fit(Image{3, 2, 1, gradient(3, 2, 1)}, 9).pixels.size() == 81);
  // a frame that is no square: of its own size nothing changes, of twice that rows 0 to 15 are kept whole
  CHECK(fit(Image{4, 6, 3, gradient(4, 6, 3)}, 4, 6).pixels == gradient(4, 6, 3));
  const Image halved = fit(ramp, 8, 32);  // all 64 columns, halved
  CHECK(halved.h == 8);
  for (int x = 1; x < 31; ++x) CHECK(std::abs(halved.pixels[static_cast<size_t>(x)] - (4 * x + 1)) <= 1);
  // to a size that is not square: halved to 8 x 32, of which 8 x 20 are kept, columns 6 to 25; enlarged until the width is covered
  const Image wide = fit(ramp, 8, 20);
  REQUIRE(wide.pixels.size() == 8 * 20);
  for (int x = 0; x < 20; ++x) CHECK(std::abs(wide.pixels[static_cast<size_t>(x)] - (4 * (x + 6) + 1)) <= 1);
  const Image tall = fit(flat, 60, 20);
  CHECK(tall.h == 60);
  CHECK(tall.w == 20);
  for (uint8_t v : tall.pixels) REQUIRE(v == 77);
  CHECK_THROWS_AS(fit(flat, 8, 0), Error);
  // a hair, of which all but the middle would be cut off: 2 * 10^8 rows if made whole
  Image hair{1'000'000, 1, 1, std::vector<uint8_t>(1'000'000, 50)};
  for (int y = 499'990; y < 500'010; ++y) hair.pixels[static_cast<size_t>(y)] = 200;
  for (uint8_t v : fit(hair, 224).pixels) REQUIRE(v == 200);
}

TEST_CASE("imagefolder: what write_folder wrote is read back") {
  Temporary dir;
  const TrainTest where = open("where:border", "", {.seed = 1, .train_size = 12, .test_size = 6});
  write_folder(where, dir / "set");
  const TrainTest back = open("imagefolder:" + dir / "set");
  CHECK(back.train.size() == 12);
  CHECK(back.test.size() == 6);
  CHECK(back.note.empty());
  CHECK(back.train.class_names == std::vector<std::string>{"blue", "red"});  // sorted
  size_t found = 0;
  for (size_t i = 0; i < 12; ++i)
    for (size_t j = 0; j < 12; ++j)
      if (std::memcmp(back.train.image(i), where.train.image(j), back.train.bytes()) == 0) {
        ++found;
        CHECK(back.train.class_names[static_cast<size_t>(back.train.label(i))] ==
              where.train.class_names[static_cast<size_t>(where.train.label(j))]);
      }
  CHECK(found == 12);
  CHECK_THROWS_WITH_AS(write_folder(where, dir / "set"), doctest::Contains("not an empty folder"), Error);
}

TEST_CASE("imagefolder: one level is split and says so; val is fine; sizes, names and emptiness are checked") {
  Temporary dir;
  const auto picture = [&](const std::string& name, int h, int w) {
    dir.write(name, encode_png(h, w, 3, gradient(h, w, 3)));
  };
  for (int i = 0; i < 20; ++i) {
    picture("one/cat/" + std::to_string(i) + ".png", 8, 8);
    picture("one/dog/" + std::to_string(i) + ".PNG", 8, 8);
  }
  dir.write("one/cat/notes.txt", std::string("not a picture"));
  dir.write("one/cat/.hidden.png", std::string("not one either"));
  const TrainTest one = open("imagefolder:" + dir / "one");
  CHECK(one.train.size() == 32);
  CHECK(one.test.size() == 8);
  CHECK(one.test.histogram() == std::vector<int64_t>{4, 4});
  CHECK(one.note.find("80/20") != std::string::npos);

  picture("two/train/a/1.png", 8, 8);
  picture("two/train/b/1.png", 8, 8);
  CHECK_THROWS_WITH_AS(open("imagefolder:" + dir / "two"), doctest::Contains("neither test nor val"), Error);
  picture("two/val/a/1.png", 8, 8);
  CHECK_THROWS_WITH_AS(open("imagefolder:" + dir / "two"), doctest::Contains("val/b holds no PNG"), Error);
  picture("two/val/b/1.png", 8, 9);
  CHECK_THROWS_WITH_AS(open("imagefolder:" + dir / "two"), doctest::Contains("val/b/1.png is 9x8 pixels"), Error);
  CHECK(open("imagefolder:" + dir / "two", "", {.img_size = 6}).test.h == 6);
  picture("two/val/c/1.png", 8, 8);
  CHECK_THROWS_WITH_AS(open("imagefolder:" + dir / "two"), doctest::Contains("'c'"), Error);

  dir.write("three/a/1.png", std::string("\x89PNG\r\n\x1a\nbroken"));
  picture("three/b/1.png", 8, 8);
  CHECK_THROWS_WITH_AS(open("imagefolder:" + dir / "three"), doctest::Contains("three/a/1.png is a damaged PNG"),
                       Error);
  picture("four/a/1.png", 8, 8);
  CHECK_THROWS_WITH_AS(open("imagefolder:" + dir / "four"), doctest::Contains("1 class folders"), Error);
  CHECK_THROWS_WITH_AS(open("imagefolder:" + dir / "none"), doctest::Contains("not a folder"), Error);
  CHECK_THROWS_WITH_AS(open("imagefolder:"), doctest::Contains("imagefolder:DIR"), Error);
}
