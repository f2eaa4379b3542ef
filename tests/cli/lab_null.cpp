// Experiments in which nothing differs, through the code that makes the tables of a study: how often is chance called a difference?
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <numeric>

#include "tessera/core/rng.h"
#include "tessera/train/lab/page_csv.h"
#include "tessera/train/lab/results.h"
#include "tests/cli/made_study.h"
#include "tests/cli/program.h"

namespace tessera::test {
namespace {

namespace fs = std::filesystem;
using namespace lab;

constexpr int experiments = 200, most_alarms = 14;  // 7 %: the level, 5 %, and what chance may add to it in so few
constexpr size_t seeds = 5;

/// Two groups of five of these runs, of which no run is in both, as if they were two encodings with the same five seeds.
Results two_groups(const std::vector<CellRun>& runs, const std::vector<size_t>& order) {
  Results all;
  all.keys = {"position.name"}, all.measures = {"last_acc1"};
  all.baseline_key = all.keys[0], all.baseline_value = "once";
  for (size_t g = 0; g < 2; ++g) {
    CellGroup& group = all.groups.emplace_back();
    group.label = g == 0 ? "once" : "again", group.values = {group.label}, group.baseline = 0;
    for (size_t i = 0; i < seeds; ++i) {
      group.runs.push_back(all.runs.size());
      CellRun& run = all.runs.emplace_back(runs[order[seeds * g + i]]);
      run.values = group.values, run.seed = static_cast<int64_t>(i) + 1;
    }
  }
  return all;
}

/// In how many of the experiments the second group, drawn from the same runs as the first, is called better or worse.
int alarms(const std::vector<CellRun>& runs) {
  const rng::Stream stream(0);
  uint64_t next = 0;
  int called = 0;
  for (int experiment = 0; experiment < experiments; ++experiment) {
    std::vector<size_t> order(runs.size());
    std::iota(order.begin(), order.end(), size_t{0});
    for (size_t i = 0; i < 2 * seeds; ++i)
      std::swap(order[i], order[i + stream.below(next++, static_cast<uint32_t>(order.size() - i))]);
    const std::vector<Comparison> table = compare(two_groups(runs, order), "last_acc1");
    REQUIRE(table.size() == 2);
    const Comparison& c = table[1];
    REQUIRE(c.difference.n == static_cast<int>(seeds));
    called += c.verdict == Verdict::better || c.verdict == Verdict::worse;
    if (runs[0].right.empty()) continue;
    CHECK(c.images.low <= c.difference.mean);  // of the very answers that the accuracies count
    CHECK(c.difference.mean <= c.images.high);
    CHECK(c.seeds_and_images.high - c.seeds_and_images.low >= c.images.high - c.images.low);
  }
  return called;
}

}  // namespace

TEST_CASE("null experiments: of 200 comparisons of one encoding with itself the tables call at most 7 % a difference") {
  const Folder folder;
  const std::string dir = folder / "study";
  constexpr int runs = 40, images = 400;
  make_study(dir, {"none"}, runs + 1);  // the last one has failed
  const rng::Stream skills(31), hard(32), draws(33);
  for (uint64_t run = 0; run < runs; ++run) {
    const double skill = 0.7 + 0.02 * skills.normal(run);  // seeds differ, and so do images
    std::vector<uint8_t> right(images);
    for (uint64_t i = 0; i < images; ++i)
      right[i] = draws.uniform(run * images + i) < skill + 0.5 * (hard.uniform(i) - 0.5);
    make_answers(fmt::format("{}/cells/position=0,seed={}", dir, run + 1), right);
  }
  const Results all = read_results(dir);
  REQUIRE(all.runs.size() == runs);
  REQUIRE(all.runs[0].right.size() == images);
  const int called = alarms(all.runs);
  INFO(called << " of 200");
  CHECK(called <= most_alarms);
  CHECK(called > 0);  // nor are they never called: a test that sees nothing has no alarms either
}

TEST_CASE(
    "null experiments: the same of the accuracies of real seeds (data/null_accuracies.csv, "
    "tests/lab/null_accuracies.sh)") {
  const std::string file = TESSERA_SOURCE_DIR "/tests/cli/data/null_accuracies.csv";
  if (!fs::exists(file)) {
    MESSAGE("skipped: no " << file);
    return;
  }
  const Csv table = parse_csv(read(file), file);
  REQUIRE(table.columns == std::vector<std::string>{"acc1"});
  REQUIRE(table.rows.size() >= 40);
  std::vector<CellRun> runs(table.rows.size());
  for (size_t r = 0; r < runs.size(); ++r) {
    const double acc = number_in(table.at(r, "acc1"));
    REQUIRE(acc > 0);
    REQUIRE(acc < 1);
    runs[r].numbers["last_acc1"] = acc;
  }
  const int called = alarms(runs);
  INFO(called << " of 200");
  CHECK(called <= most_alarms);
}

}  // namespace tessera::test
