// Reading and writing where paths lead to something else than a file, and text that is no text.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <functional>

#include "tessera/core/error.h"
#include "tessera/core/io/json.h"
#include "tessera/core/io/read_file.h"
#include "tessera/core/io/replace_file.h"
#include "tessera/core/io/tensor_file.h"
#include "tessera/core/io/text.h"
#include "tessera/train/data/digest.h"
#include "tessera/train/data/image.h"
#include "tessera/train/data/readers.h"
#include "tessera/train/data/set.h"
#include "tessera/train/data/tar.h"
#include "tessera/train/training/report_data.h"
#include "tests/unit/scratch.h"

namespace tessera::io {
namespace {

namespace fs = std::filesystem;

/// Everything a path can lead to that is no regular file.
std::vector<std::string> no_files(const Scratch& dir) {
  REQUIRE(::mkfifo((dir / "pipe").c_str(), 0600) == 0);
  REQUIRE(::symlink("pipe", (dir / "link").c_str()) == 0);
  const int s = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, (dir / "socket").c_str(), sizeof address.sun_path - 1);
  REQUIRE(::bind(s, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  ::close(s);
  fs::create_directory(dir / "folder");
  return {dir / "pipe", dir / "link", dir / "socket", dir / "folder", "/dev/zero", "/dev/null"};
}

TEST_CASE("files: every reader refuses what is no regular file, at once and in one line") {
  const Scratch dir;
  const std::function<void(const std::string&)> readers[] = {
      [](const std::string& p) { read_file(p); },
      [](const std::string& p) { read_json(p, limit::summary); },
      [](const std::string& p) { SafeTensors{p}; },
      [](const std::string& p) { data::read_file(p); },
      [](const std::string& p) { data::read_image(p); },
      [](const std::string& p) { data::file_digest(data::Digest::md5, p); },
      [](const std::string& p) { data::unpack_tar_gz(p, "top", "/nowhere"); },
      [](const std::string& p) { report::load(p); },
  };
  for (const std::string& path : no_files(dir))
    for (const auto& reader : readers) {
      CAPTURE(path);
      try {
        reader(path);
        FAIL("was read");
      } catch (const Error& e) {
        const std::string what = e.what();
        CHECK(what.find(path) != std::string::npos);
        CHECK(what.find("not a regular file") != std::string::npos);
        CHECK(what.find('\n') == std::string::npos);
      }
    }
}

TEST_CASE("files: data sets whose files are pipes are refused") {
  const Scratch dir;
  const auto pipe = [&](const std::string& name) {
    fs::create_directories(fs::path(dir / name).parent_path());
    REQUIRE(::mkfifo((dir / name).c_str(), 0600) == 0);
  };
  for (const char* name : {"f/a/1.png", "f/b/1.png", "c/data_batch_1.bin", "c/test_batch.bin"}) pipe(name);
  CHECK_THROWS_WITH_AS(data::open("imagefolder:" + dir / "f"), doctest::Contains("not a regular file"), Error);
  CHECK_THROWS_AS(data::open("cifar10:" + dir / "c"), Error);
  fs::create_directories(dir / "mnist");
  for (const char* name : {"train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"})
    pipe(std::string("mnist/") + name);
  CHECK_THROWS_AS(data::open("mnist", dir.path()), Error);
}

TEST_CASE("files: a file beyond its limit is refused before it is read") {
  const Scratch dir;
  replace_file(dir / "a", "");
  fs::resize_file(dir / "a", uintmax_t{1} << 40);  // takes no room on the disk
  CHECK_THROWS_WITH_AS(read_file(dir / "a", limit::recipe), doctest::Contains("larger than 1048576 bytes"), Error);
  CHECK_THROWS_WITH_AS(data::read_image(dir / "a"), doctest::Contains("the most"), Error);
}

TEST_CASE("files: what is missing is not to be created first") {
  const Scratch dir;
  for (const std::string& message : {explain_read(ENOENT), explain_read(EACCES)}) {
    CHECK(message.find("create the folder") == std::string::npos);
    CHECK(message.find("write to") == std::string::npos);
  }
  CHECK(explain(ENOENT).find("create the folder") != std::string::npos);
  for (const auto& reader : std::initializer_list<std::function<void(const std::string&)>>{
           [](const std::string& p) { read_file(p); }, [](const std::string& p) { SafeTensors{p}; },
           [](const std::string& p) { data::read_image(p); }}) {
    try {
      reader(dir / "none");
      FAIL("was read");
    } catch (const Error& e) {
      const std::string what = e.what();
      CHECK(what.find("check the path") != std::string::npos);
      CHECK(what.find("create") == std::string::npos);
    }
  }
}

TEST_CASE("replace_file: names of up to 255 bytes, also on file systems without nameless files") {
  const Scratch dir;
  for (const size_t n : {size_t{1}, size_t{99}, size_t{230}, size_t{241}, size_t{250}, size_t{255}}) {
    const std::string path = dir / std::string(n, 'x');
    CAPTURE(n);
    replace_file(path, "one");
    replace_file(path, "two");
    CHECK(read_file(path) == "two");
  }
  std::string accents;  // cut inside no letter
  while (accents.size() < 254) accents += "\u00e9";
  replace_file(dir / accents, "three");
  CHECK(read_file(dir / accents) == "three");
  CHECK(is_utf8(short_name("x" + accents)));
  CHECK(short_name("x" + accents).size() <= 100);
  CHECK(short_name("short") == "short");
  CHECK_THROWS_WITH_AS(replace_file(dir / std::string(256, 'x'), "x"), doctest::Contains("choose a shorter name"),
                       Error);
  CHECK(dir.files() == 7);
}

TEST_CASE("replace_file: temporaries of a killed process with the same number are not in the way") {
  const Scratch dir;
  // in a container every run may have the same process number
  for (int i = 0; i < 200; ++i) replace_file(dir / fmt::format(".a.tmp-{}-{}", ::getpid(), i), "left");
  replace_file(dir / "a", "new");
  CHECK(read_file(dir / "a") == "new");
}

TEST_CASE("replace_file: links stay and lead where they led; temporaries follow none") {
  const Scratch dir;
  REQUIRE(::symlink("target", (dir / "dangling").c_str()) == 0);
  replace_file(dir / "dangling", "one");
  CHECK(fs::is_symlink(dir / "dangling"));
  CHECK(read_file(dir / "target") == "one");
  REQUIRE(::symlink("loop", (dir / "loop").c_str()) == 0);
  CHECK_THROWS_WITH_AS(replace_file(dir / "loop", "x"), doctest::Contains("following the link"), Error);
  CHECK_THROWS_WITH_AS(read_file(dir / "loop"), doctest::Contains("leads to itself"), Error);
  replace_file(dir / "precious", "precious");
  for (int i = 0; i < 400; ++i)
    REQUIRE(::symlink("precious", (dir / fmt::format(".b.tmp-{}-{}", ::getpid(), i)).c_str()) == 0);
  replace_file(dir / "b", "two");
  CHECK(read_file(dir / "b") == "two");
  CHECK(read_file(dir / "precious") == "precious");
}

TEST_CASE("replace_file: a pipe that nobody reads is an error, not a wait") {
  const Scratch dir;
  REQUIRE(::mkfifo((dir / "pipe").c_str(), 0600) == 0);
  CHECK_THROWS_WITH_AS(replace_file(dir / "pipe", "x"), doctest::Contains("nobody reads"), Error);
  const int reader = ::open((dir / "pipe").c_str(), O_RDONLY | O_NONBLOCK);
  REQUIRE(reader >= 0);
  replace_file(dir / "pipe", "read");
  char got[5] = "";
  CHECK(::read(reader, got, 4) == 4);
  CHECK(std::string(got) == "read");
  ::close(reader);
}

TEST_CASE("text: UTF-8 or not") {
  for (const char* good : {"", "cat", "caf\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xf4\x8f\xbf\xbf", "\x7f"})
    CHECK_MESSAGE(is_utf8(good), printable(good));
  for (const char* bad : {"caf\xe9", "\xc3", "\xc3(", "\xe2\x82", "\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80",
                          "\xf4\x90\x80\x80", "\xff", "\xf8\x88\x80\x80\x80", "\x80"})
    CHECK_FALSE_MESSAGE(is_utf8(bad), printable(bad));
}

TEST_CASE("text: what steers a terminal is written out") {
  CHECK(printable("plain \u00e9 \"'<>&") == "plain \u00e9 \"'<>&");
  CHECK(printable("a\nb\tc") == "a\\nb\\tc");
  CHECK(printable("\x1b[31mred") == "\\x1b[31mred");
  CHECK(printable("caf\xe9") == "caf\\xe9");
  CHECK(printable("\xc2\x9b\x7f") == "\\u009b\\x7f");
  CHECK(printable("\u202eevil") == "\\u202eevil");
  CHECK(shown("\x1b" + std::string(500, 'x')).size() < 140);
  CHECK_THROWS_WITH_AS(check_text("here", "the name", "caf\xe9"), doctest::Contains("'caf\\xe9' is no UTF-8"), Error);
  CHECK_THROWS_WITH_AS(check_text("here", "the name", "a\nb"), doctest::Contains("'a\\nb' holds a control"), Error);
  check_text("here", "the name", "na\u00efve <b>\"&'");
}

TEST_CASE("json: depth, members, bytes and numbers are bounded") {
  const std::string deep(100'000, '[');
  CHECK_THROWS_WITH_AS(parse_json(deep, "x.json"), doctest::Contains("x.json: brackets nest 100000 deep"), Error);
  CHECK_THROWS_WITH_AS(parse_json(deep + std::string(100'000, ']'), "x"), doctest::Contains("64 is the most"), Error);
  std::string objects;
  for (int i = 0; i < 1000; ++i) objects += "{\"a\":";
  CHECK_THROWS_AS(parse_json(objects, "x"), Error);
  CHECK(parse_json("\"[[[[\\\"[[[\"", "x").get<std::string>() == "[[[[\"[[[");
  CHECK(nesting("[{\"a[\": [1]}]") == 3);
  std::string many = "{";
  for (int i = 0; i < 30'000; ++i) many += fmt::format("\"{}\":0,", i);
  CHECK_THROWS_WITH_AS(parse_json(many + "\"x\":0}", "x"), doctest::Contains("members"), Error);
  for (const char* bad : {"", "{", "[1,]", "{\"a\":1e999}", "nan", "[\"caf\xe9\"]", "1 2"})
    CHECK_THROWS_AS(parse_json(bad, "x"), Error);
  CHECK_THROWS_AS(parse_json(std::string("1\0 2", 4), "x"), Error);
  const auto j =
      parse_json(R"({"a": 7, "b": 1e19, "c": 7.0, "d": 18446744073709551615, "e": -1, "f": true, "g": "7"})", "x");
  CHECK(integer(j["a"], "a", 0, 10) == 7);
  for (const char* key : {"b", "c", "d", "e", "f", "g"}) CHECK_THROWS_AS(integer(j[key], key, 0, INT32_MAX), Error);
  CHECK(integer(j["e"], "e", -1, 0) == -1);
  CHECK(number(j["b"], "b") == 1e19);
  CHECK_THROWS_AS(number(j["b"], "b", 1e10), Error);
  CHECK_THROWS_AS(number(j["g"], "g"), Error);
}

TEST_CASE("safetensors: names and metadata that are no UTF-8 are refused, and nothing is written") {
  const Scratch dir;
  const float v = 1;
  const std::span bytes(reinterpret_cast<const char*>(&v), sizeof v);
  const TensorBytes good[] = {{"a", DType::f32, {1}, bytes}}, bad[] = {{"caf\xe9", DType::f32, {1}, bytes}},
                    negative[] = {{"a", DType::f32, {-1, -1}, bytes}};
  CHECK_THROWS_WITH_AS(write_safetensors(dir / "x", bad), doctest::Contains("'caf\\xe9' is no UTF-8"), Error);
  CHECK_THROWS_WITH_AS(write_safetensors(dir / "x", good, {{"k", "\xff"}}), doctest::Contains("no UTF-8"), Error);
  CHECK_THROWS_WITH_AS(write_safetensors(dir / "x", negative), doctest::Contains("extent of -1"), Error);
  CHECK(dir.files() == 0);
}

}  // namespace
}  // namespace tessera::io
