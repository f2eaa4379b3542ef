// What a process does with a study that it is not alone with: dry runs, scripts, machines without the data, claims and failures of others.
#include <fmt/format.h>

#include <cerrno>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <system_error>

#include "tessera/train/lab/crew.h"
#include "tessera/train/lab/study.h"
#include "tessera/train/lab/worker.h"
#include "tests/cli/program.h"
#include "tests/cli/waiting.h"

namespace tessera::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using Words = std::vector<std::string>;

/// Runs of a moment each.
Words study_of(const std::string& out, const std::string& positions, const Words& more = {}) {
  Words words = tiny_run(out, {"--positions", positions, "--seeds", "1", "--measures", "accuracy"});
  words[0] = "ablate";
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

}  // namespace

TEST_CASE("ablate: a dry run refuses what the command refuses, and tells what is left to do") {
  const Folder folder;
  check_refused(tessera({"ablate", "--dry-run"}), 2, {"--dry-run of what", "--out"});
  check_refused(tessera(study_of(folder / "vain", "none,alibi", {"position.theta=3", "--dry-run"})), 2,
                {"none of 2 runs can be"});
  fs::create_directories(folder / "full/cells");
  check_refused(tessera(study_of(folder / "full", "none,shaw", {"--dry-run"})), 2, {"no plan.toml"});
  const std::string dir = folder / "study";
  REQUIRE(tessera(study_of(dir, "none,gpsa+sasa", {"--jobs", "1"})).code == 3);
  check_refused(tessera(study_of(dir, "none,gpsa+sasa", {"--epochs", "7", "--dry-run"})), 2,
                {"another study", "train.epochs"});
  const auto dry = [&](const Words& more) {
    Words words = study_of(dir, "none,gpsa+sasa,learned", {"--dry-run", "--threads", "1"});
    words.insert(words.end(), more.begin(), more.end());
    const Result r = tessera(words);
    INFO(r.err);
    CHECK(r.code == 0);
    return r.out;
  };
  const std::string out = dry({});
  CHECK(out.find("position=none") == std::string::npos);
  CHECK(out.find("position=gpsa+sasa") == std::string::npos);
  CHECK(out.find("\nposition=learned,seed=1 ") == std::string::npos);
  CHECK(out.starts_with("position=learned,seed=1 "));
  CHECK(out.find("1 run beside 1 that is finished and 1 that failed, of which 1 can be") != std::string::npos);
  CHECK(out.find("with 1 thread ") != std::string::npos);
  CHECK(dry({"--retry"}).find("position=gpsa+sasa,seed=1") != std::string::npos);
  RunOptions other;
  other.env = {"TESSERA_ISA=scalar"};
  check_refused(tessera({"ablate", "--out", dir, "--dry-run"}, other), 2, {"--allow-mixed-isa"});
  CHECK(read(dir + "/plan.toml").find("learned") == std::string::npos);
}

TEST_CASE("ablate: a script has what its workers are to be told, and a wrong word begins no folder") {
  const Folder folder;
  check_refused(tessera(study_of(folder / "pbs", "none,shaw", {"--emit", "pbs"})), 2, {"slurm"});
  CHECK(!exists(folder / "pbs"));
  for (const char* how : {"slurm", "parallel", "mpi"}) {
    const std::string dir = folder / how;
    CHECK(tessera(study_of(dir, "none,shaw", {"--emit", how})).out.find("--stale-after") == std::string::npos);
    const Result r = tessera(study_of(dir, "none,shaw", {"--emit", how, "--stale-after", "300", "--allow-mixed-isa"}));
    CHECK(r.out.find(" --stale-after 300 --allow-mixed-isa") != std::string::npos);
  }
}

TEST_CASE("ablate: a worker without the data of a run leaves it to other machines, and fails none") {
  const Folder folder;
  const std::string dir = folder / "study", pictures = "imagefolder:" + (folder / "pictures");
  Words plan = study_of(dir, "none", {"--emit", "mpi"});
  for (std::string& word : plan)
    if (word == "where:quadrant") word = "where:quadrant," + pictures;
  REQUIRE(std::ranges::count(plan, "where:quadrant," + pictures) == 1);
  plan.insert(plan.end(), "recipe=where");
  const Result begun = tessera(plan);
  INFO(begun.err);
  REQUIRE(begun.code == 0);
  const Words worker{"ablate", "--worker", "--out", dir, "--threads", "1"};
  for (int i = 0; i < 2; ++i) {
    check_refused(tessera(worker), 1, {pictures, "was not found on this machine", "1 run left"});
    CHECK(count(dir + "/failed") == 0);
    CHECK(count(dir + "/claims") == 0);
    CHECK(count(dir + "/cells") == 1);  // the other one it does
  }
  // who looks after a machine knows of no other
  CHECK(tessera({"ablate", "--out", dir, "--jobs", "1"}).code == 3);
  CHECK(count(dir + "/failed") == 1);
}

TEST_CASE("ablate: a folder of pictures below data.dir is found by whoever goes on, too") {
  const Folder folder;
  const std::string dir = folder / "study";
  REQUIRE(tessera({"data", "make", "where:quadrant", "--out", folder / "there/pictures", "--train-size", "32",
                   "--test-size", "16"})
              .code == 0);
  Words plan = study_of(dir, "none,learned", {"--emit", "mpi"});
  for (std::string& word : plan)
    if (word == "where:quadrant") word = "imagefolder:pictures";
  std::erase_if(plan, [](const std::string& word) { return word.starts_with("data."); });
  plan.insert(plan.end(), {"recipe=where", "data.train_size=0", "--data-dir", folder / "there"});
  RunOptions here;
  here.folder = folder.path();
  const Result begun = tessera(plan, here);
  INFO(begun.err);
  REQUIRE(begun.code == 0);
  for (int i = 0; i < 2; ++i) {  // the second one finds all done
    const Result r = tessera({"ablate", "--worker", "--out", dir, "--threads", "1"}, here);
    INFO(r.err);
    CHECK(r.code == 0);
    CHECK(count(dir + "/failed") == 0);
  }
}

TEST_CASE("study: who finds all cells of its plan done clears their claims, and nobody else's") {
  const Folder folder;
  const lab::Study study{folder / "study"};
  for (const auto& f : {study.cells(), study.work(), study.claims(), study.failures()}) fs::create_directories(f);
  lab::Plan plan;
  const std::string longer = "position=" + std::string(150, 'x') + ",seed=1";
  for (const std::string& name : {std::string("a"), std::string("a.new-b"), longer}) {
    lab::Cell cell;
    cell.name = name;
    plan.cells.push_back(cell);
    fs::create_directories(study.cell(name));
  }
  lab::Claims mine(study.claims(), 60);
  const auto added = mine.take("added");  // of a cell that another process made the plan grow by
  for (const char* name : {"a", "a.new-b", ".a.new-host-1-00000000", ".a.over-0123-0", ".a.new-b.new-host-1-00000000",
                           "@plan", ".@plan.new-host-1-00000000", ".added.over-0123-0", ".aa.new-host-1-00000000"})
    write(study.claims() + "/" + name, "");
  write(study.claims() + "/" + longer, "");
  lab::tidy(study, plan);
  CHECK(added->check());
  CHECK(exists(study.claims() + "/@plan"));
  CHECK(exists(study.claims() + "/.added.over-0123-0"));
  CHECK(exists(study.claims() + "/.aa.new-host-1-00000000"));
  CHECK(count(study.claims()) == 5);
}

TEST_CASE("ablate: beside a baseline that failed nothing is judged, whenever it failed") {
  const Folder folder;
  const lab::Study study{folder / "study"};
  const lab::Plan plan = lab::make_plan(lab::read_plan(
      "[run]\ndata = \"where\"\n\"data.val_size\" = 100\nseeds = [1]\n[grid]\nposition = [\"none\", \"shaw\"]\n"
      "[report]\nstop_worse = 0.1\nbaseline = \"none\"",
      "p.toml"));
  lab::open_study(study, plan);
  lab::record_failure(study, plan.cells[0], "no memory");
  CHECK(lab::work(study, plan, {}) == lab::WorkEnd::all_done);
  CHECK(count(study.cells()) == 0);
  CHECK(lab::reason_of(study, plan.cells[1]).find("beside position=none,seed=1, which failed") != std::string::npos);
  CHECK(count(study.claims()) == 0);
  CHECK(lab::forget_failures(study) == 2);  // what is tried once more is both
}

TEST_CASE("ablate: a disk that is full is the study's, and not that of the data") {
  const auto of = [](const std::string& dir, const std::string& path) {
    return lab::of_the_disk(fmt::format("[x] {}: {}", path, std::generic_category().message(EACCES)), {dir});
  };
  for (const std::string dir : {".", "d", "/home/me/d", "it's a study", "d/"}) {
    INFO(dir);
    const lab::Study study{dir};
    for (const std::string& path : {study.plan(), study.cell("a") + "/cell.json", study.work() + "/a@b/.x.tmp-1-1",
                                    dir + "/.plan.toml.me", dir + "/results.csv", study.claims(), dir})
      CHECK_MESSAGE(of(dir, path), path);
    for (const std::string path : {"./data/cifar-10-batches-bin/test_batch.bin", "data/d/x", "/data/x.png",
                                   "/d/cells/x", "../d/cells/x", "dd/cells/x", "/mnt/./cells/x"})
      CHECK_MESSAGE(!of(dir, path), path);
  }
  CHECK(!lab::of_the_disk("[x] d/cells/a: no such thing", {"d"}));
}

TEST_CASE("ablate: so many threads each are so many runs at a time") {
  const auto split = [](int runs, int cores, int threads) {
    const lab::Split s = lab::widest_split(runs, cores, threads);
    return std::pair(s.jobs, s.threads);
  };
  CHECK(split(10, 8, 0) == std::pair(8, 1));
  CHECK(split(3, 8, 0) == std::pair(3, 2));
  CHECK(split(1, 8, 0) == std::pair(1, 8));
  CHECK(split(10, 8, 2) == std::pair(4, 2));
  CHECK(split(3, 8, 2) == std::pair(3, 2));
  CHECK(split(1, 8, 2) == std::pair(1, 2));
  CHECK(split(10, 8, 3) == std::pair(2, 3));
  CHECK(split(10, 8, 20) == std::pair(1, 20));
  CHECK(split(0, 1, 0) == std::pair(1, 1));
}

}  // namespace tessera::test
