// On resume the files of a run are those of one moment: of last.ckpt.
#include <algorithm>

#include "tests/unit/run_bed.h"

namespace tessera::test {
namespace {

/// One checkpoint, in the middle of the second epoch; validation every epoch.
RunConfig one_checkpoint(int epochs) {
  RunConfig c = tiny(epochs);
  c.train.checkpoint_every = 1000, c.train.checkpoint_minutes = 0, c.sched.sched = "constant";
  return c;
}

/// The best validation that metrics.jsonl knows of.
double best_of(const std::string& dir) {
  double best = -1;
  for (const auto& row : metrics(dir))
    if (row["split"] == "val") best = std::max(best, row["acc1"].get<double>());
  return best;
}

}  // namespace

TEST_CASE("a best.ckpt of a part that resume cuts away goes with it, and the one before comes back") {
  const Scratch scratch;
  const std::string dir = scratch / "run";
  std::string before;
  int steps = 0;
  Hooks hooks;
  hooks.checkpoint = [&] {
    if (++steps == 5) before = bytes(dir + "/best.ckpt");
    return steps == 5;
  };
  hooks.stop = [&]() -> bool {
    if (steps == 79) throw Death();
    return false;
  };
  CHECK_THROWS_AS(train_run(one_checkpoint(20), dir, false, hooks), Death);
  REQUIRE(said_by(dir + "/last.ckpt", "step") == "5");
  REQUIRE(bytes(dir + "/best.ckpt") != before);  // a later epoch was better: else this would show nothing

  SUBCASE("also where nothing more is trained") {
    int resumed = 0;
    Hooks look;
    look.say = [&](std::string_view line) {
      if (!line.starts_with("resumed after")) return;
      CHECK(bytes(dir + "/best.ckpt") == before);
      ++resumed;
    };
    RunConfig c = one_checkpoint(20);
    c.train.max_steps = 5;
    const RunResult r = train_run(c, dir, true, look);
    CHECK(resumed == 1);
    CHECK(std::stoul(said_by(dir + "/best.ckpt", "step")) <= 5);
    const double best = best_of(dir);
    CHECK(r.best_val_acc1 == best);
    CHECK(summary(dir)["best_val_acc1"] == best);
  }
  SUBCASE("and the whole then is as if nothing had happened") {
    train_run(one_checkpoint(20), dir, true);
    train_run(one_checkpoint(20), scratch / "whole", false);
    check_equal_runs(scratch / "whole", dir);
    CHECK_FALSE(exists(dir + "/.best.known.ckpt"));
  }
}

TEST_CASE("a best.ckpt of an epoch that a limit cut is undone when the run goes on") {
  const Scratch scratch;
  const std::string dir = scratch / "run";
  for (int limit = 5; limit < 40; ++limit) {
    RunConfig c = tiny(10);
    c.train.max_steps = limit;
    train_run(c, dir, exists(dir));
    CHECK(std::stoi(said_by(dir + "/best.ckpt", "step")) <= limit);
    CHECK(std::stod(said_by(dir + "/best.ckpt", "best_val_acc1")) == best_of(dir));
  }
  train_run(tiny(10), dir, true);
  train_run(tiny(10), scratch / "whole", false);
  check_equal_runs(scratch / "whole", dir);
}

TEST_CASE("a write that fails anywhere leaves a run that resumes to the bits of one without a failure") {
  const Scratch scratch;
  train_run(tiny(3), scratch / "whole", false);
  int failed = 0;
  for (const char* call : {"write", "rename"})
    for (uint64_t bytes = 100; bytes < 1'000'000; bytes = bytes * 3 / 2) {
      const std::string dir = scratch / (call + std::to_string(bytes));
      io::inject_fault(call, bytes, EIO);
      try {
        train_run(tiny(3), dir, false);
      } catch (const Error&) {
        ++failed;
      }
      io::inject_fault("", 0, 0);
      if (exists(dir + "/config.toml")) {
        train_run(tiny(3), dir, true);
        check_equal_runs(scratch / "whole", dir);
        CHECK_FALSE(exists(dir + "/.best.known.ckpt"));
      }
    }
  CHECK(failed > 10);
}

TEST_CASE("results of an earlier end are gone as soon as the run goes on") {
  const Scratch scratch;
  const std::string dir = scratch / "run";
  RunConfig c = tiny(4);
  c.train.max_steps = 6;
  train_run(c, dir, false);
  REQUIRE(summary(dir)["steps"] == 6);
  const auto measured = {"/measures.json", "/answers.safetensors", "/pictures.json", "/results.csv"};
  for (const char* name : measured) io::replace_file(dir + name, "of the weights of then");
  train_run(c, dir, true);  // there is nothing to train: they are of these weights
  for (const char* name : measured) CHECK(exists(dir + name));
  c.train.max_steps = 0;
  Hooks hooks;
  SUBCASE("interrupted") {
    hooks.stop = [] { return true; };
    train_run(c, dir, true, hooks);
    CHECK(summary(dir)["finished"] == false);
    CHECK(summary(dir)["ended"] == "interrupted");
    CHECK(summary(dir)["test_acc1"].is_null());
  }
  SUBCASE("dead") {
    hooks.stop = []() -> bool { throw Death(); };
    CHECK_THROWS_AS(train_run(c, dir, true, hooks), Death);
    CHECK_FALSE(exists(dir + "/summary.json"));
  }
  for (const char* name : {"/weights.safetensors", "/report_data.json", "/report.html"})
    CHECK_FALSE(exists(dir + name));
  for (const char* name : measured) CHECK_FALSE(exists(dir + name));
  for (const auto& row : metrics(dir)) CHECK(row["split"] != "test");
}

TEST_CASE("a damaged best.ckpt, or a damaged copy of it, stands in no run's way") {
  const Scratch scratch;
  const std::string dir = scratch / "run", saved = scratch / "saved", whole = scratch / "whole";
  const auto of = [](int epochs) {
    RunConfig c = tiny(epochs);
    c.sched.sched = "constant";
    return c;
  };
  train_run(of(1), saved, false);
  train_run(of(2), whole, false);
  const std::string best = bytes(saved + "/best.ckpt");
  std::string flipped = best;
  flipped[flipped.size() - 9] ^= 1;
  for (const char* name : {"/best.ckpt", "/.best.known.ckpt"})
    for (const std::string& bad : {std::string("x"), best.substr(0, 100), best.substr(0, best.size() - 1), flipped}) {
      CAPTURE(name);
      CAPTURE(bad.size());
      std::filesystem::remove_all(dir);
      std::filesystem::copy(saved, dir);
      io::replace_file(dir + name, bad);
      RunConfig c = of(2);
      c.train.best_weights = true;
      std::string said;
      Hooks hooks;
      hooks.say = [&](std::string_view line) { said += std::string(line) + "\n"; };
      CHECK(train_run(c, dir, true, hooks).finished);
      CHECK((said.find("best.ckpt of epoch 1 is gone or damaged") != std::string::npos) == (name[1] == 'b'));
      CHECK(bytes(dir + "/weights.safetensors") == bytes(whole + "/weights.safetensors"));
      CHECK(metrics(dir) == metrics(whole));
      CHECK_FALSE(exists(dir + "/.best.known.ckpt"));
    }
  SUBCASE("what cannot be read at all leaves everything as it is") {
    for (const char* name : {"/last.ckpt", "/config.toml"}) {
      std::filesystem::remove_all(dir);
      std::filesystem::copy(saved, dir);
      if (name[1] == 'l')
        io::replace_file(dir + name, best.substr(0, 100));
      else
        std::filesystem::remove(dir + name);
      CHECK_THROWS_AS(train_run(of(2), dir, true), Error);
      for (const char* kept : {"/weights.safetensors", "/summary.json", "/report_data.json", "/best.ckpt"})
        CHECK(bytes(dir + kept) == bytes(saved + kept));
    }
  }
}

TEST_CASE("a digit of metrics.jsonl that has changed is noticed when the run is resumed, and nothing is touched") {
  const Scratch scratch;
  const std::string dir = scratch / "run";
  train_run(tiny(2), dir, false);
  const std::string good = bytes(dir + "/metrics.jsonl"), last = bytes(dir + "/last.ckpt");
  for (const size_t at : {good.find("\"loss\":") + 9, good.find("\"step\":") + 7, size_t{1}, good.find('\n')}) {
    std::string bad = good;
    bad[at] = bad[at] == '7' ? '3' : '7';
    io::replace_file(dir + "/metrics.jsonl", bad);
    CHECK_THROWS_WITH_AS(train_run(tiny(2), dir, true), doctest::Contains("metrics.jsonl"), Error);
    CHECK(bytes(dir + "/metrics.jsonl") == bad);
    CHECK(bytes(dir + "/last.ckpt") == last);
    CHECK(exists(dir + "/summary.json"));
  }
  io::replace_file(dir + "/metrics.jsonl", good);
  CHECK(train_run(tiny(2), dir, true).finished);
}

}  // namespace tessera::test
