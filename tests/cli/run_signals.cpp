// A run and the world around it: terminals, signals, readers that leave, others that start at the same time.
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "tests/cli/program.h"

extern char** environ;

namespace tessera::test {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

/// The program as a child whose surroundings `prepare` arranges after the fork (it must not allocate or throw).
struct Child {
  pid_t pid;
  Child(std::vector<std::string> args, const std::function<void()>& prepare) {
    args.insert(args.begin(), TESSERA_PROGRAM);
    std::vector<char*> argv;
    for (auto& a : args) argv.push_back(a.data());
    argv.push_back(nullptr);
    pid = fork();
    REQUIRE(pid >= 0);
    if (pid == 0) {
      prepare();
      execve(TESSERA_PROGRAM, argv.data(), environ);
      _exit(96);
    }
  }
  ~Child() {
    if (pid > 0) kill(pid, SIGKILL), waitpid(pid, nullptr, 0);
  }
  int wait() {
    int status = 0;
    REQUIRE(waitpid(pid, &status, 0) == pid);
    pid = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
};

bool until(const std::function<bool()>& there) {
  for (int i = 0; i < 6000; ++i) {
    if (there()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return false;
}

bool began(const std::string& run) {
  return until([&] { return exists(run + "/metrics.jsonl") && fs::file_size(run + "/metrics.jsonl") > 0; });
}

}  // namespace

TEST_CASE("train: on a terminal the progress line is one line, narrower than the terminal, and follows its size") {
  const Folder folder;
  const int master = posix_openpt(O_RDWR | O_NOCTTY);
  REQUIRE(master >= 0);
  REQUIRE(grantpt(master) == 0);
  REQUIRE(unlockpt(master) == 0);
  const std::string name = ptsname(master);
  const auto resize = [&](int columns) {
    winsize size{};
    size.ws_row = 24, size.ws_col = static_cast<unsigned short>(columns);
    REQUIRE(ioctl(master, TIOCSWINSZ, &size) == 0);
  };
  resize(80);
  setenv("TERM", "xterm", 1);
  const int slave = open(name.c_str(), O_RDWR | O_NOCTTY);
  REQUIRE(slave >= 0);
  Child child(tiny_run(folder / "run", {"--epochs", "400", "data.train_size=2000"}), [&] { dup2(slave, 2); });
  const auto widest = [&](int columns) {
    resize(columns);
    std::string text;
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(1500);
    fcntl(master, F_SETFL, O_NONBLOCK);
    while (std::chrono::steady_clock::now() < end) {
      char part[4096];
      const ssize_t n = ::read(master, part, sizeof part);
      if (n > 0) text.append(part, static_cast<size_t>(n));
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    size_t width = 0, lines = 0, done = 0;
    for (size_t at = 0; (at = text.find("\repoch ", at)) != std::string::npos; ++at) {
      const size_t stop = text.find("\033[K", at);
      if (stop == std::string::npos || text.find('\n', at) < stop) continue;
      if (++done <= 2) continue;  // what was on its way when the size changed
      width = std::max(width, stop - at - 1), ++lines;
    }
    CHECK(lines >= 3);
    return width;
  };
  for (const int columns : {80, 60, 40, 100}) {
    CAPTURE(columns);
    const size_t width = widest(columns);
    CHECK(width < static_cast<size_t>(columns));
    CHECK(width > static_cast<size_t>(columns) / 2);
  }
  kill(child.pid, SIGTERM);
  CHECK(child.wait() == 130);
  close(slave), close(master);
}

TEST_CASE("train: a hang-up writes a checkpoint and says why in the summary, as Ctrl-C and SIGTERM do") {
  for (const auto& [number, word] : {std::pair{SIGHUP, "SIGHUP"}, {SIGINT, "SIGINT"}, {SIGTERM, "SIGTERM"}}) {
    CAPTURE(word);
    const Folder folder;
    const std::string run = folder / "run";
    Process p(tiny_run(run, {"--epochs", "1000000", "train.checkpoint_every=1000000"}));
    REQUIRE(began(run));
    p.signal(number);
    const Result r = p.wait();
    CHECK(r.code == 130);
    CHECK(exists(run + "/last.ckpt"));
    CHECK(json::parse(read(run + "/summary.json")).at("ended") == std::string("interrupted by ") + word);
    CHECK(r.err.find(std::string("interrupted by ") + word + " after ") != std::string::npos);
    CHECK(r.err.find("--resume " + run) != std::string::npos);
    CHECK(r.err.find(" 1 epochs") == std::string::npos);
    CHECK(r.err.find(" 1 threads") == std::string::npos);
  }
}

TEST_CASE("report: a run that was interrupted is no row of results.csv") {
  const Folder folder;
  REQUIRE(tessera(tiny_run(folder / "whole")).code == 0);
  Process p(tiny_run(folder / "stopped", {"--epochs", "4000"}));
  REQUIRE(began(folder / "stopped"));
  p.signal(SIGTERM);
  CHECK(p.wait().code == 130);
  CHECK(tessera({"report", folder.path()}).code == 0);
  const std::string table = read(folder / "results.csv");
  CHECK(table.find("whole") != std::string::npos);
  CHECK(table.find("stopped") == std::string::npos);
}

TEST_CASE("train: one epoch is not '1 epochs'") {
  const Folder folder;
  const std::string run = folder / "run";
  REQUIRE(tessera(tiny_run(run, {"--max-steps", "6", "--threads", "1"})).code == 0);  // one epoch of six steps
  const Result r = tessera({"train", "--resume", run, "--max-steps", "0", "--threads", "1"});
  CHECK(r.code == 0);
  CHECK(r.err.find("resumed after 1 epoch and 6 steps") != std::string::npos);
  CHECK(r.err.find("1 thread\n") != std::string::npos);
}

TEST_CASE("train: under nohup a hang-up is ignored") {
  const Folder folder;
  const std::string run = folder / "run";
  Child child(tiny_run(run, {"--epochs", "60"}), [] {
    signal(SIGHUP, SIG_IGN);
    dup2(open("/dev/null", O_WRONLY), 2);
  });
  REQUIRE(began(run));
  kill(child.pid, SIGHUP);
  CHECK(child.wait() == 0);
  CHECK(json::parse(read(run + "/summary.json")).at("ended") == "epochs");
}

TEST_CASE("train: whoever reads stderr may leave; the run writes a checkpoint at once and goes on to its end") {
  const Folder folder;
  const std::string run = folder / "run";
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  Child child(tiny_run(run, {"--epochs", "60", "train.checkpoint_every=4000"}), [&] {
    signal(SIGPIPE, SIG_DFL);
    dup2(ends[1], 2), close(ends[0]), close(ends[1]);
  });
  close(ends[1]);
  REQUIRE(began(run));
  CHECK_FALSE(exists(run + "/last.ckpt"));
  close(ends[0]);
  CHECK(until([&] { return exists(run + "/last.ckpt"); }));
  CHECK(child.wait() == 0);
  CHECK(json::parse(read(run + "/summary.json")).at("epochs") == 60);
  CHECK(exists(run + "/report.html"));
}

TEST_CASE("train: whoever reads stderr may have left before the first word") {
  const Folder folder;
  const std::string run = folder / "run";
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  close(ends[0]);
  Child child(tiny_run(run, {}), [&] {
    signal(SIGPIPE, SIG_DFL);
    dup2(ends[1], 2), close(ends[1]);
  });
  close(ends[1]);
  CHECK(child.wait() == 0);
  CHECK(json::parse(read(run + "/summary.json")).at("ended") == "epochs");
}

TEST_CASE("train: eight runs without --out that start together take eight folders; a run that fails leaves none") {
  const Folder folder;
  {
    std::vector<std::unique_ptr<Process>> all;
    for (int i = 0; i < 8; ++i)
      all.push_back(std::make_unique<Process>(tiny_run("", {"--threads", "1"}), RunOptions{.folder = folder.path()}));
    for (auto& p : all) {
      const Result r = p->wait();
      INFO(r.err);
      CHECK(r.code == 0);
    }
  }
  std::set<std::string> names;
  for (const auto& e : fs::directory_iterator(folder / "runs")) {
    names.insert(e.path().filename().string());
    CHECK(exists(e.path().string() + "/weights.safetensors"));
  }
  CHECK(names.size() == 8);
  CHECK((names.contains("where") && names.contains("where-2") && names.contains("where-8")));
  const Folder empty;
  check_refused(tessera(tiny_run("", {"model.num_heads=3"}), {.folder = empty.path()}), 2, {"3 heads"});
  CHECK(empty.list().empty());
}

}  // namespace tessera::test
