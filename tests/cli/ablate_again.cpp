// A run of a study once more, from what is kept of it; and what a study of one cell is.
#include <algorithm>
#include <filesystem>
#include <sstream>

#include "tessera/train/lab/page.h"
#include "tessera/train/lab/page_parts.h"
#include "tessera/train/lab/plan.h"
#include "tessera/train/lab/seams.h"
#include "tests/cli/program.h"
#include "tests/cli/waiting.h"

namespace tessera::test {
namespace {

namespace fs = std::filesystem;
using lab::Again, lab::Findings, lab::Plan, lab::StudyGroup;

std::vector<std::string> words_of(const std::string& line) {
  std::vector<std::string> all;
  std::istringstream in(line);
  for (std::string word; in >> word;) all.push_back(word);
  return all;
}

}  // namespace

TEST_CASE("ablate: where only the tables are kept, the command of the page gives a run again, to the bit") {
  const Folder folder;
  const std::string dir = folder / "study", kept = folder / "kept";
  write(folder / "plan.toml", R"([run]
data = "where:quadrant"
epochs = 1
batch_size = 16
seeds = [1, 2]
"data.train_size" = 64
"data.val_size" = 16
"data.test_size" = 32
model.depth = 1
model.embed_dim = 16
model.num_heads = 2
model.patch_size = 8
[grid]
position = ["none", "shaw"]
[[extra]]
position = "shaw"
"position.max_distance" = 3
[report]
baseline = "none"
measures = ["accuracy"]
stop_worse = 0.9
)");
  const Result r = tessera({"ablate", folder / "plan.toml", "--out", dir, "--jobs", "1"});
  INFO(r.err);
  REQUIRE(r.code == 0);
  fs::create_directories(kept);
  for (const auto& e : fs::directory_iterator(dir))
    if (e.is_regular_file()) fs::copy_file(e.path(), kept + "/" + e.path().filename().string());
  const Findings study = lab::read_findings(lab::read_study_files(kept), kept);
  const Again again(study);
  std::vector<std::string> commands;
  for (const StudyGroup& g : study.groups)
    for (const lab::StudyRun& run : g.runs) commands.push_back(again.by_plan(g, run));
  const std::string begin = "tessera ablate plan.toml --out again --positions ";
  CHECK(std::ranges::count(commands, begin + "none --seeds 1 --no-extra --stop-worse 0") == 1);
  const std::string extra = begin + "shaw position.max_distance=3 --seeds 2 --no-extra --stop-worse 0";
  REQUIRE(std::ranges::count(commands, extra) == 1);
  std::string page = read(kept + "/report.html");
  for (size_t at = 0; (at = page.find("<wbr/>")) != std::string::npos;) page.erase(at, 6);
  for (const std::string& command : commands) CHECK_MESSAGE(page.find(command) != std::string::npos, command);

  std::vector<std::string> words = words_of(extra);
  words.erase(words.begin());
  const Result once_more = tessera(words, {.folder = kept});
  INFO(once_more.err);
  REQUIRE(once_more.code == 0);
  CHECK(once_more.err.find("one cell: there is nothing to compare") != std::string::npos);
  CHECK(count(kept + "/again/cells") == 1);
  for (const char* file : {"/config.toml", "/weights.safetensors", "/measures.json"})
    CHECK(read(kept + "/again/cells/seed=2" + file) ==
          read(dir + "/cells/position=shaw,position.max_distance=3,seed=2" + file));
  CHECK(read(kept + "/again/comparisons.csv").find("there is no baseline") != std::string::npos);
  CHECK(exists(kept + "/again/report.html"));
}

TEST_CASE("study page: the command of a run says what its plan has to be told, or there is none") {
  Findings study;
  study.grid = {"position.name", "optim.betas", "optim.lr_scale", "model.name"};
  const lab::StudyRun run{"7", {}, {}, {}};
  const auto command = [&](const std::vector<std::string>& values, const std::string& plan) {
    study.plan = plan;
    return Again(study).by_plan({values, 0, 0, {}}, run);
  };
  const std::string grid = "[grid]\n\"position.name\" = [\"none\", \"shaw\"]\n",
                    begin = "tessera ablate plan.toml --out again ";
  CHECK(command({"none", "", "", ""}, grid) == begin + "--positions none --seeds 7");
  CHECK(command({"none", "[0.9, 0.99]", "", "vit"}, grid) ==
        begin + "--positions none 'optim.betas=[0.9, 0.99]' model.name=vit --seeds 7");
  CHECK(command({"it's", "", "", ""}, grid) == begin + "--positions 'it'\\''s' --seeds 7");
  CHECK(command({"none", "", "", ""}, grid + "[report]\nstop_worse = 0.1\n").ends_with("--seeds 7 --stop-worse 0"));
  CHECK(command({"none", "", "", ""}, grid + "[[extra]]\nposition = \"rope\"\n").ends_with("--seeds 7 --no-extra"));
  CHECK(command({"none", "", "a=1,b=2", ""}, grid).empty());  // a list, to a command line
  CHECK(command({"", "", "", "swin"}, grid).empty());         // beside the grid, and without a key of it
  for (const char* none : {"", "# nothing\n", "[grid\n"}) CHECK(command({"none", "", "", ""}, none).empty());
}

TEST_CASE("plan: one cell is a study, and has no baseline, whatever the plan says") {
  lab::Words words = lab::read_plan(
      "[run]\ndata = \"where\"\nseeds = [1]\n[grid]\nposition = [\"none\", \"shaw\"]\n[report]\nbaseline = \"none\"\n",
      "p.toml");
  lab::assign(words, "position", "shaw");
  const Plan plan = lab::make_plan(words);
  REQUIRE(plan.cells.size() == 1);
  CHECK(plan.cells[0].refused == "");
  CHECK(plan.cells[0].reference == -1);
  CHECK(plan.baseline_key == "");
  CHECK(plan.note.find("one cell: there is nothing to compare, and baseline ") != std::string::npos);
  CHECK(plan.note.ends_with(" is left out"));
  const Plan again = lab::make_plan(lab::read_plan(plan.text, "plan.toml"));
  CHECK(lab::differs(plan, again) == "");
  CHECK(again.note == "");
}

TEST_CASE("ablate: whose commit is not the code is told before the runs begin") {
  CHECK(lab::unclean("cf9eaf0d1234") == "");
  CHECK(lab::unclean("unknown") == "");
  const std::string line = lab::unclean("cf9eaf0d1234-dirty");
  CHECK(line.find("cf9eaf0d1234-dirty, which is not this code") != std::string::npos);
  CHECK(line.find('\n') == std::string::npos);
}

}  // namespace tessera::test
