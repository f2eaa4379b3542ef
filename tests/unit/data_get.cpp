// `data get` against a small web server on loopback: whole, cut off and resumed, changed, hostile.
#include <doctest/doctest.h>
#include <sys/socket.h>

#include <atomic>
#include <cstring>
#include <map>
#include <mutex>

#include "tessera/core/error.h"
#include "tessera/core/rng.h"
#include "tessera/train/data/digest.h"
#include "tessera/train/data/get.h"
#include "tessera/train/data/public_sets.h"
#include "tessera/train/data/readers.h"
#include "tessera/train/data/tar.h"
#include "tests/unit/data_folder.h"
#include "tests/unit/data_gzip.h"
#include "tests/unit/data_loopback.h"

using namespace tessera;
using namespace tessera::data;
using test::gzip;

namespace {

// Answers GET of known files.
class Server {
 public:
  std::map<std::string, std::string> files;
  std::atomic<size_t> cut_after{~size_t{0}};  // bytes of body after which the connection drops
  std::atomic<bool> ranges{true};             // does it honour Range?

  std::string url() const { return loopback_.url(); }
  std::vector<std::string> seen() {  // "name from-byte" of each request
    std::lock_guard guard(lock_);
    return seen_;
  }

 private:
  void answer(int connection) {
    std::string request;
    char buffer[4096];
    while (request.find("\r\n\r\n") == std::string::npos) {
      const ssize_t n = ::recv(connection, buffer, sizeof buffer, 0);
      if (n <= 0) return;
      request.append(buffer, static_cast<size_t>(n));
    }
    const std::string name = request.substr(5, request.find(' ', 5) - 5);
    size_t from = 0;
    const size_t range = request.find("Range: bytes=");
    if (range != std::string::npos) from = std::stoul(request.substr(range + 13));
    {
      std::lock_guard guard(lock_);
      seen_.push_back(name + " " + std::to_string(from));
    }
    std::string head = "HTTP/1.1 200 OK\r\n", body;
    const auto file = files.find(name);
    if (file == files.end()) {
      head = "HTTP/1.1 404 Not Found\r\n";
    } else if (from > 0 && ranges && from >= file->second.size()) {
      head = "HTTP/1.1 416 Range Not Satisfiable\r\n";
    } else {
      const std::string& all = file->second;
      body = ranges ? all.substr(from) : all;
      if (from > 0 && ranges)
        head = "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes " + std::to_string(from) + "-" +
               std::to_string(all.size() - 1) + "/" + std::to_string(all.size()) + "\r\n";
    }
    head += "Content-Length: " + std::to_string(body.size()) + "\r\nConnection: close\r\n\r\n";
    if (body.size() > cut_after) body.resize(cut_after);
    const std::string reply = head + body;
    for (size_t done = 0; done < reply.size();) {
      const ssize_t n = ::send(connection, reply.data() + done, reply.size() - done, MSG_NOSIGNAL);
      if (n <= 0) return;
      done += static_cast<size_t>(n);
    }
  }

  std::mutex lock_;
  std::vector<std::string> seen_;
  test::Loopback loopback_{[this](int connection) { answer(connection); }};
};

struct Member {
  std::string name, content;
  char type = '0';
};

std::string tar(const std::vector<Member>& members) {
  std::string out;
  for (const Member& m : members) {
    std::string h(512, '\0');
    h.replace(0, m.name.size(), m.name);
    std::snprintf(h.data() + 100, 8, "%07o", 0644);
    std::snprintf(h.data() + 124, 12, "%011o", static_cast<unsigned>(m.content.size()));
    h[156] = m.type;
    std::memcpy(h.data() + 257,
                "ustar\0"
                "00",
                8);
    std::memset(h.data() + 148, ' ', 8);
    unsigned sum = 0;
    for (char c : h) sum += static_cast<unsigned char>(c);
    std::snprintf(h.data() + 148, 8, "%06o", sum);
    out += h + m.content + std::string((512 - m.content.size() % 512) % 512, '\0');
  }
  return out + std::string(1024, '\0');
}

std::string noise(size_t n, uint64_t seed) {  // does not shrink under gzip
  std::string s(n, '\0');
  for (size_t i = 0; i < n; ++i) s[i] = static_cast<char>(rng::Stream(seed).bits(i));
  return s;
}

std::string md5(const std::string& s) {
  return hex_digest(Digest::md5, {reinterpret_cast<const uint8_t*>(s.data()), s.size()});
}

std::string text(const std::string& path) {
  const auto bytes = read_file(path);
  return {bytes.begin(), bytes.end()};
}

size_t entries(const std::string& dir) {
  size_t n = 0;
  for ([[maybe_unused]] const auto& e : std::filesystem::directory_iterator(dir)) ++n;
  return n;
}

struct Fixture {
  test::Temporary dir;
  Server server;
  std::string content = noise(200'000, 1);
  std::string archive = gzip(tar({{"things/", "", '5'}, {"things/a.bin", content}, {"things/b.txt", "names\n"}}));
  PublicSet source{"things", "things", "a.bin", "", {{"things.tar.gz", md5(archive)}}, true, {}};
  Fixture() { server.files["things.tar.gz"] = archive; }
};

}  // namespace

TEST_CASE("digest: known values") {  // RFC 1321 and FIPS 180-4
  CHECK(md5("abc") == "900150983cd24fb0d6963f7d28e17f72");
  CHECK(Digest(Digest::sha256).add("abc").hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST_CASE("get: an archive is fetched, verified, laid out with its evidence; a second call does nothing") {
  Fixture f;
  int64_t last = 0, total = 0;
  const auto progress = [&](std::string_view file, int64_t done, int64_t all) {
    CHECK(file == "things.tar.gz");
    CHECK(done >= last);
    last = done, total = all;
    return true;
  };
  const std::string folder = get(f.source, f.dir.path(), progress, f.server.url());
  CHECK(folder == f.dir / "things");
  CHECK(last == static_cast<int64_t>(f.archive.size()));
  CHECK(total == last);
  CHECK(text(f.dir / "things/a.bin") == f.content);
  CHECK(text(f.dir / "things/b.txt") == "names\n");
  CHECK(entries(f.dir.path()) == 1);  // no part file, no archive, no temporary folder
  Folder reader(folder);
  reader.read("a.bin");
  CHECK(reader.official());
  CHECK(get(f.source, f.dir.path(), {}, f.server.url()) == folder);
  CHECK(f.server.seen().size() == 1);
  f.dir.write("things/a.bin", std::string("changed"));
  Folder changed(folder);
  changed.read("a.bin");
  CHECK_FALSE(changed.official());
}

TEST_CASE("get: a cut connection keeps its part and the next call goes on from it") {
  Fixture f;
  f.server.cut_after = 50'000;
  for (int i = 0; i < 3; ++i) {
    CHECK_THROWS_WITH_AS(get(f.source, f.dir.path(), {}, f.server.url()),
                         doctest::Contains("run the same command again"), Error);
    CHECK(std::filesystem::file_size(f.dir / "things.tar.gz.part") == static_cast<uintmax_t>(50'000 * (i + 1)));
    CHECK_FALSE(std::filesystem::exists(f.dir / "things"));
  }
  f.server.cut_after = ~size_t{0};
  get(f.source, f.dir.path(), {}, f.server.url());
  CHECK(text(f.dir / "things/a.bin") == f.content);
  const std::vector<std::string> expected{"things.tar.gz 0", "things.tar.gz 50000", "things.tar.gz 100000",
                                          "things.tar.gz 150000"};
  CHECK(f.server.seen() == expected);
}

TEST_CASE("get: a server without ranges, a complete part, a spoilt part") {
  SUBCASE("no ranges") {
    Fixture f;
    f.server.ranges = false;
    f.dir.write("things.tar.gz.part", f.archive.substr(0, 1000));
    get(f.source, f.dir.path(), {}, f.server.url());
    CHECK(text(f.dir / "things/a.bin") == f.content);
  }
  SUBCASE("complete") {
    Fixture f;
    f.dir.write("things.tar.gz.part", f.archive);
    get(f.source, f.dir.path(), {}, f.server.url());
    CHECK(text(f.dir / "things/a.bin") == f.content);
  }
  SUBCASE("spoilt") {
    Fixture f;
    f.dir.write("things.tar.gz.part", noise(70'000, 3));
    get(f.source, f.dir.path(), {}, f.server.url());
    CHECK(text(f.dir / "things/a.bin") == f.content);
    CHECK(f.server.seen().size() == 2);
  }
  SUBCASE("too long") {
    Fixture f;
    f.dir.write("things.tar.gz.part", f.archive + "more");
    get(f.source, f.dir.path(), {}, f.server.url());
    CHECK(text(f.dir / "things/a.bin") == f.content);
  }
}

TEST_CASE("get: stopping by the callback keeps the part") {
  Fixture f;
  CHECK_THROWS_WITH_AS(get(
                           f.source, f.dir.path(), [](auto, int64_t, int64_t) { return false; }, f.server.url()),
                       doctest::Contains("stopped"), Error);
  get(f.source, f.dir.path(), {}, f.server.url());
  CHECK(text(f.dir / "things/a.bin") == f.content);
}

TEST_CASE("get: what went wrong is said, and nothing is left that looks complete") {
  Fixture f;
  SUBCASE("wrong checksum") {
    f.server.files["things.tar.gz"][1000] ^= 1;
    CHECK_THROWS_WITH_AS(get(f.source, f.dir.path(), {}, f.server.url()),
                         doctest::Contains(f.source.remote[0].md5.c_str()), Error);
    CHECK(entries(f.dir.path()) == 0);
  }
  SUBCASE("not there") {
    f.server.files.clear();
    CHECK_THROWS_WITH_AS(get(f.source, f.dir.path(), {}, f.server.url()), doctest::Contains("404"), Error);
  }
  SUBCASE("nobody listens") {
    CHECK_THROWS_WITH_AS(get(f.source, f.dir.path(), {}, "http://127.0.0.1:1"), doctest::Contains("127.0.0.1"), Error);
  }
  SUBCASE("another protocol") { CHECK_THROWS_AS(get(f.source, f.dir.path(), {}, "file:///etc"), Error); }
  SUBCASE("a folder in the way") {
    f.dir.write("things/other", std::string("x"));
    CHECK_THROWS_WITH_AS(get(f.source, f.dir.path(), {}, f.server.url()), doctest::Contains("move it away"), Error);
  }
  SUBCASE("no right to write") {
    CHECK_THROWS_AS(get(f.source, f.dir.write("file", std::string("x")) + "/below", {}, f.server.url()), Error);
  }
  SUBCASE("unknown name") { CHECK_THROWS_WITH_AS(get("cifar11", f.dir.path()), doctest::Contains("cifar10"), Error); }
  SUBCASE("archive of another shape") {
    f.server.files["things.tar.gz"] = gzip(tar({{"things/../../evil", "x"}}));
    f.source.remote[0].md5 = md5(f.server.files["things.tar.gz"]);
    CHECK_THROWS_WITH_AS(get(f.source, f.dir.path(), {}, f.server.url()), doctest::Contains("hostile"), Error);
    CHECK_FALSE(std::filesystem::exists(f.dir / "things"));
    CHECK(entries(f.dir.path()) == 1);  // the verified archive
  }
}

TEST_CASE("get: single files") {
  Fixture f;
  f.server.files = {{"x.gz", "first"}, {"y.gz", "second"}};
  PublicSet source{"pair", "pair", "x", "", {{"x.gz", md5("first")}, {"y.gz", md5("second")}}, false, {}};
  CHECK(get(source, f.dir.path(), {}, f.server.url() + "/") == f.dir / "pair");
  CHECK(text(f.dir / "pair/x.gz") == "first");
  CHECK(text(f.dir / "pair/y.gz") == "second");
  CHECK(entries(f.dir.path()) == 1);
}

TEST_CASE("unpack: hostile and damaged archives") {
  test::Temporary dir;
  const auto unpack = [&](const std::string& bytes, uint64_t limit = 1 << 20) {
    unpack_tar_gz(dir.write("a.tar.gz", bytes), "top", dir / "out", limit);
  };
  const std::pair<Member, const char*> hostile[] = {
      {{"/etc/x", "x"}, "outside"},
      {{"../x", "x"}, "'../x'"},
      {{"top/../../x", "x"}, "hostile"},
      {{"other/x", "x"}, "outside"},
      {{"top/x", "", '2'}, "link"},
      {{"top/x", "", '1'}, "link"},
      {{"top/x", "", '3'}, "device"},
      {{"top", "x"}, "not a folder"},
      {{"", "x"}, "outside"},
      {{"./../top/x", "x"}, "hostile"},
      {{"top/x", std::string(2 << 20, 'x')}, "more than"},
  };
  for (const auto& entry : hostile) {  // clang before 16 captures no structured binding
    const auto& member = entry.first;
    const char* message = entry.second;
    CAPTURE(member.name);
    CHECK_THROWS_WITH_AS(unpack(gzip(tar({member}))), doctest::Contains(message), Error);
  }
  CHECK_FALSE(std::filesystem::exists(dir / "out"));
  const std::string good = tar({{"./top/x", "content"}, {"top/deep/y", "more"}});
  unpack(gzip(good));
  CHECK(text(dir / "out/x") == "content");
  CHECK(text(dir / "out/deep/y") == "more");
  const std::string packed = gzip(tar({{"top/x", noise(5000, 2)}}));
  for (size_t n : {size_t{0}, size_t{5}, size_t{30}, packed.size() / 2, packed.size() - 1}) {
    CAPTURE(n);
    CHECK_THROWS_AS(unpack(packed.substr(0, n)), Error);
  }
  std::string damaged = good;
  damaged[3] = 'q';
  CHECK_THROWS_WITH_AS(unpack(gzip(damaged)), doctest::Contains("damaged header"), Error);
  for (uint64_t n = 0; n < 500; ++n) {  // any change is an error or files below `out`
    const rng::Stream stream(n);
    std::string bad = good;
    for (uint64_t k = 0; k < 1 + n % 3; ++k) bad[stream.below(2 * k, 600)] = static_cast<char>(stream.bits(2 * k + 1));
    unsigned sum = 0;  // with a right checksum, so that the fields behind it are reached
    std::memset(bad.data() + 148, ' ', 8);
    for (size_t i = 0; i < 512; ++i) sum += static_cast<unsigned char>(bad[i]);
    if (n % 4) std::snprintf(bad.data() + 148, 8, "%06o", sum);
    try {
      unpack(gzip(bad));
    } catch (const Error&) {}
    REQUIRE(entries(dir.path()) == 2);
  }
  CHECK_THROWS_AS(unpack(noise(5000, 9)), Error);
  CHECK_THROWS_AS(unpack_tar_gz(dir / "none", "top", dir / "out"), Error);
}
