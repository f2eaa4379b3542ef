// imagefolder: which folder is which split, what is read of it and what is said of the rest; names of classes; what the sets are
// checked for.
#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>

#include "tessera/core/error.h"
#include "tessera/train/data/image.h"
#include "tessera/train/data/readers.h"
#include "tessera/train/training/splits.h"
#include "tests/unit/data_folder.h"

using namespace tessera;
using namespace tessera::data;
using test::Temporary;

namespace {

namespace fs = std::filesystem;

DataConfig sizes(int train, int val) {
  DataConfig c;
  c.train_size = train, c.val_size = val;
  return c;
}

struct Pictures {
  Temporary dir;
  void picture(const std::string& name, int grey = 100) const {
    const std::vector<uint8_t> pixels(8 * 8 * 3, static_cast<uint8_t>(grey));
    dir.write(name, encode_png(8, 8, 3, pixels));
  }
  void split(const std::string& name, int n, int grey) const {
    for (const char* label : {"a", "b"})
      for (int i = 0; i < n; ++i) picture(name + "/" + label + "/" + std::to_string(i) + ".png", grey);
  }
  TrainTest open() const { return data::open("imagefolder:" + dir.path()); }
  Splits splits(DataConfig c = {}) const {
    c.name = "imagefolder:" + dir.path();
    return open_splits(c);
  }
};

}  // namespace

TEST_CASE("imagefolder: train, val and test are what they are called") {
  const Pictures p;
  p.split("train", 3, 10), p.split("val", 2, 20), p.split("test", 1, 30);
  const TrainTest n = p.open();
  CHECK(n.train.size() == 6);
  CHECK(n.val.size() == 4);
  CHECK(n.test.size() == 2);
  CHECK(n.val.image(0)[0] == 20);
  CHECK(n.test.image(0)[0] == 30);
  CHECK(n.note.empty());
  const Splits s = p.splits();
  CHECK(s.val->size() == 4);
  CHECK(dynamic_cast<const Set&>(*s.val).image(3)[0] == 20);
  CHECK(s.test->size() == 2);
  CHECK(s.val->class_names == s.train->class_names);
  CHECK(s.val->normalisation().mean == s.train->normalisation().mean);
  CHECK_THROWS_WITH_AS(p.splits(sizes(0, 2)), doctest::Contains("data.val_size=2 must be 0"), Error);
  CHECK(p.splits(sizes(4, 0)).train->size() == 4);
  CHECK(p.splits(sizes(4, 0)).val->size() == 4);
  CHECK_THROWS_WITH_AS(p.splits(sizes(7, 0)), doctest::Contains("not enough"), Error);
}

TEST_CASE("imagefolder: train and val alone are no test, and it is said") {
  const Pictures p;
  p.split("train", 3, 10), p.split("val", 2, 20);
  const TrainTest n = p.open();
  CHECK(n.val.size() == 4);
  CHECK(n.test.size() == 0);
  CHECK(n.note.find("val is the validation split, and nothing is tested") != std::string::npos);
  CHECK(p.splits().test == nullptr);
}

TEST_CASE("imagefolder: train and test alone have no validation but what val_size holds out") {
  const Pictures p;
  p.split("train", 3, 10), p.split("test", 2, 20);
  CHECK(p.open().val.size() == 0);
  CHECK(p.open().note.empty());
  CHECK(p.splits(sizes(0, 2)).val->size() == 2);
  CHECK(p.splits(sizes(0, 2)).train->size() == 4);
}

TEST_CASE("imagefolder: folders that are not read are named") {
  const Pictures p;
  p.split("train", 1, 10), p.split("test", 1, 20), p.split("validation", 1, 30), p.split(".cache", 1, 30);
  CHECK(p.open().note == "not read: validation (train, val and test are)");
  const Pictures q;
  q.split("val", 1, 10), q.split("training", 1, 20);
  CHECK_THROWS_WITH_AS(q.open(), doctest::Contains("no train folder"), Error);
}

TEST_CASE("imagefolder: pictures are read at any depth, what is none is counted by kind") {
  const Pictures p;
  p.split("train", 2, 10), p.split("test", 1, 20);
  p.picture("train/a/deep/er/x.png", 11), p.picture("train/a/0-first/y.PNG", 12), p.picture("train/b/.git/z.png"),
      p.picture("train/b/._0.png"), p.picture("train/loose.png");
  for (const char* name : {"train/a/1.webp", "train/a/deep/2.webp", "train/b/3.WebP", "test/b/4.bmp", "train/a/notes"})
    p.dir.write(name, std::string("x"));
  const TrainTest n = p.open();
  CHECK(n.train.size() == 6);
  CHECK(n.train.image(2)[0] == 12);  // a folder's own pictures, then those of its folders, sorted
  CHECK(n.train.image(3)[0] == 11);
  CHECK(
      n.note.find("7 of 15 files skipped: 3 webp, 1 beside the class folders, 1 bmp, 1 hidden, 1 without extension") !=
      std::string::npos);
  p.dir.write("test/c/1.webp", std::string("x"));
  fs::create_directories(p.dir / "train/c");
  CHECK_THROWS_WITH_AS(p.open(), doctest::Contains("train/c holds no PNG or JPEG file"), Error);
  p.picture("train/c/1.png");
  CHECK_THROWS_WITH_AS(p.open(), doctest::Contains("test/c holds no PNG or JPEG file, but 1 webp"), Error);
}

TEST_CASE("imagefolder: links are followed, but not in circles") {
  const Pictures p;
  p.split("train", 1, 10), p.split("test", 1, 20), p.split("elsewhere", 2, 30);
  fs::create_directory_symlink("../../elsewhere/a", p.dir / "train/a/more");
  CHECK(p.open().train.size() == 4);
  fs::create_directory_symlink("..", p.dir / "train/b/up");
  CHECK_THROWS_WITH_AS(p.open(), doctest::Contains("leads back"), Error);
}

TEST_CASE("imagefolder: class folders whose names cannot stand in a file are refused before a picture is read") {
  for (const char* name : {"caf\xe9", "two\nlines", "\x1b[31mred", "\xc3"}) {
    const Pictures p;
    for (const char* split : {"train/", "test/"}) {
      p.picture(std::string(split) + "a/1.png");
      p.dir.write(split + std::string(name) + "/1.png", std::string("not looked at"));
    }
    CHECK_THROWS_WITH_AS(p.open(), doctest::Contains("rename it"), Error);
  }
  const Pictures p;
  const std::string odd = "<b>\"&'\\ caf\u00e9, =1+1";
  for (const char* split : {"train/", "test/"})
    p.picture(std::string(split) + "a/1.png"), p.picture(split + odd + "/1.png");
  CHECK(p.open().train.class_names == std::vector<std::string>{odd, "a"});
  CHECK_THROWS_WITH_AS(data::open("imagefolder:caf\xe9"), doctest::Contains("no UTF-8"), Error);
  DataConfig c;
  c.name = "where", c.dir = "caf\xe9";
  CHECK_THROWS_WITH_AS(open_splits(c), doctest::Contains("no UTF-8"), Error);
}

TEST_CASE("assemble: pixels, labels, sizes and names fit each other") {
  const auto make = [](int images, int label, size_t extra = 0) {
    return Samples{2, 2, 1, std::vector<uint8_t>(static_cast<size_t>(images) * 4 + extra),
                   Index(static_cast<size_t>(images), label)};
  };
  const auto sets = [&](Samples train, Samples test, std::vector<std::string> names = {"x", "y"}, Samples val = {}) {
    return assemble("made", std::move(train), std::move(test), std::move(names), "", false, std::move(val));
  };
  CHECK(sets(make(3, 1), make(1, 0)).train.size() == 3);
  CHECK(sets(make(3, 1), {}, {"x", "y"}, make(2, 0)).val.size() == 2);
  CHECK_THROWS_AS(sets({}, make(1, 0)), Error);
  CHECK_THROWS_AS(sets(make(1, 0), {}), Error);
  for (const size_t extra : {size_t{1}, size_t{4}})
    CHECK_THROWS_WITH_AS(sets(make(3, 1, extra), make(1, 0)), doctest::Contains("bytes of pixels"), Error);
  CHECK_THROWS_WITH_AS(sets(make(3, 2), make(1, 0)), doctest::Contains("training image 0 has label 2"), Error);
  CHECK_THROWS_WITH_AS(sets(make(3, 1), make(1, -1)), doctest::Contains("test image 0 has label -1"), Error);
  CHECK_THROWS_WITH_AS(sets(make(3, 1), {}, {"x", "y"}, make(1, 9)), doctest::Contains("validation image 0"), Error);
  CHECK_THROWS_AS(sets(make(3, 0), make(1, 0), {}), Error);
  CHECK_THROWS_WITH_AS(sets(make(3, 0), make(1, 0), {"caf\xe9"}), doctest::Contains("no UTF-8"), Error);
  Samples short_rows = make(3, 1);
  short_rows.pixels.resize(5);
  CHECK_THROWS_AS(sets(short_rows, make(1, 0)), Error);
}

TEST_CASE("write_folder: stopped, nothing is left; what a killed process left is removed, what is in use is not") {
  const Temporary dir;
  const TrainTest where = data::open("where", "", {.train_size = 8, .test_size = 4});
  int asked = 0;
  CHECK_THROWS_WITH_AS(write_folder(where, dir / "set", [&] { return ++asked > 5; }), doctest::Contains("stopped"),
                       Error);
  CHECK(fs::is_empty(dir.path()));
  dir.write(".set.tmp-999999/train/left/0.png", std::string("x"));  // of a process that is no more
  dir.write(".set.tmp-mine/notes", std::string("x"));               // somebody's own
  dir.write(".other.tmp-999999/x", std::string("x"));
  write_folder(where, dir / "set");
  CHECK(fs::exists(dir / "set/train"));
  CHECK_FALSE(fs::exists(dir / ".set.tmp-999999"));
  CHECK(fs::exists(dir / ".set.tmp-mine/notes"));
  CHECK(fs::exists(dir / ".other.tmp-999999"));
  const std::string longest(255, 'x');
  write_folder(where, dir / longest);
  CHECK(fs::exists(dir / (longest + "/test")));
}
