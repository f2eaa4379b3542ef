// Readers of idx files, and where sets are looked for: what is right is read right, what is wrong is named.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>

#include "tessera/core/error.h"
#include "tessera/core/rng.h"
#include "tessera/train/data/public_sets.h"
#include "tessera/train/data/readers.h"
#include "tests/unit/data_folder.h"
#include "tests/unit/data_gzip.h"

using namespace tessera;
using namespace tessera::data;
using test::gzip;
using test::Temporary;

namespace {

// Sets or removes an environment variable until the end of the scope.
class Environment {
 public:
  Environment(const char* name, const char* value) : name_(name) {
    if (const char* old = std::getenv(name)) old_ = old, had_ = true;
    value ? setenv(name, value, 1) : unsetenv(name);
  }
  ~Environment() { had_ ? setenv(name_, old_.c_str(), 1) : unsetenv(name_); }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

 private:
  const char* name_;
  std::string old_;
  bool had_ = false;
};

std::string idx(const std::vector<uint32_t>& extents, const std::string& payload, uint8_t type = 8) {
  std::string s{'\0', '\0', static_cast<char>(type), static_cast<char>(extents.size())};
  for (uint32_t e : extents)
    for (int shift = 24; shift >= 0; shift -= 8) s += static_cast<char>(e >> shift);
  return s + payload;
}

// Three training and two test pictures of 2 x 3.
void small_mnist(const Temporary& dir, const std::string& suffix = "") {
  auto put = [&](const std::string& name, const std::string& bytes) {
    dir.write("mnist/" + name + suffix, suffix.empty() ? bytes : gzip(bytes));
  };
  std::string pixels(18, '\0');
  for (size_t i = 0; i < 18; ++i) pixels[i] = static_cast<char>(10 * i);
  put("train-images-idx3-ubyte", idx({3, 2, 3}, pixels));
  put("train-labels-idx1-ubyte", idx({3}, {4, 9, 0}));
  put("t10k-images-idx3-ubyte", idx({2, 2, 3}, pixels.substr(0, 12)));
  put("t10k-labels-idx1-ubyte", idx({2}, {1, 2}));
}

}  // namespace

TEST_CASE("mnist: idx files, plain and gzipped, give the same set") {
  Temporary plain, packed;
  small_mnist(plain);
  small_mnist(packed, ".gz");
  const TrainTest a = open("mnist", plain.path()), b = open("mnist", packed.path());
  CHECK(a.train.size() == 3);
  CHECK(a.test.size() == 2);
  CHECK(a.train.h == 2);
  CHECK(a.train.w == 3);
  CHECK(a.train.channels == 1);
  CHECK(a.train.label(1) == 9);
  CHECK(a.train.image(1)[0] == 60);
  CHECK(*a.train.pixels == *b.train.pixels);
  CHECK(a.train.digest == b.train.digest);
  CHECK_FALSE(b.train.official);
  CHECK_FALSE(a.train.keeps_label(Augmentation::flip));
  CHECK(a.train.keeps_label(Augmentation::crop));
}

TEST_CASE("mnist: whatever is wrong with an idx file is said") {
  Temporary dir;
  small_mnist(dir);
  const std::string images = "mnist/train-images-idx3-ubyte", labels = "mnist/train-labels-idx1-ubyte";
  const std::string pixels(18, 'x');
  const std::pair<std::string, const char*> bad[] = {
      {idx({3, 2, 3}, pixels, 9), "starts with bytes 00 00 09 03"},
      {idx({3, 6}, pixels), "starts with bytes 00 00 08 02"},
      {idx({3, 2, 3}, pixels.substr(1)), "holds 17 bytes after its header, but the header says 18"},
      {idx({3, 2, 3}, pixels + "x"), "holds 19 bytes"},
      {idx({2, 3, 3}, pixels), "2 images but 3 labels"},
      {idx({0, 2, 3}, ""), "holds nothing"},
      {idx({0xffffffff, 0xffffffff, 0xffffffff}, pixels), "header is damaged"},
      {idx({90'000'000, 90'000'000, 2}, pixels), "header is damaged"},
      {std::string("\0\0\x08\x03", 4), "too few"},
      {"", "is empty"},
  };
  for (const auto& [bytes, expected] : bad) {
    const std::string message = expected;  // clang before 16 captures no structured binding
    CAPTURE(message);
    dir.write(images, bytes);
    CHECK_THROWS_WITH_AS(open("mnist", dir.path()), doctest::Contains(message.c_str()), Error);
  }
  small_mnist(dir);
  dir.write(labels, idx({3}, {1, 10, 2}));
  CHECK_THROWS_WITH_AS(open("mnist", dir.path()), doctest::Contains("label 1 is 10"), Error);
  small_mnist(dir);
  dir.write("mnist/t10k-images-idx3-ubyte", idx({2, 3, 2}, pixels.substr(0, 12)));
  CHECK_THROWS_WITH_AS(open("mnist", dir.path()), doctest::Contains("2x3x1 but test images 3x2x1"), Error);
}

TEST_CASE("mnist: any change of a byte is an error or a set of the right size") {
  Temporary dir;
  small_mnist(dir);
  const auto good = read_file(dir / "mnist/train-images-idx3-ubyte");
  for (uint64_t n = 0; n < 1000; ++n) {
    const rng::Stream stream(n);
    auto bad = good;
    for (uint64_t k = 0; k < 1 + n % 3; ++k)
      bad[stream.below(2 * k, 20)] = static_cast<uint8_t>(stream.bits(2 * k + 1));
    dir.write("mnist/train-images-idx3-ubyte", bad);
    try {
      const TrainTest data = open("mnist", dir.path());
      REQUIRE(data.train.size() == 3);
      REQUIRE(data.train.pixels->size() == 3 * data.train.bytes());
    } catch (const Error&) {}
  }
}

TEST_CASE("mnist: damaged gzip") {
  Temporary dir;
  small_mnist(dir, ".gz");
  const std::string labels = "mnist/train-labels-idx1-ubyte.gz";
  const std::string good = gzip(idx({3}, {1, 2, 3}));
  dir.write(labels, good.substr(0, good.size() - 9));
  CHECK_THROWS_WITH_AS(open("mnist", dir.path()), doctest::Contains("cut off"), Error);
  dir.write(labels, good.substr(0, 5));
  CHECK_THROWS_WITH_AS(open("mnist", dir.path()), doctest::Contains("cut off"), Error);
  std::string changed = good;
  changed[good.size() - 6] ^= 1;  // its checksum
  dir.write(labels, changed);
  CHECK_THROWS_WITH_AS(open("mnist", dir.path()), doctest::Contains("no valid gzip"), Error);
  dir.write(labels, std::string("not gzip at all"));
  CHECK_THROWS_WITH_AS(open("mnist", dir.path()), doctest::Contains("no valid gzip"), Error);
  dir.write(labels, gzip(std::string(200 << 20, '\0')));
  CHECK_THROWS_WITH_AS(open("mnist", dir.path()), doctest::Contains("unpacks to more than"), Error);
}

TEST_CASE("open: where sets are looked for, and what is said when they are nowhere") {
  Temporary a, b;
  small_mnist(b);
  const Environment none("TESSERA_DATA", nullptr);
  CHECK_THROWS_WITH_AS(open("mnist", a.path()), doctest::Contains((a / "mnist").c_str()), Error);
  CHECK_THROWS_WITH_AS(open("mnist", a.path()),
                       doctest::Contains("./data/mnist; fetch it with: tessera data get mnist"), Error);
  CHECK_FALSE(available("mnist", a.path()));
  const Environment set("TESSERA_DATA", b.path().c_str());
  CHECK(available("mnist", a.path()));
  CHECK(open("mnist", a.path()).train.size() == 3);
  CHECK(open("mnist").train.size() == 3);
  CHECK(available("where"));
  CHECK_THROWS_WITH_AS(open("cifar"), doctest::Contains("cifar10"), Error);
  CHECK_THROWS_WITH_AS(open(""), doctest::Contains("data set"), Error);
  CHECK_THROWS_WITH_AS(open("mnist:3"), doctest::Contains("--data-dir"), Error);
}

TEST_CASE("real Fashion-MNIST: counts, labels, statistics") {
  if (!std::getenv("TESSERA_DATA") || !available("fashion-mnist")) {
    MESSAGE("skipped: no Fashion-MNIST in $TESSERA_DATA");
    return;
  }
  const TrainTest data = open("fashion-mnist");
  for (int64_t n : data.train.histogram()) CHECK(n == 6000);
  for (int64_t n : data.test.histogram()) CHECK(n == 1000);
  CHECK(std::abs(static_cast<double>(data.train.stats.mean[0]) - 0.2860) < 1e-4);
  CHECK(std::abs(static_cast<double>(data.train.stats.std[0]) - 0.3530) < 1e-4);
}
