// Readers of CIFAR files: what is right is read right, what is wrong is named.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>

#include "tessera/core/error.h"
#include "tessera/train/data/public_sets.h"
#include "tessera/train/data/readers.h"
#include "tests/unit/data_folder.h"

using namespace tessera;
using namespace tessera::data;
using test::Temporary;

namespace {

void overwrite(const std::string& path, uint64_t at, const std::vector<uint8_t>& bytes) {
  std::fstream f(path, std::ios::binary | std::ios::in | std::ios::out);
  f.seekp(static_cast<std::streamoff>(at));
  f.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

// An empty CIFAR-10 of the right sizes: all labels 0, all pixels black.
void black_cifar10(const Temporary& dir) {
  for (int i = 1; i <= 5; ++i) dir.zeros("cifar-10-batches-bin/data_batch_" + std::to_string(i) + ".bin", 30'730'000);
  dir.zeros("cifar-10-batches-bin/test_batch.bin", 30'730'000);
}

}  // namespace

TEST_CASE("cifar10: planar records become channels-last pixels, in file order") {
  Temporary dir;
  black_cifar10(dir);
  // record 10,002 of the training set: label 7, red 1..., green 101..., blue 201...
  std::vector<uint8_t> record(3073, 0);
  record[0] = 7;
  for (size_t i = 0; i < 50; ++i) {
    record[1 + i] = static_cast<uint8_t>(1 + i);
    record[1 + 1024 + i] = static_cast<uint8_t>(101 + i);
    record[1 + 2048 + i] = static_cast<uint8_t>(201 + i);
  }
  overwrite(dir / "cifar-10-batches-bin/data_batch_2.bin", 2 * 3073, record);
  const TrainTest data = open("cifar10", dir.path());
  CHECK(data.train.size() == 50'000);
  CHECK(data.test.size() == 10'000);
  CHECK(data.classes == 10);
  CHECK(data.train.class_names[7] == "horse");
  CHECK(data.train.label(10'002) == 7);
  CHECK(data.train.label(10'001) == 0);
  const uint8_t* p = data.train.image(10'002);
  for (size_t i = 0; i < 50; ++i)
    for (size_t c = 0; c < 3; ++c) REQUIRE(p[3 * i + c] == 1 + 100 * c + i);
  CHECK(p[150] == 0);
  CHECK_FALSE(data.train.official);
  // statistics by definition: 50 red values 1..50 among 50,000 x 1024
  const double n = 50'000.0 * 1024, sum = 50 * 51 / 2.0, squares = 50 * 51 * 101 / 6.0;
  CHECK(static_cast<double>(data.train.stats.mean[0]) == doctest::Approx(sum / n / 255));
  CHECK(static_cast<double>(data.test.stats.std[0]) ==
        doctest::Approx(std::sqrt(squares / n - (sum / n) * (sum / n)) / 255));
}

TEST_CASE("cifar10: short, long, empty, missing, mislabelled files are named") {
  Temporary dir;
  black_cifar10(dir);
  const std::string third = dir / "cifar-10-batches-bin/data_batch_3.bin";
  SUBCASE("short") {
    std::filesystem::resize_file(third, 30'729'999);
    CHECK_THROWS_WITH_AS(open("cifar10", dir.path()),
                         doctest::Contains("data_batch_3.bin has 30729999 bytes, 30730000"), Error);
  }
  SUBCASE("whole records missing") {
    std::filesystem::resize_file(third, 30'730'000 - 3073);
    CHECK_THROWS_WITH_AS(open("cifar10", dir.path()),
                         doctest::Contains("data_batch_3.bin holds 9999 records, 10000 are right"), Error);
    CHECK_THROWS_WITH_AS(open("cifar10", dir.path()),
                         doctest::Contains(("cifar10:" + (dir / "cifar-10-batches-bin")).c_str()), Error);
  }
  SUBCASE("long") {
    std::filesystem::resize_file(third, 30'730'001);
    CHECK_THROWS_AS(open("cifar10", dir.path()), Error);
  }
  SUBCASE("empty") {
    std::filesystem::resize_file(third, 0);
    CHECK_THROWS_WITH_AS(open("cifar10", dir.path()), doctest::Contains("is empty"), Error);
  }
  SUBCASE("missing") {
    std::filesystem::remove(third);
    CHECK_THROWS_WITH_AS(open("cifar10", dir.path()), doctest::Contains("data_batch_3.bin: No such file"), Error);
  }
  SUBCASE("a folder instead") {
    std::filesystem::remove(third);
    std::filesystem::create_directory(third);
    CHECK_THROWS_WITH_AS(open("cifar10", dir.path()), doctest::Contains("not a regular file"), Error);
  }
  SUBCASE("label 10") {
    overwrite(third, 4321 * 3073, {10});
    CHECK_THROWS_WITH_AS(open("cifar10", dir.path()),
                         doctest::Contains("data_batch_3.bin: record 4321 has label byte 10"), Error);
  }
}

TEST_CASE("cifar10:DIR: any number of records, and what is official is said") {
  Temporary dir;
  dir.zeros("data_batch_1.bin", 3 * 3073);
  dir.zeros("data_batch_4.bin", 3073);
  dir.zeros("test_batch.bin", 2 * 3073);
  overwrite(dir / "data_batch_4.bin", 0, {9, 77});
  const std::string spec = "cifar10:" + dir.path();
  SUBCASE("read in the order of the files") {
    dir.write("tessera-verified.txt", std::string("no digest of these files"));
    const TrainTest data = open(spec);
    CHECK(data.train.size() == 4);
    CHECK(data.test.size() == 2);
    CHECK(data.classes == 10);
    CHECK(data.train.class_names[9] == "truck");
    CHECK(data.train.label(2) == 0);
    CHECK(data.train.label(3) == 9);
    CHECK(data.train.image(3)[0] == 77);
    CHECK_FALSE(data.train.official);
    CHECK(data.note == dir.path() + " holds 4 training and 2 test images; the official cifar10 has 50000 and 10000");
    CHECK(available(spec));
    CHECK(data.train.keeps_label(Augmentation::flip));
  }
  SUBCASE("names that say which part it is") {
    std::filesystem::rename(dir / "data_batch_1.bin", dir / "data_batch_1_first3.bin");
    std::filesystem::rename(dir / "test_batch.bin", dir / "test_batch_first2.bin");
    dir.zeros("data_batch_10.bin", 7);  // none of the set's
    const TrainTest data = open(spec);
    CHECK(data.train.size() == 4);
    CHECK(data.train.label(3) == 9);
    CHECK(data.test.size() == 2);
    dir.zeros("test_batch_first1.bin", 3073);
    CHECK_THROWS_WITH_AS(open(spec), doctest::Contains("test_batch_first1.bin, test_batch_first2.bin could all stand"),
                         Error);
    dir.zeros("test_batch.bin", 3073);  // the official name wins
    CHECK(open(spec).test.size() == 1);
  }
  SUBCASE("a set that is whole is not official either: nothing was verified against the publisher") {
    for (const char* file : {"data_batch_1.bin", "data_batch_4.bin", "test_batch.bin"})
      std::filesystem::resize_file(dir / file, 30'730'000);
    CHECK_FALSE(open(spec).train.official);
  }
  SUBCASE("not a whole number of records") {
    for (const uintmax_t bytes : {uintmax_t{1}, uintmax_t{3072}, uintmax_t{3074}, uintmax_t{2 * 3073 - 1}}) {
      std::filesystem::resize_file(dir / "data_batch_1.bin", bytes);
      const std::string says = "data_batch_1.bin has " + std::to_string(bytes) + " bytes, which is no whole number";
      CHECK_THROWS_WITH_AS(open(spec), doctest::Contains(says.c_str()), Error);
    }
  }
  SUBCASE("an empty file") {
    std::filesystem::resize_file(dir / "test_batch.bin", 0);
    CHECK_THROWS_WITH_AS(open(spec), doctest::Contains("test_batch.bin is empty"), Error);
  }
  SUBCASE("more than any cut of it could hold") {
    std::filesystem::resize_file(dir / "test_batch.bin", uintmax_t{3073} * 1'000'001);
    CHECK_THROWS_WITH_AS(open(spec), doctest::Contains("1000001 records"), Error);
  }
  SUBCASE("a wrong label byte") {
    overwrite(dir / "test_batch.bin", 3073, {10});
    CHECK_THROWS_WITH_AS(open(spec), doctest::Contains("test_batch.bin: record 1 has label byte 10"), Error);
  }
  SUBCASE("no test file") {
    std::filesystem::remove(dir / "test_batch.bin");
    CHECK_THROWS_WITH_AS(open(spec), doctest::Contains("holds no test_batch.bin"), Error);
  }
  SUBCASE("no training file") {
    std::filesystem::remove(dir / "data_batch_1.bin");
    std::filesystem::remove(dir / "data_batch_4.bin");
    CHECK_THROWS_WITH_AS(open(spec), doctest::Contains("holds no data_batch_1.bin"), Error);
  }
  SUBCASE("no such folder, and none named") {
    CHECK_THROWS_WITH_AS(open(spec + "/none"), doctest::Contains("there is no folder"), Error);
    CHECK_THROWS_WITH_AS(open(spec + "/test_batch.bin"), doctest::Contains("there is no folder"), Error);
    CHECK_THROWS_WITH_AS(open("cifar10:"), doctest::Contains("cifar10:DIR"), Error);
    CHECK_FALSE(available(spec + "/none"));
    CHECK_FALSE(available("cifar10:"));
  }
}

TEST_CASE("cifar100:DIR: two label bytes") {
  Temporary dir;
  dir.zeros("train.bin", 3 * 3074);
  dir.zeros("test.bin", 3074);
  overwrite(dir / "train.bin", 2 * 3074, {19, 99, 5});
  const std::string spec = "cifar100:" + dir.path();
  const TrainTest data = open(spec);
  CHECK(data.train.size() == 3);
  CHECK(data.classes == 100);
  CHECK(data.train.label(2) == 99);
  CHECK(data.train.image(2)[0] == 5);
  CHECK(data.note.ends_with("holds 3 training and 1 test images; the official cifar100 has 50000 and 10000"));
  overwrite(dir / "train.bin", 3074, {20, 0});
  CHECK_THROWS_WITH_AS(open(spec), doctest::Contains("record 1 has coarse label byte 20"), Error);
  std::filesystem::resize_file(dir / "train.bin", 3073);  // a record of CIFAR-10
  CHECK_THROWS_WITH_AS(open(spec), doctest::Contains("records of 3074 bytes"), Error);
  std::filesystem::remove(dir / "test.bin");
  CHECK_THROWS_WITH_AS(open(spec), doctest::Contains("holds no test.bin"), Error);
}

TEST_CASE("cifar100: the second byte is the label") {
  Temporary dir;
  dir.zeros("cifar-100-binary/train.bin", 50'000 * 3074);
  dir.zeros("cifar-100-binary/test.bin", 10'000 * 3074);
  overwrite(dir / "cifar-100-binary/train.bin", 17 * 3074, {19, 99, 5});
  SUBCASE("read") {
    std::string names;
    for (int i = 0; i < 100; ++i) names += "class" + std::to_string(i) + "\r\n";
    dir.write("cifar-100-binary/fine_label_names.txt", names);
    const TrainTest data = open("cifar100", dir / "cifar-100-binary");  // the folder itself is fine too
    CHECK(data.classes == 100);
    CHECK(data.train.size() == 50'000);
    CHECK(data.train.label(17) == 99);
    CHECK(data.train.image(17)[0] == 5);
    CHECK(data.train.class_names[99] == "class99");
  }
  SUBCASE("fine label 100") {
    overwrite(dir / "cifar-100-binary/test.bin", 3 * 3074, {0, 100});
    CHECK_THROWS_WITH_AS(open("cifar100", dir.path()), doctest::Contains("record 3 has label byte 100"), Error);
  }
  SUBCASE("coarse label 20") {
    overwrite(dir / "cifar-100-binary/test.bin", 3 * 3074, {20, 1});
    CHECK_THROWS_WITH_AS(open("cifar100", dir.path()), doctest::Contains("coarse label byte 20"), Error);
  }
}

TEST_CASE("real CIFAR-10: counts and labels") {
  if (!std::getenv("TESSERA_DATA") || !available("cifar10")) {
    MESSAGE("skipped: no CIFAR-10 in $TESSERA_DATA");
    return;
  }
  const TrainTest data = open("cifar10");
  for (int64_t n : data.train.histogram()) CHECK(n == 5000);
  for (int64_t n : data.test.histogram()) CHECK(n == 1000);
  CHECK(data.train.label(0) == 6);  // a frog comes first, a cat first of the test images
  CHECK(data.test.label(0) == 3);
  // the well-known statistics of the set; a lossy copy may differ by less than this
  const double mean[3] = {0.4914, 0.4822, 0.4465}, std[3] = {0.2470, 0.2435, 0.2616};
  for (size_t c = 0; c < 3; ++c) {
    CHECK(std::abs(static_cast<double>(data.train.stats.mean[c]) - mean[c]) < 0.003);
    CHECK(std::abs(static_cast<double>(data.train.stats.std[c]) - std[c]) < 0.006);
  }
}
