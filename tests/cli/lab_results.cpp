// What a folder of an ablation holds, and its tables.
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <map>

#include "program.h"
#include "tessera/core/error.h"
#include "tessera/core/io/safetensors.h"
#include "tessera/train/lab/page_csv.h"
#include "tessera/train/lab/results.h"

using namespace tessera;
using namespace tessera::lab;
using namespace tessera::test;
namespace fs = std::filesystem;

namespace {

/// Answers of `images` test images of which the first `right` are right.
void make_answers(const std::string& path, size_t images, size_t right) {
  std::vector<uint8_t> marks(images);
  std::fill_n(marks.begin(), right, uint8_t{1});
  std::vector<int32_t> said(images, 3);
  const auto bytes = [](const auto& v) {
    return std::span(reinterpret_cast<const char*>(v.data()), v.size() * sizeof(v[0]));
  };
  const auto n = static_cast<int64_t>(images);
  const std::array<io::TensorBytes, 2> tensors{io::TensorBytes{"right", io::DType::u8, {n}, bytes(marks)},
                                               io::TensorBytes{"prediction", io::DType::i32, {n}, bytes(said)}};
  io::write_safetensors(path, tensors);
}

std::string keys_of(const std::string& position, int depth, int seed) {
  return R"({"format":1,"keys":{"position.name":")" + position + R"(","model.depth":")" + std::to_string(depth) +
         R"("},"seed":)" + std::to_string(seed);
}

/// A finished cell that answered `right` of 1000 images.
std::string make_cell(const std::string& dir, const std::string& position, int depth, int seed, size_t right) {
  const std::string cell =
      dir + "/cells/position=" + position + ",depth=" + std::to_string(depth) + ",seed=" + std::to_string(seed);
  fs::create_directories(cell);
  write(cell + "/cell.json", keys_of(position, depth, seed) + "}");
  const std::string accuracy = std::to_string(static_cast<double>(right) / 1000);
  const bool fixed = position == "learned";
  write(cell + "/measures.json", R"({"format":1,"numbers":{"last_acc1":)" + accuracy + R"(,"params":)" +
                                     (fixed ? "1064" : "1000") + (fixed ? "" : R"(,"resolution.48x48.acc1":0.25)") +
                                     R"(},"timed":{"images_per_s":)" + std::to_string(100 + seed) + "}" +
                                     (fixed ? R"(,"absent":{"resolution.48x48.acc1":"a table of one size"})" : "") +
                                     "}");
  make_answers(cell + "/answers.safetensors", 1000, right);
  return cell;
}

/// Three encodings, two depths, three seeds; the plan lists encodings in an order of its own.
void make_study(const std::string& dir) {
  fs::create_directories(dir);
  write(dir + "/plan.toml",
        "[run]\nepochs = 1\n[grid]\nposition = [\"shaw\", \"none\", \"learned\"]\n\"model.depth\" = [2, 10]\n"
        "[report]\nbaseline = \"none\"\nmeasures = [\"accuracy\", \"resolution\", \"cost\"]\n");
  const std::array<size_t, 3> luck{0, 11, 5};
  for (int depth : {2, 10})
    for (int seed : {1, 2, 3}) {
      const size_t base = 500 + luck[static_cast<size_t>(seed) - 1];
      make_cell(dir, "none", depth, seed, base);
      make_cell(dir, "shaw", depth, seed, base + 100 + static_cast<size_t>(seed % 2));
      make_cell(dir, "learned", depth, seed, base + (seed == 2 ? 9 : 0) - (seed == 1 ? 8 : 0));
    }
}

std::vector<std::string> lines(const std::string& text) {
  std::vector<std::string> all;
  for (size_t from = 0; from < text.size();) {
    const size_t end = std::min(text.find('\n', from), text.size());
    all.push_back(text.substr(from, end - from));
    from = end + 1;
  }
  return all;
}

}  // namespace

TEST_CASE("results: a study's tables are in the order of its plan, and the same bytes from equal work") {
  const Folder folder;
  const std::string dir = folder / "study";
  make_study(dir);
  const Results all = read_results(dir);
  CHECK(all.keys == std::vector<std::string>{"position.name", "model.depth"});
  CHECK(all.runs.size() == 18);
  CHECK(all.groups.size() == 6);
  CHECK(all.groups[0].label == "shaw, model.depth = 2");
  CHECK(all.groups[1].label == "shaw, model.depth = 10");  // as the plan lists them, not as text
  CHECK(all.skipped.empty());
  CHECK(all.measures == std::vector<std::string>{"last_acc1", "resolution.48x48.acc1"});
  CHECK(all.baseline_of(0) == 2);
  CHECK(all.baseline_of(1) == 3);
  CHECK(all.baseline_of(5) == 3);
  const auto rows = lines(results_csv(all));
  CHECK(rows[0] == "position.name,model.depth,seed,last_acc1,params,resolution.48x48.acc1");
  CHECK(rows[1] == "shaw,2,1,0.601,1000,0.25");
  CHECK(rows[18] == "learned,10,3,0.505,1064,");
  CHECK(lines(timings_csv(all))[1] == "shaw,2,1,101");
  CHECK(lines(missing_csv(all))[1] == "learned,2,1,resolution.48x48.acc1,a table of one size");

  const std::string again = folder / "again";  // the folder's own order says nothing
  make_study(again);
  fs::rename(again + "/cells/position=shaw,depth=2,seed=1", again + "/cells/zz");
  const Results other = read_results(again);
  CHECK(results_csv(other) == results_csv(all));
  CHECK(comparisons_csv(other) == comparisons_csv(all));
  CHECK(pairwise_csv(other) == pairwise_csv(all));
}

TEST_CASE(
    "results: options of an encoding are no reason to lose the baseline, and are said where they tell two apart") {
  const Folder folder;
  const std::string dir = folder / "study";
  fs::create_directories(dir);
  write(dir + "/plan.toml", "[grid]\nposition = [\"none\", \"shaw\"]\n[report]\nbaseline = \"none\"\n");
  for (const auto& [name, option] : {std::pair("none", ""), {"shaw", ""}, {"shaw", "3"}, {"fire", "3"}}) {
    const std::string cell = dir + "/cells/" + name + option;
    fs::create_directories(cell);
    write(cell + "/cell.json",
          fmt::format(R"({{"format":1,"keys":{{"position.name":"{}","position.max_distance":"{}"}},"seed":1}})", name,
                      option));
    write(cell + "/measures.json", R"({"format":1,"numbers":{"last_acc1":0.5}})");
  }
  const Results all = read_results(dir);
  std::vector<std::string> labels;
  for (size_t g = 0; g < all.groups.size(); ++g) {
    CHECK(all.groups[all.baseline_of(g)].values == std::vector<std::string>{"none", ""});
    labels.push_back(all.groups[g].label);
  }
  std::ranges::sort(labels);
  CHECK(labels == std::vector<std::string>{"fire", "none", "shaw", "shaw, position.max_distance = 3"});
}

TEST_CASE("results: whoever is compared has a baseline, the most alike of those that say nothing else") {
  const Folder folder;
  struct Study {
    std::string plan;
    std::vector<std::string> keys;
    std::vector<std::vector<std::string>> groups;
    std::map<std::string, std::string> baseline;  ///< by labels; "": there is none
  };
  const std::vector<Study> studies{
      {"[report]\nbaseline = \"model.name=vit\"\n",
       {"model.name", "model.global_pool", "model.window_size"},
       {{"vit", "token", ""}, {"vit", "avg", ""}, {"swin", "avg", "4"}, {"pit", "none", ""}},
       {{"swin, model.global_pool = avg", "vit, model.global_pool = avg"}, {"pit, model.global_pool = none", ""}}},
      {"[grid]\nposition = [\"none\", \"rope_axial\"]\n[[extra]]\nposition = \"rope_axial\"\n\"position.theta\" = 10\n"
       "[report]\nbaseline = \"position.name=rope_axial\"\n",
       {"position.name", "position.theta"},
       {{"none", ""}, {"rope_axial", "100"}, {"rope_axial", "10"}, {"rope_mixed", "10"}},
       {{"none", "rope_axial, position.theta = 100"},  // the grid's, and not the extra one
        {"rope_axial, position.theta = 10", "rope_axial, position.theta = 10"},
        {"rope_mixed", "rope_axial, position.theta = 10"}}},
      {"[report]\nbaseline = \"optim.opt=adamw\"\n",
       {"optim.opt", "optim.momentum"},
       {{"adamw", "0.9"}, {"sgd", "0.9"}, {"sgd", "0.8"}},
       {{"optim.opt = sgd, optim.momentum = 0.9", "optim.opt = adamw, optim.momentum = 0.9"},
        {"optim.opt = sgd, optim.momentum = 0.8", "optim.opt = adamw, optim.momentum = 0.9"}}}};
  for (size_t i = 0; i < studies.size(); ++i) {
    const Study& study = studies[i];
    const std::string dir = folder / std::to_string(i);
    for (size_t g = 0; g < study.groups.size(); ++g) {
      const std::string cell = fmt::format("{}/cells/{}", dir, g);
      fs::create_directories(cell);
      std::string keys;
      for (size_t k = 0; k < study.keys.size(); ++k)
        keys += fmt::format(R"({}"{}":"{}")", k > 0 ? "," : "", study.keys[k], study.groups[g][k]);
      write(cell + "/cell.json", fmt::format(R"({{"format":1,"keys":{{{}}},"seed":1}})", keys));
      write(cell + "/measures.json", R"({"format":1,"numbers":{"last_acc1":0.5}})");
    }
    write(dir + "/plan.toml", study.plan);
    const Results all = read_results(dir);
    REQUIRE(all.groups.size() == study.groups.size());
    size_t asked = 0;
    for (size_t g = 0; g < all.groups.size(); ++g)
      if (const auto it = study.baseline.find(all.groups[g].label); it != study.baseline.end()) {
        INFO(all.groups[g].label);
        const size_t base = all.baseline_of(g);
        CHECK((base < all.groups.size() ? all.groups[base].label : "") == it->second);
        ++asked;
      }
    CHECK(asked == study.baseline.size());
  }
}

TEST_CASE("results: a run that was stopped early stays one when it is measured again") {
  const Folder folder;
  const std::string dir = folder / "study";
  make_study(dir);
  const std::string cell = dir + "/cells/position=shaw,depth=2,seed=1";
  write(cell + "/cell.json", keys_of("shaw", 2, 1) + R"(,"stopped":{"epoch":3,"reason":"clearly worse"}})");
  const Results all = read_results(dir);
  CHECK(all.stopped(all.groups[0]) == 1);
  CHECK(all.runs[0].number(stopped_epoch) == 3);
  CHECK(lines(results_csv(all))[0].ends_with(",stopped_epoch"));
  write(cell + "/cell.json", keys_of("shaw", 2, 1) + R"(,"stopped":{"epoch":"3"}})");
  CHECK(read_results(dir).skipped.size() == 1);
}

TEST_CASE("results: of one run no interval is told") {
  const Folder folder;
  for (const char* name : {"none", "shaw"}) make_cell(folder / "study", name, 2, 1, 500);
  for (const std::string& row : lines(pairwise_csv(read_results(folder / "study"))))
    if (!row.starts_with("measure")) CHECK_MESSAGE(row.ends_with(",0.5,,,0,0"), row);
}

TEST_CASE("results: a name is a key's or a measure's, and a run that takes it for the other costs itself alone") {
  const Folder folder;
  const std::string dir = folder / "study";
  make_study(dir);
  const std::string table = results_csv(read_results(dir));
  const auto cell = [&](int seed, const std::string& keys, const std::string& numbers) {
    const std::string c = make_cell(dir, "rope", 2, seed, 700);
    if (!keys.empty()) write(c + "/cell.json", fmt::format(R"({{"format":1,"keys":{{{}}},"seed":{}}})", keys, seed));
    if (!numbers.empty()) write(c + "/measures.json", fmt::format(R"({{"format":1,"numbers":{{{}}}}})", numbers));
  };
  cell(10, "", R"("last_acc1":0.7,"seed":1)");
  cell(11, "", R"("last_acc1":0.7,"model.depth":2)");
  cell(12, R"("position.name":"rope","seed":"12")", "");
  cell(13, R"("position.name":"rope","measure":"x")", "");
  cell(14, R"("position.name":"rope","val.loss":"x")", "");
  cell(15, R"("position.name":"rope","resolution.48x48.acc1":"x")", "");
  const Results all = read_results(dir);
  CHECK(all.skipped.size() == 6);
  for (const std::string& line : all.skipped)
    CHECK_MESSAGE(line.find(dir + "/cells/position=rope") != std::string::npos, line);
  CHECK(results_csv(all) == table);
}

TEST_CASE("results: groups are compared with the baseline of the same other keys, over seeds and over images") {
  const Folder folder;
  make_study(folder / "study");
  const Results all = read_results(folder / "study");
  const std::vector<Comparison> table = compare(all, "last_acc1");
  REQUIRE(table.size() == 6);
  CHECK(table[0].mean.n == 3);
  CHECK(table[0].difference.mean == doctest::Approx(0.1 + 2.0 / 3000));
  CHECK(table[0].difference.among == 4);
  CHECK(table[0].difference.holm == doctest::Approx(4 * table[0].difference.p));
  CHECK(table[0].verdict == Verdict::better);
  CHECK(table[0].words.starts_with("better: +10.07 points ["));
  CHECK(table[2].verdict == Verdict::baseline);
  CHECK(table[4].verdict == Verdict::unsettled);
  CHECK(table[0].images.low < table[0].difference.mean);
  CHECK(table[0].difference.mean < table[0].images.high);
  CHECK(table[0].images.low == doctest::Approx(0.1007 - 1.96 * std::sqrt(0.1007 * 0.8993 / 1000)).epsilon(0.03));
  const double width = table[4].images.high - table[4].images.low;
  CHECK(table[4].seeds_and_images.high - table[4].seeds_and_images.low > width);

  const std::vector<Comparison> params = compare(all, "params");  // the same numbers in all seeds: no test, no better
  CHECK(params[0].verdict == Verdict::identical);
  CHECK(params[4].verdict == Verdict::untested);
  CHECK(compare(all, "resolution.48x48.acc1")[4].words == "no seed in common");

  const auto rows = lines(comparisons_csv(all));
  CHECK(rows[0].starts_with(
      "position.name,model.depth,measure,n,mean,sd,low,high,iqm,iqm_low,iqm_high,baseline,pairs,difference,"));
  CHECK(rows[0].ends_with(",verdict,words"));
  CHECK(std::ranges::count_if(rows, [](const std::string& r) {
          return r.find(",better,") != std::string::npos && r.find('[') == std::string::npos;
        }) == 0);
}

TEST_CASE("results: interquartile means stand beside the means, from four runs on") {
  const Folder folder;
  const std::string dir = folder / "study";
  for (int seed = 1; seed <= 5; ++seed) {
    make_cell(dir, "shaw", 2, seed,
              seed == 3 ? 100 : 600 + 10 * static_cast<size_t>(seed));  // one of them failed to learn
    if (seed < 5) make_cell(dir, "rope", 2, seed, 600 + 10 * static_cast<size_t>(seed));
    if (seed < 4) make_cell(dir, "none", 2, seed, 500 + static_cast<size_t>(seed));
  }
  const Results all = read_results(dir);
  const Csv table = parse_csv(comparisons_csv(all), "comparisons.csv");
  std::map<std::string, size_t> row;
  for (size_t r = 0; r < table.rows.size(); ++r)
    if (table.at(r, "measure") == "last_acc1") row[table.at(r, "position.name")] = r;
  const auto number = [&](const char* name, const char* column) { return number_in(table.at(row.at(name), column)); };
  CHECK(number("shaw", "iqm") == doctest::Approx((0.61 + 0.62 + 0.64) / 3));
  CHECK(number("shaw", "mean") < 0.53);
  CHECK(number("rope", "iqm") == doctest::Approx(0.625));
  for (const char* name : {"shaw", "rope"}) {
    CHECK(number(name, "iqm_low") < number(name, "iqm"));
    CHECK(number(name, "iqm_high") > number(name, "iqm"));
  }
  for (const char* column : {"iqm", "iqm_low", "iqm_high"}) CHECK(table.at(row.at("none"), column).empty());
  CHECK(comparisons_csv(read_results(dir)) == comparisons_csv(all));
}

TEST_CASE(
    "results: what a training took is in timings.csv whatever was measured, and damage to it costs nothing else") {
  const Folder folder;
  const std::string dir = folder / "study", cells = dir + "/cells/position=shaw,depth=2,seed=";
  make_study(dir);
  const std::string table = results_csv(read_results(dir));
  const auto timings = [&] {
    const Results all = read_results(dir);
    CHECK(all.skipped.empty());
    CHECK(results_csv(all) == table);
    return lines(timings_csv(all));
  };
  for (const char* summary : {"{", "[]", R"({"seconds":"12.5","threads":null})"}) {
    write(cells + "1/summary.json", summary);
    CHECK(timings()[1] == "shaw,2,1,101");
  }
  const std::string took = R"({"seconds":12.5,"threads":2,"images_per_s":900,"test_acc1":0.5})";
  write(cells + "1/summary.json", took), write(cells + "2/summary.json", took);
  write(cells + "2/measures.json",
        R"({"format":1,"numbers":{"last_acc1":0.611,"params":1000,"resolution.48x48.acc1":0.25}})");
  const auto rows = timings();
  CHECK(rows[0] == "position.name,model.depth,seed,images_per_s,seconds,threads");
  CHECK(rows[1] == "shaw,2,1,101,12.5,2");
  CHECK(rows[2] == "shaw,2,2,900,12.5,2");
  CHECK(rows[3] == "shaw,2,3,103,,");
}

TEST_CASE("results: another encoding changes no number of the pairs that were there") {
  const Folder folder;
  const std::string dir = folder / "study";
  make_study(dir);
  const auto before = lines(pairwise_csv(read_results(dir)));
  for (int seed : {1, 2, 3}) make_cell(dir, "alibi", 2, seed, 550 + static_cast<size_t>(seed));
  const auto after = lines(pairwise_csv(read_results(dir)));
  CHECK(after.size() > before.size());
  for (const std::string& row : before) CHECK_MESSAGE(std::ranges::count(after, row) == 1, row);
}

TEST_CASE("results: a damaged cell costs a line and its own run") {
  const Folder folder;
  const std::string dir = folder / "study";
  make_study(dir);
  const auto cell = [&](int seed) { return make_cell(dir, "rope", 2, seed, 700); };
  std::string c = cell(10);
  write(c + "/cell.json", "{\"format\":1,\"keys\":{\"position.name\":");
  c = cell(11), write(c + "/measures.json", R"({"format":1,"numbers":{"last_acc1":1e999}})");
  c = cell(12), write(c + "/measures.json", R"({"format":1,"numbers":{"last_acc1":"0.7"}})");
  c = cell(13), fs::remove(c + "/measures.json");
  c = cell(14), write(c + "/answers.safetensors", read(c + "/answers.safetensors").substr(0, 700));
  c = cell(15), fs::remove(c + "/cell.json");
  REQUIRE(::mkfifo((c + "/cell.json").c_str(), 0600) == 0);
  c = cell(16), write(c + "/cell.json", std::string(100000, '['));
  c = cell(17), write(c + "/cell.json", keys_of("shaw", 2, 1) + "}");  // a run that is there already
  c = cell(18), write(c + "/measures.json", R"({"format":2,"numbers":{}})");
  c = cell(19), write(c + "/cell.json", R"({"format":1,"keys":{"position.name":"a\u001b[2J"},"seed":1})");
  c = cell(20), write(c + "/cell.json", R"({"format":1,"keys":{"position.name":7},"seed":1})");
  c = cell(21), write(c + "/cell.json", R"({"format":1,"keys":{"position.name":"rope"},"seed":1.5})");
  write(dir + "/cells/a_file", "x");
  fs::create_directories(dir + "/failed");
  write(dir + "/failed/position=sincos,seed=1.json", keys_of("sincos", 2, 1) + R"(,"reason":"no memory"})");
  write(dir + "/failed/cut.json", "{");
  const Results all = read_results(dir);
  CHECK(all.runs.size() == 18);
  REQUIRE(all.failed.size() == 1);
  CHECK(all.failed[0].reason == "no memory");
  CHECK(all.failed[0].values == std::vector<std::string>{"sincos", "2"});
  CHECK(all.skipped.size() == 14);
  for (const std::string& line : all.skipped) {
    CHECK_MESSAGE(line.find(dir) != std::string::npos, line);
    CHECK_MESSAGE(line.find('\n') == std::string::npos, line);
    CHECK_MESSAGE(line.find('\x1b') == std::string::npos, line);
  }
  CHECK(lines(results_csv(all)).size() == 19);
}

TEST_CASE("results: folders without runs, without a plan, or with a plan that is none") {
  const Folder folder;
  CHECK_THROWS_AS(read_results(folder / "none"), Error);
  fs::create_directories(folder / "empty");
  const Results empty = read_results(folder / "empty");
  CHECK(results_csv(empty) == "seed\n");
  CHECK(comparisons_csv(empty).starts_with("measure,n,"));
  const std::string dir = folder / "study";
  make_study(dir);
  fs::remove(dir + "/plan.toml");
  const Results without = read_results(dir);
  CHECK(without.baseline_value == "none");
  CHECK(without.groups[0].label == "learned, model.depth = 2");
  CHECK(without.groups[1].label == "learned, model.depth = 10");
  CHECK(without.measures == std::vector<std::string>{"last_acc1", "resolution.48x48.acc1"});
  for (const std::string& plan : {std::string("[grid\n"), std::string(100000, '['), "a" + [] {
                                    std::string dots;
                                    for (int i = 0; i < 100000; ++i) dots += ".a";
                                    return dots;
                                  }() + " = 1"}) {
    write(dir + "/plan.toml", plan);
    CHECK_THROWS_AS(read_results(dir), Error);
  }
}
