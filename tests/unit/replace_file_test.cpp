#include "tessera/core/io/replace_file.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "tessera/core/error.h"
#include "tessera/core/io/lock.h"
#include "tests/unit/scratch.h"

namespace tessera::io {
namespace {

TEST_CASE("replace_file: creates, replaces, keeps the rights, follows links") {
  const Scratch dir;
  const std::string path = dir / "a";
  replace_file(path, "one");
  CHECK(read_file(path) == "one");
  REQUIRE(::chmod(path.c_str(), 0640) == 0);
  REQUIRE(::symlink("a", (dir / "link").c_str()) == 0);
  const std::string large(1'000'000, 'x');
  replace_file(dir / "link", large);
  CHECK(read_file(path) == large);
  struct stat info {};
  ::lstat((dir / "link").c_str(), &info);
  CHECK(S_ISLNK(info.st_mode));
  ::stat(path.c_str(), &info);
  CHECK((info.st_mode & 0777) == 0640);
  CHECK(dir.files() == 2);
}

TEST_CASE("replace_file: every call may fail; the old file stays and nothing is left behind") {
  const Scratch dir;
  const std::string path = dir / "a";
  replace_file(path, "old");
  for (const char* call : {"open", "write", "fsync", "link", "rename"}) {
    for (const int error : {ENOSPC, EIO, EACCES, EROFS}) {
      CAPTURE(call);
      inject_fault(call, 0, error);
      CHECK_THROWS_WITH_AS(replace_file(path, "new"), doctest::Contains(explain(error).c_str()), Error);
      inject_fault("", 0, 0);
      CHECK(read_file(path) == "old");
      CHECK(dir.files() == 1);
    }
  }
  inject_fault("folder", 0, EIO);  // too late for the old file, but it is said
  CHECK_THROWS_WITH_AS(replace_file(path, "new"), doctest::Contains("the new file is in place"), Error);
  CHECK(read_file(path) == "new");
}

TEST_CASE("replace_file: a write may fail at any byte") {
  const Scratch dir;
  const std::string path = dir / "a", bytes(200'000, 'x');
  for (uint64_t at : {uint64_t{0}, uint64_t{1}, uint64_t{65'535}, uint64_t{65'536}, uint64_t{199'999}}) {
    inject_fault("write", at, ENOSPC);
    CHECK_THROWS_WITH_AS(replace_file(path, bytes), doctest::Contains(fmt::format("after {} bytes", at).c_str()),
                         Error);
    CHECK(dir.files() == 0);
  }
  inject_fault("write", 200'000, ENOSPC);
  replace_file(path, bytes);
  inject_fault("", 0, 0);
  CHECK(read_file(path) == bytes);
}

TEST_CASE("replace_file: what the writer throws passes through and undoes everything") {
  const Scratch dir;
  CHECK_THROWS_AS(replace_file(dir / "a", [](Sink&) { throw std::runtime_error("mine"); }), std::runtime_error);
  CHECK(dir.files() == 0);
}

TEST_CASE("replace_file: targets that cannot be") {
  const Scratch dir;
  CHECK_THROWS_WITH_AS(replace_file(dir.path(), "x"), doctest::Contains("Is a directory"), Error);
  CHECK_THROWS_WITH_AS(replace_file(dir / "no/such/a", "x"), doctest::Contains("No such file"), Error);
  CHECK_THROWS_WITH_AS(replace_file("", "x"), doctest::Contains("empty"), Error);
  CHECK_THROWS_WITH_AS(replace_file("/dev/full", "x"), doctest::Contains("No space left"),
                       Error);  // written, not replaced
  struct stat info {};
  CHECK(::stat("/dev/full", &info) == 0);
  CHECK(S_ISCHR(info.st_mode));
}

TEST_CASE("replace_file: death in the middle of a write leaves the old file") {
  const Scratch dir;
  const std::string path = dir / "a";
  replace_file(path, "old");
  const pid_t child = ::fork();
  if (child == 0) {
    inject_fault("write", 100'000, -1);
    replace_file(path, std::string(200'000, 'x'));
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  CHECK(WIFSIGNALED(status));
  CHECK(read_file(path) == "old");
}

TEST_CASE("read_file: errors and limit") {
  const Scratch dir;
  CHECK_THROWS_WITH_AS(read_file(dir / "none"), doctest::Contains("No such file"), Error);
  CHECK_THROWS_WITH_AS(read_file(dir.path()), doctest::Contains("Is a directory"), Error);
  replace_file(dir / "a", "12345");
  CHECK(read_file(dir / "a", 5) == "12345");
  CHECK_THROWS_WITH_AS(read_file(dir / "a", 4), doctest::Contains("larger than 4 bytes"), Error);
  CHECK(read_file("/proc/self/status").find("Pid:") != std::string::npos);  // its size is said to be 0
}

TEST_CASE("lock: one holder, who is named; free again at the end") {
  const Scratch dir;
  {
    const Lock lock(dir.path());
    const std::string me = fmt::format("process {} on", ::getpid());
    CHECK_THROWS_WITH_AS(Lock(dir.path()), doctest::Contains(me.c_str()), Error);
    CHECK_THROWS_WITH_AS(Lock(dir.path()), doctest::Contains("in use by"), Error);
  }
  CHECK(dir.files() == 0);
  const Lock again(dir.path());
  CHECK_THROWS_WITH_AS(Lock(dir / "none"), doctest::Contains("No such file"), Error);
}

}  // namespace
}  // namespace tessera::io
