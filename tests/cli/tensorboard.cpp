// The file that TensorBoard reads: framing and checksums against known ones, bytes against TensorBoard's own writer, and a run that is trained.
#include <fmt/format.h>

#include <filesystem>

#include "tessera/train/report/event_file.h"
#include "tests/cli/program.h"

namespace tessera::test {
namespace {

using report::crc32c;

std::string repeated(char c) { return std::string(32, c); }

/// How many records there are; -1 if a checksum or a length is wrong.
int records(const std::string& file) {
  int n = 0;
  for (size_t at = 0; at < file.size(); ++n) {
    if (file.size() - at < 16) return -1;
    uint64_t length = 0;
    for (size_t i = 0; i < 8; ++i) length |= static_cast<uint64_t>(static_cast<uint8_t>(file[at + i])) << 8 * i;
    if (length > file.size() - at - 16) return -1;
    if (report::event_record(file.substr(at + 12, length)) != file.substr(at, length + 16)) return -1;
    at += length + 16;
  }
  return n;
}

}  // namespace

TEST_CASE("tensorboard: checksums are those of RFC 3720, appendix B.4") {
  CHECK(crc32c("") == 0);
  CHECK(crc32c("123456789") == 0xe3069283);
  CHECK(crc32c(repeated('\0')) == 0x8a9136aa);
  CHECK(crc32c(repeated('\xff')) == 0x62a8ab43);
  std::string up, down;
  for (int i = 0; i < 32; ++i) up += static_cast<char>(i), down.insert(down.begin(), static_cast<char>(i));
  CHECK(crc32c(up) == 0x46dd794e);
  CHECK(crc32c(down) == 0x113fdb5c);
}

TEST_CASE("tensorboard: the events of a run are, to the byte, those of TensorBoard's own writer") {
  const Folder folder;
  const std::string run = folder / "run";
  std::filesystem::create_directories(run);
  write(run + "/config.toml", "[train]\nseed = 1\n");
  write(run + "/metrics.jsonl",
        "{\"epoch\":1,\"step\":10,\"split\":\"train\",\"loss\":2.25,\"acc1\":0.125,\"lr\":0.001,\"images_per_s\":1000."
        "5,\"seconds\":1.5}\n"
        "{\"epoch\":1,\"step\":10,\"split\":\"val\",\"loss\":2.0,\"acc1\":0.3125,\"lr\":0.001,\"images_per_s\":3000,"
        "\"seconds\":2.5}\n"
        "{\"epoch\":2,\"step\":300,\"split\":\"train\",\"loss\":1.1,\"acc1\":0.7,\"lr\":0.0005,\"images_per_s\":990,"
        "\"seconds\":4}\n"
        "{\"epoch\":2,\"step\":300,\"split\":\"test\",\"loss\":1.2,\"acc1\":0.65,\"lr\":0.0005,\"images_per_s\":3000,"
        "\"seconds\":4.5}\n");
  const Result r = tessera({"report", run, "--tensorboard"});
  INFO(r.err);
  REQUIRE(r.code == 0);
  CHECK(read(run + "/" + report::event_file) ==
        read(std::string(TESSERA_SOURCE_DIR) + "/tests/golden/data/events.tfevents"));
}

TEST_CASE("tensorboard: a run writes while it trains what the report writes afterwards, and goes on in it") {
  const Folder folder;
  const std::string run = folder / "run", file = run + "/" + report::event_file;
  REQUIRE(tessera(tiny_run(run, {"--tensorboard", "--epochs", "2"})).code == 0);
  const std::string trained = read(file);
  CHECK(records(trained) > 3);
  std::filesystem::remove(file);
  REQUIRE(tessera({"report", run, "--tensorboard"}).code == 0);
  CHECK(read(file) == trained);
  // more epochs: the test of the first end is gone from metrics.jsonl, and from here
  REQUIRE(tessera({"train", "--resume", run, "--epochs", "3", "--tensorboard"}).code == 0);
  CHECK(records(read(file)) > records(trained));
  // where it cannot be written the run goes on, and says so at its end
  const std::string other = folder / "other";
  std::filesystem::create_directories(other);
  REQUIRE(tessera(tiny_run(other + "/run")).code == 0);
  std::filesystem::create_directory(other + "/run/" + report::event_file);
  check_refused(tessera({"report", other + "/run", "--tensorboard"}), 1, {"[tensorboard]", "no regular file"});
}

}  // namespace tessera::test
