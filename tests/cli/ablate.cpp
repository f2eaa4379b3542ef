// A study as its folder: one process, several, killed ones, some with another clock; on a full disk, under Slurm and MPI. What is compared
// is results.csv, to the byte.
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>

#include "tessera/train/lab/study.h"
#include "tests/cli/program.h"
#include "tests/cli/waiting.h"

namespace tessera::test {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using nlohmann::json;
using Words = std::vector<std::string>;

/// Six runs of a moment each.
Words tiny_study(const std::string& out, const Words& more = {}) {
  Words words = tiny_run(out, {"--positions", "none,learned,shaw", "--seeds", "1..2", "--measures", "accuracy"});
  words[0] = "ablate";
  words.insert(words.end(), more.begin(), more.end());
  return words;
}
Words worker(const std::string& out, const Words& more = {}) {
  Words words{"ablate", "--worker", "--out", out, "--threads", "1", "--stale-after", "2"};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

/// What is to be equal however it came about: the table to the byte, and the weights of every run.
std::string outcome(const std::string& dir) {
  std::vector<std::string> runs;
  for (const auto& cell : fs::directory_iterator(dir + "/cells"))
    runs.push_back(cell.path().filename().string() + " " +
                   std::to_string(std::hash<std::string>()(read(cell.path().string() + "/weights.safetensors"))) +
                   "\n");
  std::sort(runs.begin(), runs.end());
  std::string all = read(dir + "/results.csv");
  for (const std::string& run : runs) all += run;
  return all;
}

/// The outcome of the study as one undisturbed process leaves it, made once.
const std::string& undisturbed() {
  static const std::string table = [] {
    const Folder folder;
    const Result r = tessera(tiny_study(folder / "study", {"--jobs", "1"}));
    INFO(r.err);
    REQUIRE(r.code == 0);
    return outcome(folder / "study");
  }();
  return table;
}

void begin(const std::string& out) {
  const Result r = tessera(tiny_study(out, {"--emit", "mpi"}));
  REQUIRE(r.code == 0);
}

}  // namespace

TEST_CASE("ablate: a finished run of another plan does not stand in the tables as if it were of this one") {
  const Folder folder;
  const std::string dir = folder / "study";
  const Words one = tiny_study(dir, {"--positions", "none", "--seeds", "1", "--jobs", "1"});
  REQUIRE(tessera(one).code == 0);
  const std::string cell = fs::directory_iterator(dir + "/cells")->path().string();
  fs::copy(cell, dir + "/cells/stranger", fs::copy_options::recursive);
  const Result more = tessera(one);
  CHECK(more.code == 3);  // a run that cannot stand in the tables
  CHECK(more.err.find("cells/stranger is no run of this plan") != std::string::npos);
  fs::remove_all(dir + "/cells/stranger");
  std::string plan = read(dir + "/plan.toml");
  const size_t at = plan.find("epochs");
  REQUIRE(at != std::string::npos);
  plan.replace(plan.find('2', at), 1, "3");
  write(dir + "/plan.toml", plan);
  check_refused(tessera({"ablate", "--out", dir}), 2, {cell, "another plan"});
  check_refused(tessera(worker(dir)), 2, {cell, "another plan"});
}

TEST_CASE(
    "ablate: a study leaves its plan, its cells and its tables; a cell is what train makes of its configuration") {
  const Folder folder;
  const std::string dir = folder / "study";
  const Result r = tessera(tiny_study(dir, {"--jobs", "2"}));
  INFO(r.err);
  REQUIRE(r.code == 0);
  CHECK(r.out.empty());
  CHECK(count(dir + "/cells") == 6);
  CHECK(count(dir + "/work") == 0);
  CHECK(count(dir + "/claims") == 0);
  CHECK(outcome(dir) == undisturbed());
  for (const char* file : {"plan.toml", "timings.csv", "comparisons.csv"}) CHECK(exists(dir + "/" + file));
  const std::string cell = dir + "/cells/position=shaw,seed=2";
  const json said = json::parse(read(cell + "/cell.json"));
  CHECK(said["keys"]["position.name"] == "shaw");
  CHECK(said["seed"] == 2);
  const Result alone = tessera({"train", cell + "/config.toml", "--out", folder / "alone"});
  REQUIRE(alone.code == 0);
  CHECK(read(folder / "alone/weights.safetensors") == read(cell + "/weights.safetensors"));
  // the same again has nothing to do; more seeds are more cells; another study is refused
  CHECK(tessera(tiny_study(dir, {"--jobs", "1"})).code == 0);
  CHECK(tessera({"ablate", "--out", dir}).code == 0);
  CHECK(outcome(dir) == undisturbed());
  check_refused(tessera(tiny_study(dir, {"--epochs", "3"})), 2, {"another study", "train.epochs"});
  CHECK(tessera(tiny_study(dir, {"--seeds", "1..3", "--jobs", "2"})).code == 0);
  CHECK(count(dir + "/cells") == 9);
  // what is damaged is not counted as finished, and is made anew where its folder is gone
  const std::string table = read(dir + "/results.csv"), metrics = read(cell + "/metrics.jsonl");
  write(cell + "/metrics.jsonl", "{}}\n");  // it is in the tables all the same
  const Result odd = tessera({"ablate", "--out", dir});
  CHECK(odd.code == 0);
  CHECK(odd.err.find("the page is without the curves") != std::string::npos);
  CHECK(odd.err.find("damaged") == std::string::npos);
  CHECK(read(dir + "/results.csv") == table);
  write(cell + "/metrics.jsonl", metrics);
  write(cell + "/measures.json", "{");
  const Result hurt = tessera({"ablate", "--out", dir});
  INFO(hurt.err);
  CHECK(hurt.err.find("8 runs finished, 0 failed, 1 damaged") != std::string::npos);
  CHECK(hurt.err.find("remove its folder") != std::string::npos);
  fs::remove_all(cell);
  CHECK(tessera({"ablate", "--out", dir, "--jobs", "1"}).code == 0);
  CHECK(read(dir + "/results.csv") == table);
}

TEST_CASE("ablate: what cannot be, and what fails, is recorded with its reason, and the rest goes on") {
  const Folder folder;
  const std::string dir = folder / "study";
  write(folder / "plan.toml", R"([run]
data = "where:quadrant"
epochs = 1
batch_size = 16
seeds = [1]
"data.train_size" = 48
"data.test_size" = 32
model.depth = 1
model.embed_dim = 16
model.num_heads = 2
model.patch_size = 8
[grid]
position = ["none", "gpsa+sasa", "rope_axial"]
[[extra]]
position = "none"
"position.theta" = 3.0
[[extra]]
position = "none"
lr = 1e20
[[extra]]
position = "none"
data = "imagefolder:/nowhere/at/all"
"data.train_size" = 0
"data.test_size" = 0
[report]
measures = ["accuracy"]
)");
  const Result r = tessera({"ablate", folder / "plan.toml", "--out", dir, "--jobs", "1"});
  INFO(r.err);
  CHECK(r.code == 3);  // at its end, with failures
  const auto reason = [&](const std::string& name) -> std::string {
    return json::parse(read(dir + "/failed/" + name + ".json"))["reason"];
  };
  CHECK(count(dir + "/cells") == 2);
  CHECK(reason("position=gpsa+sasa,seed=1").find("both replace the attention") != std::string::npos);
  CHECK(reason("position=none,position.theta=3,seed=1").find("theta") != std::string::npos);
  CHECK(reason("position=none,optim.lr=1e+20,seed=1").find("finite") != std::string::npos);
  CHECK(count(dir + "/failed") == 4);
  const Result dry = tessera({"ablate", folder / "plan.toml", "--dry-run"});
  INFO(dry.out);
  CHECK(dry.code == 0);
  CHECK(dry.out.find("cannot be: ") != std::string::npos);
  CHECK(dry.out.find("one seed") != std::string::npos);
  CHECK(dry.out.find("seeds show") == std::string::npos);  // cells that cannot be are no seeds of each other
}

TEST_CASE("ablate: killed three times and started again, it ends with the same table") {
  const Folder folder;
  const std::string dir = folder / "study";
  int killed = 0;
  for (size_t kill = 0; kill < 3; ++kill) {
    Process p(tiny_study(dir, {"--jobs", "1", "--stale-after", "2"}));
    until([&] { return !p.running() || (count(dir + "/cells") > kill && count(dir + "/work") > 0); });
    std::this_thread::sleep_for(std::chrono::milliseconds(13 * kill));
    p.signal(SIGKILL);
    killed += p.wait().code == 128 + SIGKILL;
  }
  CHECK(killed > 0);
  const Result r = tessera(tiny_study(dir, {"--jobs", "1", "--stale-after", "2"}));
  INFO(r.err);
  CHECK(r.code == 0);
  CHECK(outcome(dir) == undisturbed());
  CHECK(count(dir + "/work") == 0);
}

#ifdef TESSERA_AN_HOUR_OFF
TEST_CASE("ablate: of four workers two are killed and one lives an hour later, and the table is the same") {
  const Folder folder;
  const std::string dir = folder / "study";
  begin(dir);
  std::vector<std::unique_ptr<Process>> all;
  for (int i = 0; i < 4; ++i) {
    RunOptions options;
    if (i == 3) options.env = {std::string("LD_PRELOAD=") + TESSERA_AN_HOUR_OFF};
    all.push_back(std::make_unique<Process>(worker(dir), options));
  }
  // in the midst of what they do
  REQUIRE(until([&] { return count(dir + "/work") >= 2 || count(dir + "/cells") == 6; }));
  std::this_thread::sleep_for(100ms);
  all[0]->signal(SIGKILL), all[1]->signal(SIGKILL);
  for (const int i : {0, 1}) CHECK(all[static_cast<size_t>(i)]->wait().code == 128 + SIGKILL);
  for (const int i : {2, 3}) {
    const Result r = all[static_cast<size_t>(i)]->wait();
    INFO(r.err);
    CHECK(r.code == 0);
  }
  CHECK(outcome(dir) == undisturbed());
}
#endif

TEST_CASE("ablate: a signal writes a checkpoint, frees the run and ends with 130; the rest follows") {
  const Folder folder;
  const std::string dir = folder / "study";
  begin(dir);
  for (const int number : {SIGTERM, SIGUSR1, SIGINT}) {
    Process p(worker(dir));
    REQUIRE(until([&] { return count(dir + "/claims") > 0 || !p.running(); }));  // a fast one has nothing left to do
    std::this_thread::sleep_for(50ms);
    p.signal(number);
    const Result r = p.wait();
    INFO(r.err);
    CHECK((r.code == 130 || r.code == 0));
    CHECK(count(dir + "/claims") == 0);
  }
  Process whole(tiny_study(dir, {"--jobs", "2"}));
  std::this_thread::sleep_for(500ms);
  whole.signal(SIGTERM);
  const int code = whole.wait().code;
  CHECK((code == 130 || code == 0));
  CHECK(count(dir + "/claims") == 0);
  CHECK(tessera({"ablate", "--out", dir, "--jobs", "1"}).code == 0);
  CHECK(outcome(dir) == undisturbed());
}

TEST_CASE("ablate: a full disk ends it with one line, and later it goes on") {
  const Folder folder;
  const std::string dir = folder / "study";
  begin(dir);
  for (const char* fault : {"write:3000:ENOSPC", "rename:2000:EACCES"}) {
    RunOptions options;
    options.env = {std::string("TESSERA_FAULT=") + fault};
    const Result r = tessera(worker(dir), options);
    check_refused(r, 1, {dir});
    CHECK(count(dir + "/failed") == 0);
  }
  CHECK(tessera(worker(dir)).code == 0);
  CHECK(outcome(dir) == undisturbed());
}

TEST_CASE("ablate: tasks of a Slurm array are workers") {
  const Folder folder;
  const std::string dir = folder / "it's a study";
  const Result script = tessera(tiny_study(dir, {"--emit", "slurm", "--jobs", "2", "--threads", "1"}));
  REQUIRE(script.code == 0);
  write(folder / "job.sh", script.out);
  const std::string task = "SLURM_CPUS_PER_TASK=1 SLURM_ARRAY_TASK_ID=";
  const std::string both = task + "1 bash " + (folder / "job.sh") + " 2>/dev/null & " + task + "2 bash " +
                           (folder / "job.sh") + " 2>/dev/null; status=$?; wait $! && exit $status";
  CHECK(system(both.c_str()) == 0);
  CHECK(outcome(dir) == undisturbed());
}

TEST_CASE("ablate: ranks under mpirun are workers") {  // counted as skipped where there is none (tests/CMakeLists.txt)
  const Folder folder;
  const std::string dir = folder / "study";
  const Result script = tessera(tiny_study(dir, {"--emit", "mpi", "--jobs", "2"}));
  REQUIRE(script.code == 0);
  write(folder / "mpi.sh", script.out);
  const std::string log = folder / "mpi.log";
  const int status = system(("sh " + (folder / "mpi.sh") + " --oversubscribe --allow-run-as-root 2>" + log).c_str());
  const std::string said = read(log);  // read() asserts, which inside of INFO would wait for itself
  INFO(said);
  CHECK(status == 0);
  CHECK(outcome(dir) == undisturbed());
}

TEST_CASE("ablate: clearly worse runs are stopped by validation alone, whoever works in which order") {
  const Folder folder;
  const auto words = [&](const std::string& out, const std::string& jobs) {
    return Words{"ablate",
                 "--out",
                 out,
                 "optim.lr=3e-3,0",
                 "--seeds",
                 "1..2",
                 "--data",
                 "where:quadrant",
                 "--position",
                 "learned",
                 "--epochs",
                 "4",
                 "--batch-size",
                 "16",
                 "data.train_size=256",
                 "data.val_size=64",
                 "data.test_size=32",
                 "model.depth=1",
                 "model.embed_dim=16",
                 "model.num_heads=2",
                 "model.patch_size=8",
                 "--measures",
                 "accuracy",
                 "--baseline",
                 "0.003",
                 "--stop-worse",
                 "0.02",
                 "--stop-epochs",
                 "1",
                 "--jobs",
                 jobs};
  };
  for (const char* jobs : {"1", "2"}) {
    const Result r = tessera(words(folder / jobs, jobs));
    INFO(r.err);
    REQUIRE(r.code == 0);
  }
  CHECK(read(folder / "1/results.csv") == read(folder / "2/results.csv"));
  const std::string cell = folder / "1/cells/optim.lr=0,seed=1";
  const json said = json::parse(read(cell + "/cell.json"));
  REQUIRE(said.contains("stopped"));
  CHECK(said["stopped"]["epoch"] < 4);
  CHECK(read(folder / "1/results.csv").find("stopped_epoch") != std::string::npos);
  CHECK(json::parse(read(cell + "/summary.json"))["ended"] == "max_steps");
  CHECK_FALSE(json::parse(read(folder / "1/cells/optim.lr=0.003,seed=1/cell.json")).contains("stopped"));
}

TEST_CASE("ablate: of two studies that begin in one folder in the same moment one has it, and the other is told") {
  for (int round = 0; round < 8; ++round) {
    const Folder folder;
    std::vector<std::unique_ptr<Process>> all;
    for (int i = 0; i < 4; ++i)
      all.push_back(std::make_unique<Process>(
          tiny_study(folder / "study", {"--emit", "mpi", "optim.lr=0.00" + std::to_string(1 + i % 2)})));
    int codes[4];
    for (int i = 0; i < 4; ++i) {
      const Result r = all[static_cast<size_t>(i)]->wait();
      codes[i] = r.code;
      INFO(r.err);
      CHECK((r.code == 0 || (r.code == 2 && r.err.find("another study") != std::string::npos)));
    }
    CHECK(codes[0] == codes[2]);
    CHECK(codes[1] == codes[3]);
    CHECK(codes[0] != codes[1]);
    const bool first = read(folder / "study/plan.toml").find("\"optim.lr\" = 0.001") != std::string::npos;
    CHECK(codes[first ? 0 : 1] == 0);
  }
}

TEST_CASE("ablate: wrong usage is one line") {
  const Folder folder;
  check_refused(tessera({"ablate", "--positions", "none"}), 2, {"--out"});
  check_refused(tessera({"ablate", "--out", folder / "x"}), 2, {"no plan.toml"});
  check_refused(tessera({"ablate", "--worker", "--out", folder / "x"}), 2, {"no plan.toml"});
  check_refused(tessera({"ablate", folder / "no.toml", "--out", folder / "x"}), 2, {"no.toml"});
  check_refused(tessera({"ablate", "--positions", "none,shaw", "--emit", "pbs", "--out", folder / "y"}), 2, {"slurm"});
  check_refused(
      tessera({"ablate", "--positions", "none,alibi", "position.theta=3", "--data", "where", "--out", folder / "z"}), 2,
      {"none of 6 runs can be", "theta"});
  for (const std::vector<std::string>& more :
       std::vector<std::vector<std::string>>{{}, {"--dry-run"}, {"--emit", "mpi"}}) {
    std::vector<std::string> words{"ablate", "--positions", "none,lerned", "--data", "where", "--out", folder / "z"};
    words.insert(words.end(), more.begin(), more.end());
    check_refused(tessera(words), 2, {"lerned", "learned"});
  }
  CHECK(!exists(folder / "z"));  // the slip is mended, and the folder still free
  write(folder / "w", "a file");
  check_refused(tessera({"ablate", "--positions", "none,shaw", "--out", folder / "w"}), 2, {"no directory"});
  fs::create_directories(folder / "full/cells");
  check_refused(tessera({"ablate", "--positions", "none,shaw", "--out", folder / "full"}), 2, {"no plan.toml"});
  begin(folder / "isa");
  RunOptions options;
  options.env = {"TESSERA_ISA=scalar"};
  check_refused(tessera(worker(folder / "isa"), options), 2, {"--allow-mixed-isa"});
}

}  // namespace tessera::test
