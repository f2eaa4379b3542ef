// Plans: what was said becomes cells, in an order and under names that do not change; what makes no sense is refused, a cell of its own or
// the whole plan.
#include <fmt/format.h>

#include <map>
#include <set>

#include "tessera/train/cli/config_file.h"
#include "tessera/train/cli/network.h"
#include "tessera/train/data/loader.h"
#include "tessera/train/lab/plan.h"
#include "tessera/train/lab/seams.h"
#include "tessera/train/lab/view.h"
#include "tessera/train/lab/worker.h"
#include "tessera/train/training/splits.h"
#include "tests/cli/program.h"

namespace tessera::test {
namespace {

using lab::make_plan, lab::read_plan, lab::Plan, lab::Cell;

constexpr const char* small = R"(
[run]
data = "where:quadrant"
epochs = 1
seeds = [3, 1]
"data.train_size" = 96
model.depth = 1
[grid]
position = ["shaw", "none"]
model.global_pool = ["avg", "token"]
"optim.lr" = [1e-3, 0.0]
[[extra]]
position = "rope_axial"
"position.theta" = 10.0
[[extra]]
seeds = [1]
position = "rope_mixed"
[report]
images = 10
)";

std::string refusal(const std::string& plan) {
  try {
    make_plan(read_plan(plan, "p.toml"));
  } catch (const cli::Usage& e) {
    return e.what();
  }
  return "";
}

}  // namespace

TEST_CASE("plan: a grid is the product in the order of the text, seeds innermost, then single cells") {
  const Plan plan = make_plan(read_plan(small, "p.toml"));
  CHECK(plan.grid == std::vector<std::string>{"position.name", "model.global_pool", "optim.lr", "position.theta"});
  REQUIRE(plan.cells.size() == 2 * 2 * 2 * 2 + 2 + 1);
  CHECK(plan.cells[0].name == "position=shaw,model.global_pool=avg,optim.lr=0.001,seed=3");
  CHECK(plan.cells[1].name == "position=shaw,model.global_pool=avg,optim.lr=0.001,seed=1");
  CHECK(plan.cells[2].name == "position=shaw,model.global_pool=avg,optim.lr=0,seed=3");
  CHECK(plan.cells[16].name == "position=rope_axial,position.theta=10,seed=3");
  CHECK(plan.cells[16].keys[3].second == "10");
  CHECK(plan.cells[18].name == "position=rope_mixed,seed=1");
  CHECK(plan.cells[16].keys[2].second == "0.001");  // what it did not say, as its configuration has it
  CHECK(plan.cells[0].keys[3].second.empty());      // shaw has no theta
  CHECK(plan.cells[0].config.train.seed == 3);
  CHECK(plan.cells[0].config.position == "shaw");
  CHECK(plan.baseline_key == "position.name");
  CHECK(plan.baseline_value == "none");
  CHECK(plan.cells[static_cast<size_t>(plan.cells[1].reference)].name ==
        "position=none,model.global_pool=avg,optim.lr=0.001,seed=1");
  CHECK(plan.cells[8].reference == -1);  // itself
}

TEST_CASE("plan: plan.toml reads back to the same plan, and a command line says the same") {
  const Plan plan = make_plan(read_plan(small, "p.toml"));
  const Plan again = make_plan(read_plan(plan.text, "plan.toml"));
  CHECK(lab::differs(plan, again) == "");
  CHECK(again.text == plan.text);
  CHECK(again.cells.size() == plan.cells.size());
  lab::Words words;
  lab::assign(words, "position", "shaw,none");
  lab::assign(words, "global_pool", "avg,token");
  lab::assign(words, "optim.lr", "1e-3,0");
  lab::assign(words, "data", "where:quadrant");
  lab::assign(words, "epochs", "1");
  lab::assign(words, "data.train_size", "96");
  lab::assign(words, "depth", "1");
  words.seeds = lab::seeds_of("3,1");
  const Plan typed = make_plan(words);
  REQUIRE(typed.cells.size() == 16);
  for (size_t i = 0; i < 16; ++i) {
    CHECK(typed.cells[i].name == plan.cells[i].name);
    CHECK(toml(typed.cells[i].config) == toml(plan.cells[i].config));
  }
}

TEST_CASE("plan: words that TOML would read as something else come back as words") {
  lab::Words words;
  words.seeds = {1};
  for (const std::string value : {"2024-01-01", "1\n[grid]", "0x1f", "007", "true ", "a\"b\\", "[1, 2", "1e3", "nan"}) {
    words.run = {{"data.name", {value}, false}};
    CHECK(read_plan(lab::plan_text(words), "p.toml").run.at(0).values == std::vector{value});
  }
}

TEST_CASE("plan: what makes no sense is one line that says where") {
  for (const auto& [text, said] : std::vector<std::pair<std::string, std::string>>{
           {"[grids]\nposition = [\"none\"]", "did you mean grid"},
           {"[grid]\nposition = \"none\"", "p.toml:2:12: position must be a list"},
           {"[grid]\nposition = []", "must be a list"},
           {"[grid]\nposition = [\"none\", \"none\"]", "position has a value twice"},
           {"[grid]\nposition = [\"none\"]\n\"position.name\" = [\"shaw\"]", "said twice"},
           {"[grid]\nseed = [1, 2]", "seeds of a study"},
           {"[run]\nseeds = [1, 1]", "there twice"},
           {"[run]\nseeds = \"1..x\"", "whole numbers"},
           {"[run]\nseeds = [-1]", "whole numbers"},
           {"[run]\nseeds = \"0..9223372036854775807\"", "no range"},
           {"[run]\nseeds = [9223372036854775807, 9223372036854775807]", "there twice"},
           {"[run]\nrecipe = \"nothing_like_it\"", "nothing_like_it"},
           {"[extra]\nposition = \"none\"", "two brackets"},
           {"[run]\ndata = \"where\"\n[[extra]]\nposition = \"none\"\nseeds = [4]", "asks for seed 4"},
           {"run = 3", "must be a section"},
           {"[run]\ndata = \"where\"\n[grid]\nposition = [\"none\", \"shaw\"]\n[report]\nbaseline = \"rope\"",
            "no cell has that"},
           {"[run]\ndata = \"where\"\n[grid]\nposition = [\"none\", \"shaw\"]\n[report]\nstop_worse = 0.1",
            "data.val_size"},
           {"[report]\nstop_worse = 7", "in [0, 1]"},
           {"[run]\ndata = \"where\"\n\"data.val_size\" = 100\nseeds = [1, 2]\n[grid]\nposition = "
            "[\"shaw\"]\n[[extra]]\nposition = "
            "\"none\"\nseeds = [1]\n[report]\nbaseline = \"none\"\nstop_worse = 0.1",
            "compares position=shaw,seed=2"},
           {"[run]\ndata = \"where\"\n[grid]\nposition = [\"none\", \"shaw\"]\n[[extra]]\nposition = "
            "\"shaw\"\n\"position.max_distance\" = 16",
            "position=shaw,seed=1 and position=shaw,position.max_distance=16,seed=1 are one run"},
           {"[run]\ndata = \"where\"\n[grid]\nposition = [\"none\", \"shaw\"]\n[report]\nstop_epochs = 2",
            "stop_epochs is of stop_worse"},
           {"[run]\nx = " + std::string(100, '['), "brackets"},
           {"[run]\nepochs = 1979-05-27", "epochs must be"},
           {"[run]\ndata = \"where\"\ndata.val_size = 3", "\"section.key\" in quotes"},
           {"[run", "p.toml:1"}}) {
    INFO(text);
    const std::string what = refusal(text);
    CHECK_MESSAGE(what.find(said) != std::string::npos, what);
    CHECK(what.find('\n') == std::string::npos);
  }
}

TEST_CASE("plan: a name, a key or a value that nobody knows is told before there are cells, and where it stands") {
  const std::string run = "[run]\ndata = \"where\"\n";
  for (const auto& [text, said] : std::vector<std::pair<std::string, std::string>>{
           {run + "[grid]\nposition = [\"none\", \"lerned\"]",
            "p.toml:4:12: [position] unknown name \"lerned\"; did you "
            "mean \"learned\"?"},
           {run + "[grid]\nposition = [\"none\", \"learned+\"]", "a name is missing"},
           {run + "[grid]\nmodel = [\"vit\", \"swim\"]", "\"swin\""},
           {"[run]\ndata = \"cifar1O\"\n[grid]\nposition = [\"none\", \"shaw\"]", "cifar10"},
           {"[grid]\ndata = [\"where:quadrant\", \"where:qadrant\"]", "\"quadrant\""},
           {run + "[grid]\n\"optim.lrr\" = [1e-3, 2e-3]", "optim.lr?"},
           {run + "[grid]\n\"optim.lr\" = [1e-3, \"fast\"]", "fast"},
           {run + "[grid]\n\"optim.opt\" = [\"adamw\", \"adamq\"]", "adamq"},
           {run + "[grid]\n\"model.global_pool\" = [\"token\", \"avrg\"]", "avrg"},
           {run + "[grid]\ndepth = [2, -1]", "-1"},
           {run + "[grid]\ndepht = [2, 3]", "did you mean model.depth?"},
           {run + "[grid]\nmodel = [\"vit\", \"swin\"]\n\"model.windw_size\" = [2, 4]", "window"},
           {run + "[grid]\nposition = [\"none\", \"shaw\"]\n[[extra]]\nposition = \"rope\"\n\"position.thta\" = 3.0",
            "p.toml:7:19: unknown key position.thta; did you mean position.theta?"},
           {run + "[grid]\nposition = [\"none\", \"shaw\"]\n[[extra]]\nposition = \"rope_axial+shaw\"\n"
                  "\"position.rope_axial.thta\" = 3.0",
            "did you mean position.rope_axial.theta?"},
           {run + "recipe_text = \"[optim]\\nlrr = 1\\n\"\nrecipe = \"mine\"\n[grid]\nposition = [\"none\", \"shaw\"]",
            "mine"}}) {
    INFO(text);
    const std::string what = refusal(text);
    CHECK_MESSAGE(what.find(said) != std::string::npos, what);
    CHECK(what.find('\n') == std::string::npos);
  }
  // what one of the models or encodings knows is known, in whatever company and order
  for (const std::string& text :
       {run + "[grid]\nmodel = [\"vit\", \"swin\"]\n\"model.window_size\" = [2, 4]",
        run + "[grid]\nposition = [\"none\", \"rope_axial+shaw\"]\n\"position.rope_axial.theta\" = [3.0, 10.0]",
        run + "\"train.precision\" = \"bfloat16\"\n[grid]\n\"optim.betas\" = [[0.9, 0.99], [0.9, 0.999]]",
        run + "[grid]\nposition = [\"none\", \"shaw\"]\n\"position.max_distance\" = [3, 4]"}) {
    INFO(text);
    CHECK(refusal(text) == "");
  }
}

TEST_CASE("plan: [report] asks for measures that there are") {
  const auto options = [](const std::string& report) {
    return lab::measure_options(read_plan("[report]\n" + report, "p.toml").report);
  };
  CHECK(options("measures = [\"accuracy\"]\nshifts = [1, 3]\nsizes = [24, \"32x48\"]").sizes.at(1).w == 48);
  CHECK_THROWS_AS(options("measures = [\"acuracy\"]"), cli::Usage);
  CHECK_THROWS_AS(options("shifs = [1]"), cli::Usage);
  CHECK_THROWS_AS(options("shifts = [\"far\"]"), cli::Usage);
  for (const char* one : {"images", "attention_images", "measure_seed"}) {  // of a list the first would be taken
    CHECK_THROWS_AS(options(fmt::format("{} = [10, 500]", one)), cli::Usage);
    CHECK_NOTHROW(options(fmt::format("{} = 10", one)));
    CHECK_NOTHROW(options(fmt::format("{} = [10]", one)));
  }
}

TEST_CASE("plan: a cell that cannot be does not cost the others, and another study is told apart") {
  const std::string run = "[run]\ndata = \"where\"\nseeds = [1]\n";
  const std::string extra = "[[extra]]\nposition = \"none\"\n\"position.theta\" = 3.0\n";
  const Plan plan = make_plan(read_plan(run + "[grid]\nposition = [\"none\", \"rope\"]\n" + extra, "p.toml"));
  CHECK(plan.cells[0].refused.empty());
  CHECK(plan.cells[2].refused.find("theta") != std::string::npos);
  const Plan more = make_plan(read_plan(run + "[grid]\nposition = [\"none\", \"rope\", \"shaw\"]\n" + extra, "p.toml"));
  CHECK(lab::differs(plan, more).empty());
  CHECK(lab::differs(more, plan).find("shaw") != std::string::npos);
  const Plan other =
      make_plan(read_plan(run + "epochs = 7\n[grid]\nposition = [\"none\", \"rope\"]\n" + extra, "p.toml"));
  CHECK(lab::differs(plan, other).find("train.epochs is 15 there and 7 now") != std::string::npos);
}

TEST_CASE("plan: whoever is compared has a baseline, and by the rule of the tables") {
  const auto reference = [](const Plan& plan, const std::string& cell) -> std::string {
    for (const Cell& c : plan.cells)
      if (c.name == cell) return c.reference < 0 ? "" : plan.cells[static_cast<size_t>(c.reference)].name;
    return "there is no such cell";
  };
  const std::string run = "[run]\ndata = \"where\"\nseeds = [1]\n";
  const Plan rope = make_plan(
      read_plan(run + "[grid]\nposition = [\"none\", \"rope_axial\"]\n[[extra]]\nposition = \"rope_axial\"\n"
                      "\"position.theta\" = 10\n[[extra]]\nposition = \"rope_mixed\"\n\"position.theta\" = 10.0\n"
                      "[report]\nbaseline = \"rope_axial\"",
                "p.toml"));
  CHECK(reference(rope, "position=none,seed=1") == "position=rope_axial,seed=1");
  CHECK(reference(rope, "position=rope_mixed,position.theta=10,seed=1") ==
        "position=rope_axial,position.theta=10,seed=1");
  const Plan opt = make_plan(read_plan(
      run + "[grid]\n\"optim.opt\" = [\"adamw\"]\n[[extra]]\n\"optim.opt\" = \"sgd\"\n\"optim.momentum\" = 0.8\n",
      "p.toml"));
  CHECK(reference(opt, "optim.opt=sgd,optim.momentum=0.8,seed=1") == "optim.opt=adamw,seed=1");
  const Plan model = make_plan(read_plan(
      run + "[grid]\nmodel = [\"vit\"]\n\"model.global_pool\" = [\"token\", \"avg\"]\n[[extra]]\nmodel = \"swin\"\n"
            "\"model.window_size\" = 4\n[report]\nbaseline = \"model.name=vit\"",
      "p.toml"));
  for (const Cell& c : model.cells)
    if (c.name.starts_with("model=swin")) {
      REQUIRE(c.refused == "");
      CHECK(reference(model, c.name) == "model=vit,model.global_pool=" + c.keys[1].second + ",seed=1");
    }
}

TEST_CASE("plan: a value is the same value however it is written, the baseline's too") {
  const std::string grid =
      "[run]\ndata = \"where\"\nseeds = [1]\n[grid]\n\"optim.lr\" = [1e-3, 2e-3]\nposition = [\"none\", "
      "\"shaw\"]\n[report]\nbaseline = ";
  for (const char* said : {"0.002", "\"2e-3\"", "\"0.0020\"", "\"optim.lr=2e-3\"", "\"lr=0.2e-2\""}) {
    const Plan plan = make_plan(read_plan(grid + said, "p.toml"));
    CHECK(plan.baseline_key == "optim.lr");
    CHECK(plan.baseline_value == "0.002");
  }
  CHECK(make_plan(read_plan(grid + "\"shaw\"", "p.toml")).baseline_value == "shaw");
}

TEST_CASE("plan: with a rule for stopping a run keeps the one that it was judged beside") {
  const auto plan = [](const std::string& positions, const std::string& report, const Plan* before = nullptr) {
    return make_plan(read_plan("[run]\ndata = \"where\"\n\"data.val_size\" = 100\nseeds = [1]\n[grid]\nposition = [" +
                                   positions + "]\n[report]\n" + report,
                               "p.toml"),
                     before);
  };
  const std::string both = "\"shaw\", \"none\"", more = both + ", \"learned\"", stop = "stop_worse = 0.15\n";
  const Plan before = plan(both, stop + "baseline = \"shaw\"");
  CHECK(lab::differs(before, plan(more, stop + "baseline = \"none\""))
            .find("judges position=shaw,seed=1 beside no other") != std::string::npos);
  const Plan unsaid = plan(more, stop, &before);  // nobody says another
  CHECK(unsaid.baseline_value == "shaw");
  CHECK(lab::differs(before, unsaid) == "");
  CHECK(plan(more, stop).baseline_value == "none");
  CHECK(lab::differs(plan(both, "baseline = \"shaw\""), plan(both, "baseline = \"none\"")) == "");
  // a rule that stops nobody is none, whatever its epochs, and plan.toml need not say it
  const Plan off = plan(both, "stop_worse = 0\nstop_epochs = 7");
  CHECK(off.text.find("stop_") == std::string::npos);
  CHECK(lab::differs(make_plan(read_plan(off.text, "plan.toml")), off) == "");
  const Plan on = plan(both, stop + "stop_epochs = 7");
  CHECK(lab::differs(make_plan(read_plan(on.text, "plan.toml")), on) == "");
  CHECK(lab::differs(on, plan(both, stop)).find("rule for stopping") != std::string::npos);
}

TEST_CASE("plan: one that grows on another machine still says where it was begun") {
  const std::string run = "[run]\ndata = \"where\"\nseeds = [1]\n[grid]\n";
  Plan before = make_plan(read_plan(run + "position = [\"none\", \"shaw\"]", "p.toml"));
  before.arithmetic = "another machine";
  const Plan grown = make_plan(read_plan(run + "position = [\"none\", \"shaw\", \"learned\"]", "p.toml"), &before);
  CHECK(grown.arithmetic == "another machine");
  CHECK(read_plan(grown.text, "plan.toml").arithmetic == "another machine");
}

TEST_CASE("plan: long values and strange signs make names that a file system takes, each its own") {
  lab::Words words;
  lab::assign(words, "data", "where:quadrant,where:relation");
  lab::assign(words, "optim.freeze", std::string(200, 'x') + "," + std::string(200, 'x') + "y");
  const Plan plan = make_plan(words);
  std::set<std::string> names;
  for (const Cell& c : plan.cells) {
    CHECK(c.name.size() <= 130);
    CHECK(c.name.find_first_of(":/ @") == std::string::npos);
    names.insert(c.name);
  }
  CHECK(names.size() == plan.cells.size());
}

TEST_CASE("plan: the backbone's weights and the batches are the same for every encoding of a seed") {
  const Plan plan =
      make_plan(read_plan("[run]\ndata = \"where\"\nseeds = [5]\n[run.model]\nname = \"vit\"\ndepth = "
                          "2\n[grid]\nposition = [\"none\", \"learned\", "
                          "\"shaw\", \"rope_mixed\", \"irpe\"]",
                          "p.toml"));
  const cli::Network base = cli::build(plan.cells[0].config, 5);
  for (const Cell& cell : plan.cells) {
    INFO(cell.name);
    REQUIRE(cell.refused == "");
    const cli::Network net = cli::build(cell.config, 5);
    std::map<std::string, Tensor> own;
    for (const auto& e : net.params->entries()) own.emplace(e.name, e.value);
    for (const auto& e : base.params->entries()) {
      REQUIRE(own.contains(e.name));
      const Tensor& other = own.at(e.name);
      REQUIRE(other.size() == e.value.size());
      CHECK(std::equal(e.value.data(), e.value.data() + e.value.size(), other.data()));
    }
    RunConfig first = plan.cells[0].config, mine = cell.config;
    first.data.train_size = mine.data.train_size = 100;
    const auto batch = [](RunConfig& c) {
      const data::Splits s = open_splits(c.data);
      data::Loader loader(s.train,
                          {.batch_size = 32, .seed = static_cast<uint64_t>(c.train.seed), .augment = c.augment});
      for (const Batch& b : loader.epoch(1)) return std::vector<real>(b.in.x.data(), b.in.x.data() + b.in.x.size());
      return std::vector<real>();
    };
    CHECK(batch(first) == batch(mine));
  }
}

TEST_CASE("early stopping: by the margin, so many validations in a row, at epochs that both have") {
  const auto metrics = [](std::vector<double> acc) {
    std::string text = R"({"epoch":1,"step":10,"split":"train","loss":1,"acc1":0.9})"
                       "\n";
    for (size_t i = 0; i < acc.size(); ++i)
      text += fmt::format(R"({{"epoch":{},"step":{},"split":"val","loss":1,"acc1":{}}})"
                          "\n",
                          i + 1, 10 * (i + 1), acc[i]);
    return text;
  };
  const std::string reference = metrics({0.5, 0.6, 0.7, 0.8, 0.8});
  const auto stop = [&](std::vector<double> acc) { return lab::stops_at({0.1, 2}, metrics(acc), reference); };
  CHECK(stop({0.5, 0.6, 0.7, 0.8, 0.8}).epoch == 0);
  CHECK(stop({0.3, 0.55, 0.5, 0.75, 0.7}).epoch == 0);  // never two in a row
  CHECK(stop({0.3, 0.45, 0.9}).epoch == 2);
  CHECK(stop({0.3, 0.45, 0.9}).steps == 20);
  CHECK(stop({0.5, 0.6, 0.7, 0.6, 0.6, 0.1}).epoch == 5);
  CHECK(stop({}).epoch == 0);
}

TEST_CASE("the view keeps to its columns") {
  lab::Progress p;
  p.runs = 40, p.finished = 12, p.failed = 1, p.left = 5000;
  for (int i = 0; i < 20; ++i) p.running.push_back({"position=" + std::string(90, 'x') + ",seed=1", 0.05 * i});
  const auto lines = lab::view_lines(p, {" 71.20 % [70.1, 72.3] " + std::string(100, 'y')}, 80);
  CHECK(lines[0] == "12 of 40 runs done, 1 failed, 20 under way, about 83 min left");
  CHECK(lines.size() < 20);
  for (const std::string& line : lines) CHECK(line.size() < 80);
}

TEST_CASE("plan: of a key that is said twice on a command line, as an option and in full, the last one counts") {
  const Folder folder;
  const auto lr = [&](const std::string& name, const std::vector<std::string>& words) {
    std::vector<std::string> args{"ablate", "--out", folder / name, "--emit", "mpi", "--data", "where:quadrant"};
    args.insert(args.end(), words.begin(), words.end());
    const Result r = tessera(args);
    REQUIRE_MESSAGE(r.code == 0, r.err);
    const std::string plan = read(folder / name + "/plan.toml");
    return plan.substr(plan.find("optim.lr"), plan.find('\n', plan.find("optim.lr")) - plan.find("optim.lr"));
  };
  CHECK(lr("a", {"--lr", "0.5", "optim.lr=0.25"}).find("0.25") != std::string::npos);
  CHECK(lr("b", {"optim.lr=0.25", "--lr", "0.5"}).find("0.5") != std::string::npos);
}

}  // namespace tessera::test
