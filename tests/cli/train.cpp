// Training from the command line: what a run leaves behind, interruptions, and places where it cannot write.
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "tests/cli/program.h"

namespace fs = std::filesystem;

namespace tessera::test {
namespace {

using nlohmann::json;

/// A run of many short steps, for signals that arrive in the middle.
std::vector<std::string> longer(const std::string& out) {
  return tiny_run(out, {"--epochs", "40", "data.train_size=400"});
}

/// Waits until the metrics of at least one epoch are there.
bool wait_for_metrics(Process& p, const std::string& run) {
  for (int i = 0; i < 6000 && p.running(); ++i) {
    if (exists(run + "/metrics.jsonl") && fs::file_size(run + "/metrics.jsonl") > 0) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return false;
}

void check_complete(const std::string& run) {
  for (const char* name :
       {"config.toml", "metrics.jsonl", "last.ckpt", "weights.safetensors", "report.html", "summary.json"})
    CHECK_MESSAGE(exists(run + "/" + name), name);
  for (const auto& e : fs::directory_iterator(run))
    CHECK_MESSAGE(e.path().string().find("tmp") == e.path().string().find("tmp/"), e.path());
}

}  // namespace

TEST_CASE("train: a run directory, the same bits from its config.toml and for 1, 2 and 3 threads") {
  const Folder folder;
  const std::string run = folder / "run";
  const Result r = tessera(tiny_run(run));
  INFO(r.err);
  REQUIRE(r.code == 0);
  CHECK(r.out.empty());
  check_complete(run);
  const json summary = json::parse(read(run + "/summary.json"));
  for (const char* key : {"model", "position", "params", "macs", "seed", "epochs", "test_acc1", "seconds",
                          "images_per_s", "precision", "threads", "isa", "version", "data"})
    CHECK_MESSAGE(summary.contains(key), key);
  for (const char* threads : {"1", "2", "3"}) {
    const std::string again = folder / (std::string("again") + threads);
    const Result s = tessera({"train", run + "/config.toml", "--out", again, "--threads", threads});
    INFO(s.err);
    REQUIRE(s.code == 0);
    CHECK(read(again + "/weights.safetensors") == read(run + "/weights.safetensors"));
    CHECK(read(again + "/config.toml") == read(run + "/config.toml"));
    CHECK(read(again + "/config.toml").find("\nshard_size = 8\n") != std::string::npos);  // what it took, not "choose"
  }

  SUBCASE("eval and predict read it back") {
    const Result e = tessera({"eval", "--run", run, "--json"});
    INFO(e.err);
    REQUIRE(e.code == 0);
    const json result = json::parse(e.out);
    CHECK(result.at("acc1").get<double>() == doctest::Approx(summary.at("test_acc1").get<double>()));
    CHECK(tessera({"eval", "--run", run, "--split", "train"}).code == 0);
    CHECK(tessera({"eval", "--run", run, "--img-size", "48", "--json"}).code == 0);
    check_refused(tessera({"eval", "--run", run, "--split", "tests"}), 2, {"tests"});

    REQUIRE(tessera({"data", "make", "where:quadrant", "--out", folder / "png"}).code == 0);
    std::string picture;
    for (const auto& f : fs::recursive_directory_iterator(folder / "png/test"))
      if (f.is_regular_file()) picture = f.path().string();
    const Result p = tessera({"predict", "--run", run, picture, "--json"});
    INFO(p.err);
    REQUIRE(p.code == 0);
    double sum = 0;
    const json predicted = json::parse(p.out);
    for (const auto& c : predicted.at(0).at("classes")) sum += c.at("probability").get<double>();
    CHECK(sum == doctest::Approx(1).epsilon(1e-5));
    check_refused(tessera({"predict", "--run", run, run + "/config.toml"}), 1, {"config.toml"});
    check_refused(tessera({"predict", "--run", folder / "nothing", picture}), 1, {"nothing"});
  }
  SUBCASE("report writes its page and table again") {
    const std::string page = read(run + "/report.html");
    CHECK(tessera({"report", run}).code == 0);
    CHECK(read(run + "/report.html") == page);
    CHECK(read(run + "/results.csv").starts_with("run,model,position,seed,"));
    CHECK(tessera({"report", folder.path()}).code == 0);
    CHECK(exists(folder / "report.html"));
    CHECK(tessera({"report", run, folder / "again1", "--output", folder / "two.html"}).code == 0);
    CHECK(exists(folder / "two.html"));
    fs::create_directory(folder / "empty");
    check_refused(tessera({"report", folder / "empty"}), 1, {"empty"});
  }
  SUBCASE("a run directory that exists is refused and not touched") {
    const auto before = fs::last_write_time(run + "/weights.safetensors");
    check_refused(tessera(tiny_run(run)), 1, {run, "--resume"});
    CHECK(fs::last_write_time(run + "/weights.safetensors") == before);
  }
}

TEST_CASE(
    "train: in bf16 a run is another one, equal for every number of threads, and eval reads it as it was tested") {
  const Folder folder;
  const std::string exact = folder / "f32";
  REQUIRE(tessera(tiny_run(exact)).code == 0);
  for (const char* threads : {"1", "3"}) {
    const Result r = tessera(tiny_run(folder / threads, {"--precision", "bf16", "--threads", threads}));
    INFO(r.err);
    REQUIRE(r.code == 0);
  }
  const std::string run = folder / "1";
  const json summary = json::parse(read(run + "/summary.json"));
  CHECK(summary.at("precision") == "bf16");
  CHECK(read(run + "/weights.safetensors") == read(folder / "3/weights.safetensors"));
  CHECK(read(run + "/weights.safetensors") != read(exact + "/weights.safetensors"));
  const Result e = tessera({"eval", "--run", run, "--json"});
  REQUIRE(e.code == 0);
  std::string last;  // metrics.jsonl ends with the test
  std::istringstream lines(read(run + "/metrics.jsonl"));
  for (std::string line; std::getline(lines, line);) last = line;
  CHECK(json::parse(e.out).at("loss") == json::parse(last).at("loss"));
  check_refused(tessera(tiny_run(folder / "no", {"--precision", "f16"})), 2, {"f16", "f32 | bf16"});
  CHECK(!exists(folder / "no"));
}

TEST_CASE("train: Ctrl-C, SIGTERM and kill -9 in the middle; resumed equals never stopped") {
  const Folder folder;
  REQUIRE(tessera(longer(folder / "whole")).code == 0);
  for (const int number : {SIGINT, SIGTERM, SIGKILL}) {
    CAPTURE(number);
    const std::string run = folder / ("stopped" + std::to_string(number));
    {
      Process p(longer(run));
      REQUIRE(wait_for_metrics(p, run));
      p.signal(number);
      const Result r = p.wait();
      INFO(r.err);
      CHECK(r.code == (number == SIGKILL ? 128 + SIGKILL : 130));
      if (number != SIGKILL) CHECK(r.err.find("--resume") != std::string::npos);
    }
    // kill -9 may come before the first checkpoint is there: the run then begins again
    if (number != SIGKILL) CHECK(exists(run + "/last.ckpt"));
    CHECK_FALSE(exists(run + "/weights.safetensors"));
    const Result r = tessera({"train", "--resume", run});
    INFO(r.err);
    REQUIRE(r.code == 0);
    check_complete(run);
    CHECK(read(run + "/weights.safetensors") == read(folder / "whole/weights.safetensors"));
  }
}

TEST_CASE("train: SIGUSR1 writes a checkpoint and the run goes on") {
  const Folder folder;
  const std::string run = folder / "run";
  auto args = longer(run);
  args.push_back("train.checkpoint_every=1000");
  Process p(args);
  REQUIRE(wait_for_metrics(p, run));
  CHECK_FALSE(exists(run + "/last.ckpt"));
  p.signal(SIGUSR1);
  for (int i = 0; i < 2000 && p.running() && !exists(run + "/last.ckpt"); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  CHECK(p.running());
  CHECK(exists(run + "/last.ckpt"));
  CHECK(p.wait().code == 0);
}

TEST_CASE("train: an out directory in use, and ones that cannot be written") {
  const Folder folder;
  const std::string run = folder / "run";
  {
    Process p(longer(run));
    REQUIRE(wait_for_metrics(p, run));
    check_refused(tessera({"train", "--resume", run}), 1, {"run", "use"});
    check_refused(tessera(tiny_run(run)), 1, {"run"});
    p.signal(SIGINT);
    CHECK(p.wait().code == 130);
  }
  write(folder / "file", "");
  check_refused(tessera(tiny_run(folder / "file/run")), 1, {"file/run"});
  check_refused(tessera(tiny_run("/proc/tessera-run")), 1, {"/proc/tessera-run"});
  check_refused(tessera({"train", "--resume", folder / "nothing"}), 2, {"nothing"});
  if (geteuid() != 0) {  // root may write anywhere
    fs::create_directory(folder / "locked");
    fs::permissions(folder / "locked", fs::perms::owner_read | fs::perms::owner_exec);
    check_refused(tessera(tiny_run(folder / "locked/run")), 1, {"locked/run"});
  }
}

TEST_CASE("train: a full disk is one clear line, and no file is half-written") {
  const Folder folder;
  const std::string run = folder / "run";
  RunOptions full;
  SUBCASE("by ulimit") { full.file_limit = 8192; }
  SUBCASE("by fault injection") { full.env = {"TESSERA_FAULT=write:20000:ENOSPC"}; }
  check_refused(tessera(tiny_run(run), full), 1, {run});
  for (const auto& e : fs::recursive_directory_iterator(run)) {
    const std::string name = e.path().filename().string();
    CHECK_MESSAGE((name == ".lock" || name == "config.toml" || name == "metrics.jsonl"), name);
  }
}

TEST_CASE("train: a model or a data set that makes no sense is wrong usage, and no directory is made") {
  const Folder folder;
  const std::string run = folder / "run";
  check_refused(tessera(tiny_run(run, {"model.num_heads=3"})), 2, {"3 heads", "16"});
  check_refused(tessera(tiny_run(run, {"model.img_size=64"})), 2, {"64 x 64", "32 x 32", "model.img_size=32"});
  check_refused(tessera(tiny_run(run, {"model.depth=-1"})), 2, {"depth"});
  check_refused(tessera(tiny_run(run, {"model.num_classes=7"})), 2, {"7", "4 classes"});
  check_refused(tessera(tiny_run(run, {"--data", "wheer"})), 2, {"wheer", "where"});
  check_refused(tessera(tiny_run(run, {"--data", "where:quadrent"})), 2, {"quadrent", "quadrant"});
  CHECK(folder.list().empty());
}

TEST_CASE("train: a run that a limit ended goes on under another limit, with the bits of one without") {
  const Folder folder;
  REQUIRE(tessera(tiny_run(folder / "whole")).code == 0);
  const std::string run = folder / "run";
  REQUIRE(tessera(tiny_run(run, {"--max-steps", "4"})).code == 0);
  CHECK(json::parse(read(run + "/summary.json")).at("steps") == 4);
  check_refused(tessera({"train", "--resume", run, "--batch-size", "3"}), 2, {"train.batch_size", "--max-steps"});
  const Result r = tessera({"train", "--resume", run, "--max-steps", "0"});
  INFO(r.err);
  REQUIRE(r.code == 0);
  for (const char* name : {"/weights.safetensors", "/config.toml"})
    CHECK_MESSAGE(read(run + name) == read(folder / "whole" + name), name);
}

TEST_CASE("train: killed between two system calls, a run begins or goes on, and leaves no temporary file") {
  const Folder folder;
  REQUIRE(tessera(tiny_run(folder / "whole")).code == 0);
  for (const char* fault : {"open:0:KILL", "link:0:KILL", "rename:0:KILL", "write:60000:KILL"}) {
    CAPTURE(fault);
    const std::string run = folder / ("run-" + std::string(fault).substr(0, 4));
    RunOptions killed;
    killed.env = {"TESSERA_FAULT=" + std::string(fault)};
    CHECK(tessera(tiny_run(run), killed).code == 128 + SIGKILL);
    const bool began = exists(run + "/config.toml");
    if (!began) check_refused(tessera({"train", "--resume", run}), 2, {"config.toml", "--out"});
    const Result r = began ? tessera({"train", "--resume", run}) : tessera(tiny_run(run));
    INFO(r.err);
    REQUIRE(r.code == 0);
    check_complete(run);
    CHECK(read(run + "/weights.safetensors") == read(folder / "whole/weights.safetensors"));
  }
}

TEST_CASE("train: a bit of last.ckpt's numbers, and a summary that lies") {
  const Folder folder;
  const std::string run = folder / "run";
  REQUIRE(tessera(tiny_run(run)).code == 0);
  std::string bytes = read(run + "/last.ckpt");
  const size_t at = bytes.find("\"step\":\"");
  REQUIRE(at != std::string::npos);
  bytes[at + 8] ^= 1;
  write(run + "/last.ckpt", bytes);
  check_refused(tessera({"train", "--resume", run}), 1, {"last.ckpt", "checksum", "damaged"});
  json summary = json::parse(read(run + "/summary.json"));
  CHECK(summary.at("macs").is_number_integer());
  summary["data"]["std"] = {0, 1, 1};
  write(run + "/summary.json", summary.dump());
  check_refused(tessera({"eval", "--run", run}), 1, {"summary.json", "damaged", "std"});
}

TEST_CASE("train: augmentations that destroy labels are refused") {
  const Folder folder;
  check_refused(tessera(tiny_run(folder / "run", {"augment.flip=true"})), 2, {"flip", "where"});
  CHECK_FALSE(exists(folder / "run"));
}

TEST_CASE("train: without --out runs/RECIPE is made, then runs/RECIPE-2") {
  const Folder folder;
  const auto args = tiny_run("");
  for (int i = 0; i < 2; ++i) {
    const Result r = tessera(args, {.folder = folder.path()});
    INFO(r.err);
    CHECK(r.code == 0);
  }
  check_complete(folder / "runs/where");
  check_complete(folder / "runs/where-2");
}

}  // namespace tessera::test
