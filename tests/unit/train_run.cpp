#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <limits>
#include <thread>

#include "tessera/core/parallel.h"
#include "tessera/core/rng.h"
#include "tessera/models/model.h"
#include "tessera/nn/weights.h"
#include "tessera/train/training/checkpoint.h"
#include "tessera/train/training/evaluate.h"
#include "tessera/train/training/report_data.h"
#include "tessera/train/training/run_folder.h"
#include "tests/unit/run_bed.h"

using namespace tessera;
using test::bytes;
using test::metrics;
using test::tiny;

namespace {

/// Equal to every counter of their checkpoints and in what their reports show, too.
void check_equal_runs(const std::string& a, const std::string& b) {
  test::check_equal_runs(a, b);
  for (const char* name : {"/last.ckpt", "/best.ckpt"})
    for (const char* key : {"epoch", "batch", "loss_sum", "hits", "best_val_acc1"})
      CHECK(test::said_by(a + name, key) == test::said_by(b + name, key));
  CHECK(bytes(a + "/report_data.json") == bytes(b + "/report_data.json"));
}

struct Threads {
  int before = parallel::threads();
  ~Threads() { parallel::set_threads(before); }
};

}  // namespace

TEST_CASE("a run leaves all its files") {
  const Scratch scratch;
  const std::string dir = scratch / "run";
  std::vector<std::string> said;
  Hooks hooks;
  hooks.say = [&](std::string_view line) { said.emplace_back(line); };
  const RunResult r = train_run(tiny(), dir, false, hooks);
  CHECK(r.finished);
  CHECK(r.epochs == 2);
  CHECK(r.steps == 8);
  CHECK((r.test_acc1 >= 0 && r.test_acc1 <= 1));
  const auto rows = metrics(dir);
  REQUIRE(rows.size() == 5);
  const char* splits[] = {"train", "val", "train", "val", "test"};
  for (size_t i = 0; i < 5; ++i) CHECK(rows[i]["split"] == splits[i]);
  CHECK(rows[4]["acc1"] == r.test_acc1);
  const auto summary = nlohmann::json::parse(bytes(dir + "/summary.json"));
  for (const char* key : {"model", "position", "params", "macs", "seed", "epochs", "test_acc1", "seconds",
                          "images_per_s", "precision", "threads", "isa", "version", "data"})
    CHECK(summary.contains(key));
  for (const char* key : {"name", "digest", "official"}) CHECK(summary["data"].contains(key));
  CHECK(summary["macs"] > 0);
  CHECK(bytes(dir + "/config.toml").find("\n[optim]\nopt = \"adamw\"\n") != std::string::npos);
  CHECK(bytes(dir + "/config.toml").find("num_classes = 4\n") != std::string::npos);  // complete
  const report::Data shown = report::load(dir + "/report_data.json");
  CHECK(shown.confusion.size() == 4);
  CHECK(shown.samples.size() >= 12);
  REQUIRE(!shown.tables.empty());
  CHECK(shown.tables[0].name == "pos_embed");
  CHECK(shown.tables[0].prefix == 1);
  CHECK(said.size() >= 4);
  CHECK(said[1].find("estimate: ") == 0);

  // the saved weights are the ones that were tested: the average
  RunConfig c = tiny();
  Params params;
  const auto model = tessera::model("vit").make(
      Scope(params),
      [&] {
        auto o = c.model_options;
        o["num_classes"] = 4;
        return o;
      }(),
      position("learned"));
  io::load(params, dir + "/weights.safetensors");
  const auto test = data::open("where", "", {.train_size = 88, .test_size = 24}).test;
  CHECK(evaluate(*model, test).acc1 == r.test_acc1);
}

TEST_CASE("the same bits for any number of threads") {
  const Threads restore;
  const Scratch scratch;
  for (int t = 1; t <= 3; ++t) {
    parallel::set_threads(t);
    train_run(tiny(1), scratch / std::to_string(t), false);
  }
  for (const char* t : {"2", "3"}) check_equal_runs(scratch / "1", scratch / t);
}

TEST_CASE("stopped by a request in an epoch and resumed, a run ends with the bits of one that never stopped") {
  const Scratch scratch;
  for (const int accumulate : {1, 3}) {
    const std::string whole = scratch / ("whole" + std::to_string(accumulate)),
                      parts = scratch / ("parts" + std::to_string(accumulate));
    RunConfig c = tiny();
    c.train.accumulate = accumulate;
    train_run(c, whole, false);
    int steps = 0;
    Hooks hooks;
    hooks.stop = [&] { return ++steps % 2 == 0; };
    RunResult r = train_run(c, parts, false, hooks);
    int stops = 0;
    for (; r.interrupted && stops < 20; ++stops) r = train_run(c, parts, true, hooks);
    CHECK(r.finished);
    CHECK(stops >= 1);
    check_equal_runs(whole, parts);
    train_run(c, parts, true);  // a finished run may be resumed: it says its result again
    check_equal_runs(whole, parts);
  }
}

TEST_CASE("a budget of steps ends a run well, and a larger one goes on with equal bits") {
  const Scratch scratch;
  RunConfig c = tiny();
  train_run(c, scratch / "whole", false);
  c.train.max_steps = 6;
  const RunResult r = train_run(c, scratch / "parts", false);
  CHECK(r.finished);
  CHECK(r.steps == 6);
  CHECK(r.epochs == 1);  // of four steps; the second was cut
  CHECK(metrics(scratch / "parts").size() == 5);
  c.train.max_steps = 0;
  CHECK(train_run(c, scratch / "parts", true).steps == 8);
  check_equal_runs(scratch / "whole", scratch / "parts");
}

// Skipped unless named: the next test starts it as a process of its own, in order to kill it.
TEST_CASE("the child of the kill test" * doctest::skip()) {
  RunConfig c = tiny(6);
  c.train.checkpoint_steps = 2;
  const std::string dir = std::getenv("TESSERA_TEST_RUN");
  train_run(c, dir, access((dir + "/config.toml").c_str(), F_OK) == 0);
}

TEST_CASE("killed five times at random moments and resumed, a run ends with the bits of one that never stopped") {
  const Scratch scratch;
  const auto child = [&](const std::string& dir) {
    setenv("TESSERA_TEST_RUN", dir.c_str(), 1);
    const char* argv[] = {"tessera_tests", "-ns", "-tc=the child of the kill test", nullptr};
    posix_spawn_file_actions_t quiet;
    posix_spawn_file_actions_init(&quiet);
    posix_spawn_file_actions_addopen(&quiet, 1, "/dev/null", O_WRONLY, 0);
    pid_t pid = 0;
    REQUIRE(posix_spawn(&pid, "/proc/self/exe", &quiet, nullptr, const_cast<char**>(argv), environ) == 0);
    posix_spawn_file_actions_destroy(&quiet);
    return pid;
  };
  const auto wait = [](pid_t pid) {
    int status = 0;
    REQUIRE(waitpid(pid, &status, 0) == pid);
    return status;
  };
  REQUIRE(wait(child(scratch / "whole")) == 0);
  const std::string dir = scratch / "parts";
  const auto inode = [&] {
    struct stat s {};
    return stat((dir + "/last.ckpt").c_str(), &s) == 0 ? s.st_ino : 0;
  };
  const rng::Stream random(static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count()));
  int killed = 0;
  for (uint64_t k = 0; k < 5; ++k) {
    const pid_t pid = child(dir);
    // some checkpoints later (each has a new inode), at any moment of the next steps
    int status = 0;
    auto last = inode();
    for (uint32_t n = 1 + random.below(2 * k, 2); n > 0 && waitpid(pid, &status, WNOHANG) == 0;) {
      std::this_thread::sleep_for(std::chrono::microseconds(200));
      if (inode() != last) last = inode(), --n;
    }
    std::this_thread::sleep_for(std::chrono::microseconds(random.below(2 * k + 1, 20000)));
    if (kill(pid, SIGKILL) == 0 && waitpid(pid, &status, 0) == pid) killed += WIFSIGNALED(status);
  }
  CHECK(killed >= 3);  // a fast machine may have finished before
  REQUIRE(wait(child(dir)) == 0);
  check_equal_runs(scratch / "whole", dir);
}

TEST_CASE("a full disk ends a run with one line and leaves the last checkpoint whole") {
  const Scratch scratch;
  const std::string dir = scratch / "run";
  RunConfig c = tiny(3);
  c.train.ema_decay = 0, c.data.val_size = 0;
  train_run(c, scratch / "whole", false);
  int steps = 0;
  std::string before;
  Hooks hooks;
  hooks.stop = [&] {
    if (++steps == 6) {
      before = bytes(dir + "/last.ckpt");
      io::inject_fault("write", 20000, ENOSPC);
    }
    return false;
  };
  CHECK_THROWS_WITH_AS(train_run(c, dir, false, hooks), doctest::Contains("No space left on device"), Error);
  io::inject_fault("write", 0, 0);
  CHECK(bytes(dir + "/last.ckpt") == before);
  for (const auto& entry : std::filesystem::directory_iterator(dir)) {
    const std::string name = entry.path().filename().string();
    CHECK((name == "config.toml" || name == "metrics.jsonl" || name == "last.ckpt" || name == ".lock"));
  }
  train_run(c, dir, true);
  CHECK(bytes(dir + "/weights.safetensors") == bytes(scratch / "whole" + "/weights.safetensors"));
}

TEST_CASE("a run directory is refused when it is taken, in use, or no run") {
  const Scratch scratch;
  const std::string dir = scratch / "run";
  train_run(tiny(1), dir, false);
  CHECK_THROWS_WITH_AS(train_run(tiny(1), dir, false), doctest::Contains("--resume"), Error);
  CHECK_THROWS_WITH_AS(train_run(tiny(1), scratch / "none", true), doctest::Contains("no run directory"), Error);
  CHECK_THROWS_WITH_AS(train_run(tiny(1), "/proc/no/such/place", false), doctest::Contains("cannot make"), Error);
  const io::Lock lock(dir);
  CHECK_THROWS_WITH_AS(train_run(tiny(1), dir, true), doctest::Contains("in use"), Error);
}

TEST_CASE("a checkpoint of another configuration, of other data or with a flipped bit is refused") {
  const Scratch scratch;
  const std::string dir = scratch / "run";
  train_run(tiny(1), dir, false);
  RunConfig other = tiny(1);
  other.optim.lr = 2e-3;
  CHECK_THROWS_WITH_AS(train_run(other, dir, true), doctest::Contains("another configuration"), Error);
  std::string ckpt = bytes(dir + "/last.ckpt");
  ckpt[ckpt.size() - 100] ^= 1;
  io::replace_file(dir + "/last.ckpt", ckpt);
  CHECK_THROWS_AS(train_run(tiny(1), dir, true), Error);
  io::replace_file(dir + "/last.ckpt", std::string_view("not a checkpoint at all"));
  CHECK_THROWS_AS(train_run(tiny(1), dir, true), Error);
}

TEST_CASE("a loss that is not finite ends the run with the step and what to try") {
  RunConfig c = tiny();
  c.optim.lr = 1e30, c.optim.clip_grad = 0, c.sched.warmup_epochs = 0;
  CHECK_THROWS_WITH_AS(train_run(c, "", false), doctest::Contains("not finite"), Error);
}

TEST_CASE("a model that does not fit the data is refused before anything is written") {
  const Scratch scratch;
  RunConfig c = tiny();
  c.model_options["num_classes"] = 7;
  CHECK_THROWS_WITH_AS(train_run(c, scratch / "run", false), doctest::Contains("num_classes=4"), Error);
  c = tiny(), c.data.train_size = 80, c.data.val_size = 20, c.data.name = "where";
  CHECK_NOTHROW(train_run(c, "", false));
  CHECK(scratch.files() == 0);
}

TEST_CASE("evaluation counts what it should") {
  struct Fixed final : Model {  // the label, coded in a pixel, is the largest logit for every second image
    Output forward(const Run&, const Input& in) const override {
      const auto [B, H, W, C] = in.x.dims<4>();
      Output o;
      o.logits = zeros({B, 3});
      for (int i = 0; i < B; ++i) o.logits[i * 3 + static_cast<int>(in.x[int64_t{i} * H * W * C] + real(0.5))] = 2;
      return o;
    }
  };
  data::Set set;
  set.h = set.w = 1, set.channels = 1, set.classes = 3;
  set.stats.mean = {0}, set.stats.std = {real(1) / 255};
  auto pixels = std::make_shared<std::vector<uint8_t>>();
  auto labels = std::make_shared<Index>();
  for (int i = 0; i < 30; ++i) {
    labels->push_back(i % 3), set.rows.push_back(i);
    pixels->push_back(static_cast<uint8_t>(i % 2 ? i % 3 : (i + 1) % 3));
  }
  set.pixels = pixels, set.labels = labels;
  const Evaluation e = evaluate(Fixed(), set);
  CHECK(e.acc1 == 0.5);
  CHECK(e.acc5 == 1);
  const double right = std::log(std::exp(2.0) + 2) - 2, wrong = std::log(std::exp(2.0) + 2);
  CHECK(e.loss == doctest::Approx((right + wrong) / 2).epsilon(1e-6));
  CHECK(e.probabilities[0] == doctest::Approx(std::exp(-right)).epsilon(1e-6));
  for (size_t k = 0; k < 3; ++k) {
    CHECK(e.confusion[k][k] == 5);
    CHECK(e.confusion[k][(k + 1) % 3] == 5);
    CHECK(e.confusion[k][(k + 2) % 3] == 0);
  }
}
