// `data get` against servers that never end: too slow, too much, too many redirections, and parts that are no files.
#include <doctest/doctest.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <functional>
#include <thread>

#include "tessera/core/error.h"
#include "tessera/train/data/get.h"
#include "tessera/train/data/public_sets.h"
#include "tests/unit/data_folder.h"
#include "tests/unit/data_loopback.h"

using namespace tessera;
using namespace tessera::data;

namespace {

using Clock = std::chrono::steady_clock;

/// Answers every request by `body(send)`, which sends until it is done or the other side has gone.
class Endless {
 public:
  using Send = std::function<bool(const std::string&)>;
  explicit Endless(std::function<void(const Send&)> body) : body_(std::move(body)) {}
  ~Endless() { over_ = true; }
  Endless(const Endless&) = delete;
  Endless& operator=(const Endless&) = delete;
  std::string url() const { return loopback_.url(); }

 private:
  void answer(int connection) const {
    char request[4096];
    if (::recv(connection, request, sizeof request, 0) > 0)
      body_([&](const std::string& s) {
        return !over_ && ::send(connection, s.data(), s.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(s.size());
      });
  }
  std::function<void(const Send&)> body_;
  std::atomic<bool> over_{false};
  test::Loopback loopback_{[this](int connection) { answer(connection); }};
};

const std::string head = "HTTP/1.1 200 OK\r\nConnection: close\r\n";

PublicSet things(int64_t bytes = 0) {
  return {"things", "things", "a.bin", "", {{"things.tar.gz", std::string(32, '0'), bytes}}, true, {}};
}

}  // namespace

TEST_CASE("get: a byte now and then is given up, by the default after half a minute") {
  CHECK(Patience().bytes_per_second >= 100);
  CHECK(Patience().seconds <= 60);
  CHECK(Patience().in_all <= 86'400);
  const test::Temporary dir;
  const Endless server([](const Endless::Send& send) {
    send(head + "Content-Length: 1000000\r\n\r\n");
    while (send("x")) std::this_thread::sleep_for(std::chrono::milliseconds(100));
  });
  const auto start = Clock::now();
  CHECK_THROWS_WITH_AS(get(things(), dir.path(), {}, server.url(), {.bytes_per_second = 1000, .seconds = 2}),
                       doctest::Contains("too slow"), Error);
  CHECK_THROWS_WITH_AS(get(things(), dir.path(), {}, server.url(), {.bytes_per_second = 1, .seconds = 60, .in_all = 1}),
                       doctest::Contains("run the same command again"), Error);
  CHECK(Clock::now() - start < std::chrono::seconds(30));
  CHECK(std::filesystem::exists(dir / "things.tar.gz.part"));
}

TEST_CASE("get: headers without end are given up, too") {
  const test::Temporary dir;
  const Endless server([](const Endless::Send& send) {
    send(head);
    while (send("X: y\r\n")) std::this_thread::sleep_for(std::chrono::milliseconds(100));
  });
  CHECK_THROWS_WITH_AS(get(things(), dir.path(), {}, server.url(), {.bytes_per_second = 1000, .seconds = 2}),
                       doctest::Contains("too slow"), Error);
}

TEST_CASE("get: a stream without end is larger than expected, and nothing is kept") {
  const test::Temporary dir;
  const std::string block(1 << 16, 'x');
  for (const char* length : {"", "Content-Length: 99999999999\r\n"}) {
    const Endless server([&](const Endless::Send& send) {
      send(head + length + "\r\n");
      while (send(block)) {}
    });
    CHECK_THROWS_WITH_AS(get(things(1'000'000), dir.path(), {}, server.url(), {}),
                         doctest::Contains("larger than expected: more than 2000000 bytes where 1000000 are right"),
                         Error);
    CHECK(std::filesystem::is_empty(dir.path()));
  }
}

TEST_CASE("get: every source says how large its files are") {
  for (const PublicSet& s : public_sets())
    for (const Remote& r : s.remote) CHECK_MESSAGE(r.bytes > 0, r.file);
}

TEST_CASE("get: a redirection that leads back to itself") {
  const test::Temporary dir;
  const Endless server([](const Endless::Send& send) {
    send("HTTP/1.1 302 Found\r\nLocation: /things.tar.gz\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
  });
  CHECK_THROWS_WITH_AS(get(things(), dir.path(), {}, server.url(), {}), doctest::Contains("redirect"), Error);
}

TEST_CASE("get: a part that is a link or a pipe is not written to") {
  const test::Temporary dir;
  dir.write("precious", std::string("precious"));
  const Endless server([](const Endless::Send& send) { send(head + "Content-Length: 1\r\n\r\nx"); });
  std::filesystem::create_symlink("precious", dir / "things.tar.gz.part");
  CHECK_THROWS_WITH_AS(get(things(), dir.path(), {}, server.url(), {}), doctest::Contains("things.tar.gz.part"), Error);
  CHECK(std::filesystem::file_size(dir / "precious") == 8);
  std::filesystem::remove(dir / "things.tar.gz.part");
  REQUIRE(::mkfifo((dir / "things.tar.gz.part").c_str(), 0600) == 0);
  CHECK_THROWS_AS(get(things(), dir.path(), {}, server.url(), {}), Error);
}
