// A run directory that came from elsewhere: nothing outside of it is written, nothing of a person in it is removed.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tessera/train/training/run_folder.h"
#include "tests/unit/run_bed.h"

namespace tessera::test {
namespace fs = std::filesystem;

TEST_CASE("a lock is never taken through a link, a pipe or somebody's file") {
  const Scratch scratch;
  const std::string victim = scratch / "victim", folder = scratch / "run";
  fs::create_directory(folder);
  io::replace_file(victim, std::string_view("precious data"));
  const std::string lock = folder + "/.lock";
  const auto refused = [&] {
    CHECK_THROWS_WITH_AS(io::Lock{folder}, doctest::Contains("move it away"), Error);
    CHECK(fs::exists(fs::symlink_status(lock)));
    CHECK(bytes(victim) == "precious data");
    fs::remove(lock);
  };
  fs::create_symlink("../victim", lock);
  refused();
  fs::create_symlink("../not there", lock);
  refused();
  CHECK_FALSE(exists(scratch / "not there"));
  fs::create_hard_link(victim, lock);
  refused();
  fs::create_directory(lock);
  refused();
  REQUIRE(mkfifo(lock.c_str(), 0600) == 0);
  refused();
  io::replace_file(lock, std::string_view("a list of my locks"));
  CHECK_THROWS_AS(io::Lock{folder}, Error);
  CHECK(bytes(lock) == "a list of my locks");
  for (const char* left : {"", "proc", "process 1 on there since then\n"}) {  // of one that was killed
    io::replace_file(lock, std::string_view(left));
    { const io::Lock taken(folder); }
    CHECK_FALSE(exists(lock));
  }
  {
    const io::Lock taken(folder);
    fs::remove(lock);
    io::replace_file(lock, std::string_view("another's"));
  }
  CHECK(bytes(lock) == "another's");
}

TEST_CASE("a resume refuses files of a run that are links or pipes, and what they point to stays") {
  const Scratch scratch;
  const std::string dir = scratch / "run", victim = scratch / "victim";
  train_run(tiny(1), dir, false);
  for (const RunFile& file : run_files()) {
    const std::string name(file.name), path = dir + "/" + name;
    CAPTURE(name);
    const std::string good = exists(path) ? bytes(path) : "";
    io::replace_file(victim, good);
    for (const bool pipe : {false, true}) {
      fs::remove(path);
      if (pipe) {
        REQUIRE(mkfifo(path.c_str(), 0600) == 0);
      } else {
        fs::create_symlink("../victim", path);
      }
      CHECK_THROWS_WITH_AS(train_run(tiny(2), dir, true), doctest::Contains(name.c_str()), Error);
      CHECK(bytes(victim) == good);
    }
    fs::remove(path);
    if (!good.empty()) io::replace_file(path, good);
  }
  CHECK(train_run(tiny(1), dir, true).finished);
}

TEST_CASE("only what replace_file itself may have left is removed from a run directory") {
  const Scratch scratch;
  const std::string dir = scratch / "run";
  train_run(tiny(1), dir, false);
  const char* theirs[] = {".notes.tmp-mine", ".notes.tmp-1-2",    ".last.ckpt.tmp-mine", ".last.ckpt.tmp-1-",
                          ".tmp-1-2",        "last.ckpt.tmp-1-2", ".last.ckpt.tmp-1-2x", "..tmp-1-2"};
  std::vector<std::string> ours{".last.ckpt.tmp-123-0"};
  for (const RunFile& file : run_files()) ours.push_back("." + std::string(file.name) + ".tmp-9-17");
  for (const char* name : theirs) io::replace_file(dir + "/" + name, std::string_view("x"));
  for (const std::string& name : ours) io::replace_file(dir + "/" + name, std::string_view("x"));
  fs::create_symlink("../elsewhere", dir + "/.best.ckpt.tmp-4-4");
  train_run(tiny(1), dir, true);
  for (const char* name : theirs) CHECK_MESSAGE(exists(dir + "/" + name), name);
  for (const std::string& name : ours) CHECK_FALSE_MESSAGE(exists(dir + "/" + name), name);
  CHECK(fs::is_symlink(dir + "/.best.ckpt.tmp-4-4"));
  fs::create_directory(scratch / "new");
  io::replace_file(scratch / "new/.notes.tmp-mine", std::string_view("x"));
  CHECK_THROWS_WITH_AS(train_run(tiny(1), scratch / "new", false), doctest::Contains("exists"), Error);
  fs::create_directory(scratch / "left");
  for (const std::string& name : ours) io::replace_file(scratch / "left/" + name, std::string_view("x"));
  CHECK_NOTHROW(RunFolder(scratch / "left", false));  // nothing but what was left: as good as empty
  CHECK(fs::is_empty(scratch / "left"));
}

}  // namespace tessera::test
