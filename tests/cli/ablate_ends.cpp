// How a study ends: signals to the process that looks after it, its exit code, plans that grow together, and runs that were stopped early.
#include <signal.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "tessera/train/lab/page.h"
#include "tessera/train/lab/results.h"
#include "tessera/train/report/html.h"
#include "tests/cli/made_study.h"
#include "tests/cli/program.h"
#include "tests/cli/waiting.h"
#include "tests/unit/report_fixture.h"

namespace tessera::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using Words = std::vector<std::string>;

/// Runs of a moment each.
Words study_of(const std::string& out, const std::string& positions, const std::string& seeds, const Words& more = {}) {
  Words words = tiny_run(out, {"--positions", positions, "--seeds", seeds, "--measures", "accuracy"});
  words[0] = "ablate";
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

/// Marks a run of a made study as stopped early, as a worker does.
void stop_early(const std::string& cell, int epoch) {
  json measures = json::parse(read(cell + "/measures.json"));
  measures["numbers"]["stopped_epoch"] = epoch;
  write(cell + "/measures.json", measures.dump());
}

}  // namespace

TEST_CASE("ablate: one process that looks after its workers heeds every signal that a queue sends") {
  const Folder folder;
  for (const int number : {SIGUSR1, SIGTERM, SIGINT}) {
    const std::string dir = folder / std::to_string(number);
    Process p(study_of(dir, "none", "1..2", {"--epochs", "400", "--jobs", "2"}));
    const auto under_way = [&] {  // an epoch or more behind each
      size_t runs = 0;
      if (exists(dir + "/work"))
        for (const auto& run : fs::directory_iterator(dir + "/work"))
          runs += exists(run.path().string() + "/metrics.jsonl");
      return runs == 2;
    };
    REQUIRE(until(under_way, 60));
    p.signal(number);
    const Result r = p.wait();
    INFO(r.err);
    CHECK(r.code == 130);
    CHECK(count(dir + "/claims") == 0);
    CHECK(r.err.find("stopped by SIG") != std::string::npos);
    CHECK(r.err.find("go on with: tessera ablate --out " + dir) != std::string::npos);
    size_t checkpoints = 0;
    for (const auto& run : fs::directory_iterator(dir + "/work"))
      checkpoints += exists(run.path().string() + "/last.ckpt");
    CHECK(checkpoints == 2);
  }
}

TEST_CASE(
    "ablate: the exit code tells a study without failures from one with some, and the last line where the reasons "
    "are") {
  const Folder folder;
  const std::string dir = folder / "study";
  const Result some = tessera(study_of(dir, "none,gpsa+sasa", "1", {"--jobs", "1"}));
  INFO(some.err);
  CHECK(some.code == 3);
  const std::string last = some.err.substr(some.err.rfind('\n', some.err.size() - 2) + 1);
  CHECK(last.find("1 run finished, 1 failed") != std::string::npos);
  CHECK(last.find(dir + "/failed says why") != std::string::npos);
  CHECK(tessera({"ablate", "--out", dir}).code == 3);
  CHECK(tessera({"ablate", "--worker", "--out", dir}).code == 3);
  CHECK(tessera(study_of(folder / "all", "none", "1", {"--jobs", "1"})).code == 0);
  CHECK(tessera({"ablate", "--help"}).out.find("Exit code 0: all runs are finished; 3:") != std::string::npos);
  CHECK(tessera({"--help"}).out.find("3 done but for runs of a study that failed") != std::string::npos);
}

TEST_CASE("ablate: two processes that grow one plan in the same moment lose neither's cells in silence") {
  for (int round = 0; round < 6; ++round) {
    const Folder folder;
    const std::string dir = folder / "study";
    REQUIRE(tessera(study_of(dir, "none,peg", "1", {"--emit", "mpi"})).code ==
            0);  // one position alone is no part of a cell's name
    const Words wider = study_of(dir, "none,peg,learned", "1", {"--emit", "mpi"}),
                longer = study_of(dir, "none,peg", "1..2", {"--emit", "mpi"});
    Process a(wider), b(longer);
    const Result first = a.wait(), second = b.wait();
    INFO(first.err, second.err);
    CHECK(((first.code == 0) != (second.code == 0)));
    for (const Result& r : {first, second})
      if (r.code != 0) check_refused(r, 2, {"which is not asked for now"});
    const std::string plan = read(dir + "/plan.toml");
    CHECK((plan.find("learned") != std::string::npos) == (first.code == 0));
    CHECK((plan.find("seeds = [1, 2]") != std::string::npos) == (second.code == 0));
    CHECK(count(dir + "/claims") == 0);
    // one that asks for all of it grows it further
    CHECK(tessera(study_of(dir, "none,peg,learned", "1..2", {"--emit", "mpi"})).code == 0);
  }
}

TEST_CASE("ablate: a plan.toml that was emptied is refused, and by the report, too") {
  const Folder folder;
  const std::string dir = folder / "study";
  REQUIRE(tessera(study_of(dir, "none", "1", {"--jobs", "1"})).code == 0);
  for (const char* text : {"", "\n", "# nothing\n", "[run]\n[report]\nbaseline = \"none\"\n"}) {
    write(dir + "/plan.toml", text);
    const Words again = study_of(dir, "none,learned", "1", {"--jobs", "1"});
    for (const Words& words : {Words{"ablate", "--out", dir}, Words{"ablate", "--worker", "--out", dir}, again})
      check_refused(tessera(words), 2, {dir + "/plan.toml", "emptied"});
    CHECK(read(dir + "/plan.toml") == text);
  }
  write(dir + "/plan.toml", "");
  check_refused(tessera({"report", dir}), 1, {dir + "/plan.toml", "emptied"});
}

TEST_CASE("study: runs that were stopped early are marked wherever their numbers are") {
  const Folder folder;
  const std::string dir = folder / "study";
  make_study(dir, {"none", "slow", "rope"}, 3);
  std::vector<std::string> skipped;
  const auto page = [&] { return lab::study_page(lab::study_files(lab::read_results(dir), skipped), dir); };
  CHECK(page().find("\u2020") == std::string::npos);
  stop_early(dir + "/cells/position=1,seed=1", 2), stop_early(dir + "/cells/position=1,seed=3", 1);
  const lab::Results all = lab::read_results(dir);
  for (const char* measure : {"last_acc1", "subset_acc1", "flip.consistency"}) {
    const std::vector<lab::Comparison> table = lab::compare(all, measure);
    REQUIRE(table.size() == 3);
    CHECK(table[1].stopped == 2);
    CHECK(table[1].words.find("2 of 3 runs here were stopped early") != std::string::npos);
    CHECK(table[0].stopped + table[2].stopped == 0);
    CHECK(table[2].words.find("stopped") == std::string::npos);
  }
  const std::string comparisons = lab::comparisons_csv(all), pairs = lab::pairwise_csv(all);
  CHECK(comparisons.substr(0, comparisons.find('\n')).ends_with(",stopped,baseline_stopped,verdict,words"));
  CHECK(comparisons.find(",2,0,") != std::string::npos);
  CHECK(pairs.substr(0, pairs.find('\n')).ends_with(",a_stopped,b_stopped"));
  const std::string html = page();
  CHECK(report::malformed(html) == "");
  CHECK(html.find("2 runs were stopped early") != std::string::npos);
  CHECK(html.find("stopped after epoch 2") != std::string::npos);
  CHECK(html.find("of runs that were stopped early") != std::string::npos);
  // wherever a name stands before numbers: no row or legend of the encoding is without the dagger
  size_t rows = 0;
  for (size_t at = 0; (at = html.find("data-e=\"1\"", at)) != std::string::npos; ++at) {
    const size_t tag = html.rfind('<', at),
                 end = html.compare(tag, 3, "<tr") == 0 ? html.find("</tr>", at) : html.find("</span>", at);
    if (html.compare(tag, 3, "<tr") != 0 && html.compare(tag, 5, "<span") != 0) continue;
    ++rows;
    CHECK_MESSAGE(html.substr(at, end - at).find("\u2020") != std::string::npos, html.substr(at, 200));
  }
  CHECK(rows >= 5);
}

TEST_CASE("study: the page says what a family of Holm's correction is") {
  const Folder folder;
  make_study(folder / "study", {"none", "rope"}, 3);
  REQUIRE(tessera({"report", folder / "study"}).code == 0);
  CHECK(read(folder / "study/report.html").find("a family are the comparisons of one measure with the baseline") !=
        std::string::npos);
}

}  // namespace tessera::test
