// The page of studies in which more differs than the encoding: who is the baseline of whom, what belongs to a name, and where a curve ends.
#include <fmt/format.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "tessera/train/lab/page.h"
#include "tessera/train/lab/page_parts.h"
#include "tests/cli/program.h"
#include "tests/unit/report_fixture.h"

namespace tessera::test {
namespace {

namespace fs = std::filesystem;
using lab::Findings, lab::StudyGroup;
using json = nlohmann::ordered_json;  // keys in the order in which they are said

struct Group {
  std::vector<std::string> values;
  double accuracy;
};

/// Three seeds of each group, in DIR.
void make_groups(const std::string& dir, const std::vector<std::string>& keys, const std::vector<Group>& groups,
                 const std::string& baseline) {
  for (size_t g = 0; g < groups.size(); ++g)
    for (int seed = 1; seed <= 3; ++seed) {
      const std::string cell = fmt::format("{}/cells/{},seed={}", dir, g, seed);
      fs::create_directories(cell);
      json said = json::object();
      for (size_t k = 0; k < keys.size(); ++k) said[keys[k]] = groups[g].values[k];
      write(cell + "/cell.json", json{{"format", 1}, {"keys", said}, {"seed", seed}}.dump());
      const double acc = groups[g].accuracy + 0.002 * seed +
                         0.001 * static_cast<double>((g * 7 + static_cast<size_t>(seed) * (g + 2)) % 5);
      write(cell + "/measures.json", json{{"format", 1}, {"numbers", {{"last_acc1", acc}}}}.dump());
      write(cell + "/config.toml", "# made\n[train]\nepochs = 2\n");
      std::string metrics;
      for (int epoch = 1; epoch <= 2; ++epoch)
        metrics +=
            json{{"epoch", epoch}, {"step", epoch}, {"split", "val"}, {"loss", 1}, {"acc1", acc * epoch / 2}}.dump() +
            "\n";
      write(cell + "/metrics.jsonl", metrics);
    }
  write(dir + "/plan.toml", fmt::format("[report]\nbaseline = \"{}\"\n", baseline));
}

struct Page {
  Findings study;
  std::string html;
};
Page page_of(const std::string& dir) {
  std::vector<std::string> partial;
  const lab::StudyFiles files = lab::study_files(lab::read_results(dir), partial);
  CHECK(partial.empty());
  Page page{lab::read_findings(files, dir), lab::study_page(files, dir)};
  CHECK(report::malformed(page.html) == "");
  return page;
}

size_t count(const std::string& text, const std::string& part) {
  size_t n = 0;
  for (size_t at = 0; (at = text.find(part, at)) != std::string::npos; ++at) ++n;
  return n;
}

using Names = std::set<std::string>;
Names names(const std::vector<std::string>& of) { return {of.begin(), of.end()}; }

}  // namespace

TEST_CASE("study page: a baseline that is no encoding has its own name, and every row the line of its own baseline") {
  const Folder folder;
  const std::vector<std::string> keys{"position.name", "model.global_pool"};
  const std::vector<Group> groups{{{"none", "token"}, 0.6},  {{"none", "avg"}, 0.5},   {{"learned", "token"}, 0.65},
                                  {{"learned", "avg"}, 0.3}, {{"shaw", "token"}, 0.7}, {{"shaw", "avg"}, 0.58}};
  make_groups(folder / "pool", keys, groups, "model.global_pool=avg");
  const Page pool = page_of(folder / "pool");
  CHECK(pool.study.baseline == "model.global_pool avg");
  for (const StudyGroup& g : pool.study.groups) {
    const StudyGroup* base = pool.study.baseline_of(g, "last_acc1");
    REQUIRE(base);
    CHECK(base->keys == std::vector<std::string>{g.keys[0], "avg"});
  }
  CHECK(pool.html.find("better than model.global_pool avg") != std::string::npos);
  CHECK(pool.html.find("better than shaw") == std::string::npos);
  CHECK(pool.html.find("baseline shaw") == std::string::npos);
  CHECK(count(pool.html, "class=\"zero\"") == groups.size());
  CHECK(pool.html.find("\"M0.0 0V") == std::string::npos);  // no line was pushed to an edge
  CHECK(pool.html.find("\"M200.0 0V") == std::string::npos);

  make_groups(folder / "position", keys, groups, "position.name=none");
  const Page position = page_of(folder / "position");
  CHECK(position.study.baseline == "none");
  CHECK(position.html.find("The dashed line is none.") != std::string::npos);
}

TEST_CASE("study page: an option that some encodings have is part of their names, and not a setting of its own") {
  const Folder folder;
  make_groups(folder / "shaw", {"position.name", "position.max_distance", "position.theta"},
              {{{"none", "", ""}, 0.5},
               {{"rope_axial", "", "100"}, 0.6},
               {{"shaw", "16", ""}, 0.57},
               {{"shaw", "3", ""}, 0.56}},
              "none");
  const Page shaw = page_of(folder / "shaw");
  CHECK(names(shaw.study.encodings) ==
        Names{"none", "rope_axial", "shaw, max_distance = 16", "shaw, max_distance = 3"});  // theta has one value
  CHECK(shaw.study.facets == std::vector<std::string>{""});
  CHECK(shaw.html.find("4 position encodings compared") != std::string::npos);
  CHECK(count(shaw.html, "<span class=\"to\">shaw, max_distance") == 2);  // all pairs
  CHECK(shaw.html.find("better than none") != std::string::npos);

  make_groups(folder / "part", {"position.name", "position.max_distance", "data.fraction"},
              {{{"none", "", "0.1"}, 0.4},
               {{"none", "", "1"}, 0.5},
               {{"shaw", "16", "0.1"}, 0.5},
               {{"shaw", "16", "1"}, 0.57},
               {{"shaw", "3", "1"}, 0.56}},
              "none");
  const Page part = page_of(folder / "part");
  CHECK(names(part.study.encodings) == Names{"none", "shaw, max_distance = 16", "shaw, max_distance = 3"});
  CHECK(names(part.study.facets) == Names{"data.fraction 0.1", "data.fraction 1"});

  make_groups(folder / "opt", {"optim.opt", "optim.momentum"},
              {{{"adamw", "0.9"}, 0.5}, {{"sgd", "0.9"}, 0.6}, {{"sgd", "0.8"}, 0.57}}, "optim.opt=adamw");
  const Page opt = page_of(folder / "opt");
  CHECK(names(opt.study.encodings) == Names{"adamw", "sgd, momentum = 0.9", "sgd, momentum = 0.8"});
  CHECK(opt.study.facets.size() == 1);
  CHECK(opt.html.find(">2 of 2<") != std::string::npos);
}

TEST_CASE("study page: who has no baseline is not counted among those that are not better") {
  const Folder folder;
  make_groups(folder / "study", {"model.name", "model.global_pool"},
              {{{"vit", "token"}, 0.5}, {{"vit", "avg"}, 0.5}, {{"swin", "avg"}, 0.7}, {{"pit", "none"}, 0.6}}, "vit");
  const Page page = page_of(folder / "study");
  CHECK(page.html.find(">1 of 1<") != std::string::npos);
  CHECK(page.html.find("there is no baseline") != std::string::npos);
}

TEST_CASE("study page: a mean curve ends where the first of its seeds ends") {
  Findings study;
  study.grid = {"position.name"}, study.encodings = {"none"}, study.facets = {""};
  const auto run = [](int epochs, double slope) {
    lab::StudyRun r;
    for (int e = 1; e <= epochs; ++e) r.epochs.push_back({double(e), NAN, NAN, NAN, slope * e});
    return r;
  };
  study.groups = {{{"none"}, 0, 0, {run(5, 0.1), run(3, 0.05)}}};
  const std::string one_stopped = lab::training_curves(study);
  study.groups[0].runs = {run(3, 0.1), run(3, 0.05)};
  CHECK(one_stopped == lab::training_curves(study));
  study.groups[0].runs = {run(5, 0.1), run(5, 0.05)};
  CHECK(one_stopped != lab::training_curves(study));
}

TEST_CASE("study page: of all pairs a cell stays what it is when an encoding is added, and too many groups are said") {
  Findings study;
  study.grid = {"position.name"}, study.facets = {""};
  const auto add = [&](const std::string& name, const std::vector<double>& accuracies) {
    StudyGroup group{{name}, study.encodings.size(), 0, {}};
    for (const double acc : accuracies) {
      lab::StudyRun& run = group.runs.emplace_back();
      run.seed = std::to_string(group.runs.size()), run.numbers["last_acc1"] = acc;
    }
    study.encodings.push_back(name), study.groups.push_back(group);
  };
  const auto cells = [&] {
    const std::string html = lab::pair_matrix(study);
    Names all;
    for (size_t at = 0; (at = html.find("<div class=\"cell", at)) != std::string::npos; ++at)
      if (const std::string cell = html.substr(at, html.find("</div>", at) - at);
          cell.find("title") != std::string::npos)
        all.insert(cell);
    return all;
  };
  add("none", {0.60, 0.61, 0.62}), add("shaw", {0.64, 0.66, 0.65}), add("rope", {0.61, 0.60, 0.63});
  const Names before = cells();
  CHECK(before.size() == 6);
  add("bad", {0.1, 0.12, 0.11}), add("good", {0.9, 0.91, 0.92});
  const Names after = cells();
  CHECK(after.size() == 20);
  for (const std::string& cell : before) CHECK_MESSAGE(after.contains(cell), cell);
  CHECK(lab::pair_matrix(study).find("opacity: 0.740") != std::string::npos);  // full from ten points on
  for (int i = 5; i < 65; ++i) add(fmt::format("e{}", i), {0.6, 0.61});
  const std::string many = lab::pair_matrix(study);
  CHECK(many.find("no picture of 65 groups") != std::string::npos);
  CHECK(many.find("class=\"pairs") == std::string::npos);
}

TEST_CASE("study page: tables outlive their runs, whatever else is left in the folder") {
  const Folder folder;
  const std::string dir = folder / "study";
  make_groups(dir, {"position.name"}, {{{"none"}, 0.5}, {{"shaw"}, 0.6}}, "none");
  REQUIRE(lab::write_study(dir).runs.empty());
  std::map<std::string, std::string> kept;
  const auto files = {"results.csv", "comparisons.csv", "pairwise.csv", "curves.csv", "report.html"};
  for (const char* file : files) kept[file] = read(dir + "/" + file);
  const auto unchanged = [&] {
    lab::write_study(dir);
    for (const char* file : files) CHECK_MESSAGE(read(dir + "/" + file) == kept[file], file);
  };
  fs::create_directories(dir + "/failed");
  write(dir + "/failed/x.json", R"({"format":1,"keys":{"position.name":"x"},"seed":1,"reason":"no memory"})");
  fs::rename(dir + "/cells", folder / "away");
  unchanged();
  fs::create_directories(dir + "/cells");
  unchanged();
  fs::create_directories(dir + "/cells/damaged");
  unchanged();
  CHECK(lab::write_study(dir).runs.size() == 1);
  write(dir + "/results.csv", "seed\n");  // a study in which nothing has ended tells what failed
  lab::write_study(dir);
  CHECK(read(dir + "/report.html").find("no memory") != std::string::npos);
}

}  // namespace tessera::test
