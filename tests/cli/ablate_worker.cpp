// What one worker of a study makes of damaged files and of data that come late, the processes it is started as, and what a run of it takes.
#include <sys/wait.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <thread>

#include "tessera/train/lab/child.h"
#include "tessera/train/lab/dry_run.h"
#include "tessera/train/lab/study.h"
#include "tessera/train/lab/worker.h"
#include "tessera/train/training/run_folder.h"
#include "tests/cli/waiting.h"

namespace tessera::test {
namespace {

namespace fs = std::filesystem;

/// Runs of a moment, with more lines of [run] and then of other tables.
lab::Plan tiny_plan(const std::string& more) {
  return lab::make_plan(lab::read_plan(
      "[run]\nmodel = \"vit\"\nepochs = 1\nseeds = [1]\n\"train.batch_size\" = 16\n\"data.train_size\" = 64\n"
      "\"data.test_size\" = 16\n\"model.depth\" = 1\n\"model.embed_dim\" = 16\n\"model.num_heads\" = 2\n"
      "\"model.patch_size\" = 8\n" +
          more,
      "plan.toml"));
}

RunConfig tiny_config(const std::string& more) {
  return tiny_plan("data = \"where:quadrant\"\n" + more).cells.at(0).config;
}

}  // namespace

// ---- processes -------------------------------------------------------------------------------------------------------------

TEST_CASE("child: its end is told where SIGCHLD is ignored, as some supervisors leave it") {
  const auto before = std::signal(SIGCHLD, SIG_IGN);
  lab::Child child({"--version"}, true);  // this program, which ends at once
  CHECK(until([&] { return !child.running(); }, 20));
  CHECK(child.code() == 0);
  CHECK(!child.lines().empty());
  std::signal(SIGCHLD, before);
}

TEST_CASE("child: one that somebody else has waited for is over, and its number is left alone") {
  lab::Child child({"--version"}, true);
  REQUIRE(::waitpid(-1, nullptr, 0) > 0);
  CHECK_FALSE(child.running());
  CHECK(child.code() == lab::Child::unknown_end);
  child.signal(SIGKILL);
}

// ---- damage ----------------------------------------------------------------------------------------------------------------

TEST_CASE("ablate: a damaged metrics.jsonl fails no run but beside a baseline, and then says whose it is") {
  const Folder folder;
  const lab::Study study{folder / "study"};
  const lab::Plan plan = tiny_plan(
      "data = \"where:quadrant\"\n\"data.val_size\" = 16\n[grid]\nposition = [\"none\", \"learned\"]\n"
      "[report]\nmeasures = [\"accuracy\"]\nstop_worse = 0.9\nbaseline = \"none\"\n");
  lab::open_study(study, plan);
  const std::string reference = study.cell(plan.cells[0].name), other = plan.cells[1].name;
  fs::create_directories(reference);
  const std::string good = R"({"epoch":1,"step":4,"split":"val","loss":1,"acc1":0.5})"
                           "\n";
  for (const std::string& text : {std::string("{\n"), std::string(), good + "[]\n", good + "{\"split\": \"val\"}\n"}) {
    CAPTURE(text);
    write(reference + "/metrics.jsonl", text);
    CHECK(lab::work(study, plan, {}) == lab::WorkEnd::all_done);
    const std::string why = lab::reason_of(study, plan.cells[1]);
    CHECK_MESSAGE(why.find(reference + "/metrics.jsonl, which stop_worse judges this run by, ") != std::string::npos,
                  why);
    CHECK(why.find("remove " + reference + " and go on with --retry") != std::string::npos);
    CHECK(lab::forget_failures(study) == 1);
  }
  // its own: the run begins anew
  write(reference + "/metrics.jsonl", good);
  const std::string own = study.work() + "/" + other + "@before";
  fs::create_directories(own);
  write(own + "/config.toml", "");
  write(own + "/metrics.jsonl", "{\n");
  CHECK(lab::work(study, plan, {}) == lab::WorkEnd::all_done);
  CHECK(count(study.failures()) == 0);
  REQUIRE(study.finished(other));
  CHECK(read(study.cell(other) + "/metrics.jsonl").find("{\n") == std::string::npos);

  // whatever writes into the folder of a run, the table of its files knows it
  REQUIRE(tessera({"report", study.cell(other), "--tensorboard"}).code == 0);
  CHECK(exists(study.cell(other) + "/measures.json"));
  for (const auto& e : fs::directory_iterator(study.cell(other))) {
    const std::string name = e.path().filename().string();
    CHECK_MESSAGE(std::ranges::count(run_files(), name, &RunFile::name) == 1, name);
  }
}

TEST_CASE("early stopping: what stands before a damaged line counts") {
  const std::string bad = R"({"epoch":1,"step":10,"split":"val","acc1":0.1})"
                          "\n",
                    good = R"({"epoch":1,"step":9,"split":"val","acc1":0.9})"
                           "\n";
  CHECK(lab::stops_at({0.1, 1}, bad + "{\n", good).steps == 10);
  CHECK(lab::stops_at({0.1, 1}, "{\n" + bad, good).epoch == 0);
}

// ---- data ------------------------------------------------------------------------------------------------------------------

TEST_CASE("ablate: data that are fetched while a worker waits for others are seen") {
  const Folder folder;
  const lab::Study study{folder / "study"};
  const std::string pictures = folder / "pictures";
  const lab::Plan plan = tiny_plan(
      "position = \"none\"\n\"position.theta\" = 3\n[grid]\n\"data.name\" = [\"where:quadrant\", \"imagefolder:" +
      pictures + "\"]\n");
  REQUIRE(plan.cells.size() == 2);  // neither can be, so that none is trained
  lab::open_study(study, plan);
  lab::Claims others(study.claims(), 60);
  const auto held = others.take(plan.cells[0].name);
  std::atomic<int> asked = 0;
  std::atomic<bool> late = false;
  lab::WorkerOptions options;
  options.hooks.stop = [&] { return ++asked, late || study.failed(plan.cells[1].name); };
  std::thread worker([&] { lab::work(study, plan, options); });
  CHECK(until([&] { return asked > 4; }, 20));  // one round is over: the data were not found
  fs::create_directories(pictures);
  CHECK(until([&] { return study.failed(plan.cells[1].name); }, 20));
  late = true;
  worker.join();
}

// ---- a dry run -------------------------------------------------------------------------------------------------------------

TEST_CASE("dry run: of one step the step is measured, and not what comes before or after it") {
  const auto seconds_of = [](const RunConfig& c, lab::Expected& e) {
    const auto start = std::chrono::steady_clock::now();
    e = lab::expected(c);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  for (const char* one : {"max_steps = 1\n", "\"train.accumulate\" = 4\n"}) {
    CAPTURE(one);
    RunConfig c = tiny_config(one);
    c.data.test_size = 6000;  // far more than the step takes
    lab::Expected e;
    const double whole = seconds_of(c, e);
    CHECK(e.steps == 1);
    CHECK(e.step > 0);
    CHECK_MESSAGE(e.step < whole / 4, e.step << " s of " << whole);
    CHECK(e.all > e.step);
  }
}

TEST_CASE("dry run: a step is never of more images than there are") {
  RunConfig c = tiny_config("");
  const lab::Expected four = lab::expected(c);
  CHECK(four.images == 16);
  CHECK(four.steps == 4);
  c.train.batch_size = 1 << 20, c.train.accumulate = 1000;
  const lab::Expected one = lab::expected(c);
  CHECK(one.images == 64);
  CHECK(one.steps == 1);
  CHECK(one.all == doctest::Approx(one.step * (1 + 16.0 / 64 / 3)));
  c.sched.warmup_epochs = 0, c.sched.cooldown_epochs = 2;  // of one: that the measured run has two does not hide it
  CHECK_THROWS_WITH_AS(lab::expected(c), doctest::Contains("cooldown_epochs"), Error);
}

TEST_CASE("dry run: measures are counted by the images that they ask, larger ones by their pixels") {
  RunConfig c =
      tiny_config("position = \"shaw\"\n");  // 16 test images of where, which may be neither mirrored nor moved
  const auto asked = [&](const std::vector<std::string>& families) {
    lab::MeasureOptions o;
    o.families = families, o.images = 10, o.attention_images = 4, o.sizes = {{32, 32}, {64, 32}};
    return lab::asked_images(c, o);
  };
  const double always = 16 + 10;
  CHECK(asked({"cost"}) == always);
  CHECK(asked({"accuracy"}) == always);  // no epoch is validated
  CHECK(asked({"flip", "shift", "permutation"}) == always + 20);
  CHECK(asked({"positions", "grid_shuffle"}) == always + 60);
  CHECK(asked({"resolution"}) == always + 4 + 2 * 14);
  CHECK(asked({"speed"}) == always + 36 * 16);
  CHECK(asked({}) == always + 20 + 60 + 32 + 4 + 36 * 16);
  c.data.val_size = 16;
  CHECK(asked({"accuracy"}) == always + 16);
  c.position = "none";
  CHECK(asked({"positions"}) == always);
}

}  // namespace tessera::test
