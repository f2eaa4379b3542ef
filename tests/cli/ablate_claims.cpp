// Who works on which run of a study: claims, who is dead, and what a take-over leaves to whom.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>

#include "tessera/train/lab/claim.h"
#include "tessera/train/lab/study.h"
#include "tests/cli/waiting.h"

namespace tessera::test {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using nlohmann::json;

TEST_CASE("claims: one has it; who is dead is told by what stands still, not by any clock") {
  const Folder folder;
  lab::Claims mine(folder / "claims", 1.2), others(folder / "claims", 1.2);
  auto claim = mine.take("a");
  REQUIRE(claim);
  CHECK_FALSE(others.take("a"));
  CHECK(others.take("b"));
  // a file that is an hour old, or of tomorrow, lives as long as it beats
  for (const time_t off : {-3600, 86400}) {
    const timespec when[2] = {{time(nullptr) + off, 0}, {time(nullptr) + off, 0}};
    REQUIRE(utimensat(AT_FDCWD, (folder / "claims/a").c_str(), when, 0) == 0);
    for (int i = 0; i < 10; ++i) {
      CHECK_FALSE(others.take("a"));
      std::this_thread::sleep_for(100ms);
    }
  }
  CHECK(claim->check());
  claim.reset();
  CHECK(count(folder / "claims") == 0);
  CHECK(others.take("a"));
}

TEST_CASE("claims: one that stands still goes to one taker, and its owner notices") {
  const Folder folder;
  lab::Owner owner = lab::myself();
  owner.id = "elsewhere-1", owner.machine = "another boot";
  const std::string content =
      json{{"format", 1}, {"owner", owner.id}, {"machine", owner.machine}, {"process", 1}, {"arithmetic", ""}}.dump() +
      "\n0.250 0000000003\n";
  fs::create_directories(folder / "claims");
  for (const std::string& text : {content, std::string("half a cl"), std::string()}) {
    write(folder / "claims/a", text);
    std::vector<std::unique_ptr<lab::Claims>> takers;
    for (int i = 0; i < 3; ++i) takers.push_back(std::make_unique<lab::Claims>(folder / "claims", 1));
    std::vector<std::unique_ptr<lab::Claim>> got;
    REQUIRE(until([&] {
      for (auto& t : takers)
        if (auto c = t->take("a")) got.push_back(std::move(c));
      return !got.empty();
    }));
    CHECK(got.size() == 1);
    CHECK(got[0]->check());
    // the one that was declared dead finds that it is: as if a fourth had taken it
    write(folder / "claims/.other", content);
    fs::rename(folder / "claims/.other", folder / "claims/a");
    CHECK(until([&] { return got[0]->lost(); }, 5));
    got.clear();  // and leaves the other's claim alone
    CHECK(read(folder / "claims/a") == content);
  }
}

TEST_CASE("claims: of one that was renamed over another in this moment, the older owner's end takes nothing away") {
  const Folder folder;
  const std::string path = folder / "claims/a";
  lab::Claims claims(folder / "claims", 60), others(folder / "claims", 60);
  const auto claim = claims.take("a");
  REQUIRE(claim);
  const std::string content = read(path);
  lab::remove_claim(path, "one before");
  CHECK(read(path) == content);
  CHECK(claim->check());
  CHECK_FALSE(others.take("a"));
  CHECK(count(folder / "claims") == 1);
  lab::remove_claim(path, claim->owner().id);
  lab::remove_claim(path, claim->owner().id);  // there is none
  CHECK(count(folder / "claims") == 0);
}

TEST_CASE("claims: a folder that is cleared while a claim is being made means no claim, not an error") {
  const Folder folder;
  const std::string dir = folder / "claims";
  const std::string dead =
      json{{"format", 1}, {"owner", "x-1"}, {"machine", "another boot"}, {"process", 1}, {"arithmetic", ""}}.dump() +
      "\n0.250 0000000003\n";
  fs::create_directories(dir);
  std::atomic<bool> ending = false;
  // as the last worker of a study does
  std::thread sweeper([&] {
    std::error_code gone;
    while (!ending)
      for (fs::directory_iterator e(dir, gone), end; e != end && !gone; e.increment(gone)) {
        std::error_code ignored;
        if (e->path().filename().string().front() == '.') fs::remove(e->path(), ignored);
      }
  });
  int refused = 0;
  lab::Claims claims(dir, 0.001);  // whatever stands still for a moment is dead
  std::string said;
  const auto end = std::chrono::steady_clock::now() + 2s;
  try {
    for (int i = 0; std::chrono::steady_clock::now() < end; ++i) {
      if (i % 2) write(dir + "/a", dead);  // one to take over
      for (int look = 0; look < 3; ++look) refused += claims.take("a") == nullptr;
    }
  } catch (const std::exception& e) {
    said = e.what();
  }
  ending = true;
  sweeper.join();
  CHECK(said == "");
  CHECK(refused > 0);
  // where writing a claim takes long (fsync), the sweeper may have been faster every time; without it there is one to have
  CHECK(until([&] { return claims.take("a") != nullptr; }, 30));
  fs::remove_all(dir);  // while a folder that is no more is told
  CHECK_THROWS_AS(claims.take("a"), Error);
}

TEST_CASE(
    "claims: of a process that was here and is gone, at once; a run that is taken over moves away from its old owner") {
  const Folder folder;
  const lab::Study study{folder / "study"};
  for (const auto& f : {study.cells(), study.work(), study.claims()}) fs::create_directories(f);
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    lab::Claims claims(study.claims(), 1000);
    auto* kept = claims.take("a").release();
    _exit(kept ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  REQUIRE(status == 0);
  lab::Claims claims(study.claims(), 1000);
  const auto claim = claims.take("a");
  CHECK(claim);
  const std::string old = study.work() + "/a@dead";
  fs::create_directories(old);
  write(old + "/last.ckpt", "x"), write(old + "/.lock", "process 1 on x\n");
  const std::string now = lab::adopt_work(study, "a", lab::myself());
  CHECK_FALSE(exists(old));
  CHECK(read(now + "/last.ckpt") == "x");
  CHECK_FALSE(exists(now + "/.lock"));
  CHECK(lab::deliver(study, now, "a"));
  fs::create_directories(now);
  write(now + "/last.ckpt", "late");
  CHECK_FALSE(lab::deliver(study, now, "a"));  // somebody was faster
  CHECK(read(study.cell("a") + "/last.ckpt") == "x");
  CHECK_FALSE(exists(now));
}

}  // namespace tessera::test
