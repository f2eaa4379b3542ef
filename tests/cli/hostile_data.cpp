// Data sets that are damaged, seen from the command line.
#include <filesystem>
#include <fstream>

#include "tessera/train/data/image.h"
#include "tests/cli/program.h"

namespace fs = std::filesystem;

namespace tessera::test {
namespace {

constexpr uintmax_t record = 3073, records = 10'000;

/// CIFAR-10's files with every byte 0 (label 0), as sparse files.
struct Cifar {
  Folder folder;
  std::string path = folder / "cifar-10-batches-bin";
  Cifar() {
    fs::create_directory(path);
    for (const char* name :
         {"data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"}) {
      const std::string file = path + "/" + name + ".bin";
      write(file, "");
      fs::resize_file(file, record * records);
    }
  }
  void poke(const std::string& file, uintmax_t at, char byte) const {
    std::fstream f(path + "/" + file, std::ios::in | std::ios::out | std::ios::binary);
    f.seekp(static_cast<std::streamoff>(at));
    f.put(byte);
    REQUIRE(f.good());
  }
  RunOptions environment() const { return {.env = {"TESSERA_DATA=" + folder.path()}}; }
};

void png(const std::string& path, int side) {
  const std::vector<uint8_t> pixels(static_cast<size_t>(side * side * 3), 100);
  const auto bytes = data::encode_png(side, side, 3, pixels);
  write(path, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

}  // namespace

TEST_CASE("a CIFAR file that is too short, and one with a wrong label byte") {
  const Cifar cifar;
  CHECK(tessera({"data", "info", "cifar10"}, cifar.environment()).code == 0);
  cifar.poke("data_batch_3.bin", 17 * record, 10);
  check_refused(tessera({"data", "info", "cifar10"}, cifar.environment()), 1, {"data_batch_3.bin", "17", "10"});
  cifar.poke("data_batch_3.bin", 17 * record, 9);
  fs::resize_file(cifar.path + "/test_batch.bin", record * records - 1);
  check_refused(tessera({"data", "info", "cifar10"}, cifar.environment()), 1, {"test_batch.bin"});
  check_refused(tessera({"train", "--data", "cifar10", "--out", cifar.folder / "run"}, cifar.environment()), 1,
                {"test_batch.bin"});
  CHECK_FALSE(exists(cifar.folder / "run"));
}

TEST_CASE("cifar10:DIR trains, is evaluated and described; what is wrong with its files is one line") {
  const Folder folder;
  const std::string part = folder / "part", train = part + "/data_batch_1.bin", test = part + "/test_batch.bin";
  fs::create_directory(part);
  for (const auto& [file, n] : {std::pair{train, 20}, {test, 12}}) {
    write(file, "");
    fs::resize_file(file, record * static_cast<uintmax_t>(n));
  }
  const std::string spec = "cifar10:" + part, run = folder / "run";
  const char* counts = "20 training and 12 test images; the official cifar10 has 50000 and 10000";
  const Result info = tessera({"data", "info", spec});
  CHECK(info.code == 0);
  CHECK(info.err.find(counts) != std::string::npos);
  CHECK(tessera({"data", "info", spec, "--json"}).out.find("\"official\":false") != std::string::npos);

  const Result trained = tessera({"train", "--data", spec, "--out", run, "--epochs", "1", "--threads", "1", "depth=1",
                                  "embed_dim=16", "num_heads=2", "data.val_size=15"});
  INFO(trained.err);
  REQUIRE(trained.code == 0);
  CHECK(trained.err.find(counts) != std::string::npos);
  CHECK(read(run + "/summary.json").find("\"official\": false") != std::string::npos);
  // another set is not cut as the run's own was: 15 of 10 images cannot be held out
  fs::resize_file(train, record * 10);
  fs::create_directory(folder / "other");
  fs::copy(part, folder / "other");
  const Result other = tessera({"eval", "--run", run, "--data", "cifar10:" + (folder / "other")});
  CHECK(other.code == 0);
  CHECK(other.out.find("12 images") != std::string::npos);
  CHECK(other.err.find("holds 10 training and 12 test images") != std::string::npos);

  const auto refused = [&](const std::vector<std::string>& facts) {
    check_refused(tessera({"data", "info", spec}), 1, facts);
    check_refused(tessera({"train", "--data", spec, "--out", folder / "none"}), 1, facts);
    check_refused(tessera({"eval", "--run", run, "--data", spec}), 1, facts);
    CHECK_FALSE(exists(folder / "none"));
  };
  fs::resize_file(train, record * 10 - 1);
  refused({"data_batch_1.bin", "30729 bytes"});
  fs::resize_file(train, 0);
  refused({"data_batch_1.bin", "empty"});
  write(train, std::string(record, '\x0a'));
  refused({"data_batch_1.bin", "record 0", "label byte 10"});
  write(train, std::string(record, '\0'));
  fs::remove(test);
  refused({"no test_batch.bin"});
  fs::remove_all(part);
  refused({part, "no folder"});
}

TEST_CASE("a set that is nowhere: where it looked, and how to get it") {
  const Folder folder;
  RunOptions options{.env = {"TESSERA_DATA=" + folder.path()}, .folder = folder.path()};
  check_refused(tessera({"train", "--data", "cifar10"}, options), 1, {folder.path(), "tessera data get cifar10"});
  check_refused(tessera({"data", "info", "cifar11"}, options), 2, {"cifar11", "cifar10"});
  CHECK(folder.list().empty());
}

TEST_CASE("an image folder with a PNG of another size, and one that is no PNG") {
  const Folder folder;
  for (const char* split : {"train", "test"})
    for (const char* label : {"a", "b"}) {
      fs::create_directories(folder / (std::string(split) + "/" + label));
      png(folder / (std::string(split) + "/" + label + "/0.png"), 8);
    }
  const std::string spec = "imagefolder:" + folder.path();
  CHECK(tessera({"data", "info", spec}).code == 0);
  png(folder / "train/b/1.png", 9);
  check_refused(tessera({"data", "info", spec}), 1, {"train/b/1.png", "9", "8"});
  const std::string whole = read(folder / "train/a/0.png");
  write(folder / "train/b/1.png", std::string_view(whole).substr(0, whole.size() / 2));
  check_refused(tessera({"data", "info", spec}), 1, {"train/b/1.png"});
  write(folder / "train/b/1.png", "no picture");
  check_refused(tessera({"data", "info", spec}), 1, {"train/b/1.png"});
}

TEST_CASE("data make where writes an image folder that data info reads") {
  const Folder folder;
  const Result made = tessera({"data", "make", "where:quadrant", "--out", folder / "where"});
  INFO(made.err);
  REQUIRE(made.code == 0);
  const Result info = tessera({"data", "info", "imagefolder:" + (folder / "where"), "--json"});
  CHECK(info.code == 0);
  CHECK(info.out.find("\"classes\":4") != std::string::npos);
  check_refused(tessera({"data", "make", "where:quadrant", "--out", folder / "where"}), 1, {"where"});
  check_refused(tessera({"data", "make", "cifar10", "--out", folder / "c"}), 2, {"cifar10", "where"});
  check_refused(tessera({"data", "make", "where:quadrent", "--out", folder / "c"}), 2, {"quadrent", "quadrant"});
  RunOptions full;
  full.env = {"TESSERA_FAULT=write:200000:ENOSPC"};
  check_refused(tessera({"data", "make", "where:quadrant", "--out", folder / "half"}, full), 1, {"half", "space"});
  CHECK_FALSE(exists(folder / "half"));
  for (const auto& name : folder.list()) CHECK(name.find("half") == std::string::npos);
}

}  // namespace tessera::test
