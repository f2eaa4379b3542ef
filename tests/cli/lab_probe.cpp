// What `tessera probe` asks, and that it answers.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <csignal>

#include "program.h"
#include "tessera/core/io/json.h"
#include "tessera/train/data/where_tokens.h"
#include "tessera/train/lab/probe.h"
#include "tessera/train/training/token_classification.h"

using namespace tessera;
using namespace tessera::test;
namespace where = tessera::data::where;

namespace {

const std::vector<std::string> small = {"data.train_size=48", "data.test_size=24",  "train.epochs=1",
                                        "model.depth=1",      "model.embed_dim=16", "model.num_heads=2"};

std::vector<std::string> words(std::vector<std::string> some) {
  some.insert(some.end(), small.begin(), small.end());
  return some;
}

bool is_red(const uint8_t* pixel) { return pixel[0] >= 215 && pixel[1] <= 40 && pixel[2] <= 40; }

}  // namespace

TEST_CASE("probe: a larger canvas has the pictures of a small one with more room, and the small one is what it was") {
  std::vector<uint8_t> old(32 * 32 * 3), large(48 * 48 * 3);
  const where::Task& relation = where::task("relation");
  for (uint64_t i = 0; i < 40; ++i) {
    const int label = static_cast<int>(i % 4);
    where::draw(relation, 7, i, label, old.data());
    const auto boxes = where::draw(relation, 7, i, label, large.data(), 48);
    const int dx = 2 * (boxes[0].x - boxes[1].x) + boxes[0].size - boxes[1].size;
    const int dy = 2 * (boxes[0].y - boxes[1].y) + boxes[0].size - boxes[1].size;
    const std::array<bool, 4> shows{-dx > std::abs(dy), dx > std::abs(dy), -dy > std::abs(dx), dy > std::abs(dx)};
    CHECK(shows[static_cast<size_t>(label)]);
    const auto ink = [&](const std::vector<uint8_t>& p) {
      int n = 0;
      for (size_t k = 0; k < p.size(); k += 3) n += is_red(p.data() + k);
      return n;
    };
    CHECK(ink(old) == ink(large));
  }
  CHECK(where::pictures(relation, 3, 1).pixels == where::pictures(relation, 3, 1, 32).pixels);
  CHECK_THROWS_AS(where::pictures(relation, 3, 1, 33), Error);
}

TEST_CASE("probe: tokens are asked for their row, and on which side of them the red shape is") {
  for (const int width : {32, 48}) {
    const int N = width / 4;
    const auto rows = where::token_pictures(where::token_tasks()[0], 5, 3, 4, width);
    const auto left = where::token_pictures(where::token_tasks()[1], 5, 3, 4, width);
    CHECK(rows->form().target == 4);
    for (size_t i = 0; i < 5; ++i)
      for (int t = 0; t < N * N; ++t) CHECK(rows->answer(i)[static_cast<size_t>(t)] == t / N * 4 / N);
    const Index which{0, 1, 2, 3, 4};
    const Batch batch = data::gather(*left, which);
    const data::Normalisation norm = left->normalisation();
    int asked = 0, on_left = 0;
    for (int i = 0; i < 5; ++i) {
      int first = width, last = -1;  // columns that hold red
      for (int p = 0; p < width * width; ++p) {
        const real* x = batch.in.x.data() + (int64_t{i} * width * width + p) * 3;
        std::array<uint8_t, 3> pixel{};
        for (size_t k = 0; k < 3; ++k)
          pixel[k] = static_cast<uint8_t>(std::lround((x[k] * norm.std[k] + norm.mean[k]) * 255));
        if (is_red(pixel.data())) first = std::min(first, p % width), last = std::max(last, p % width);
      }
      REQUIRE(last >= 0);
      for (int t = 0; t < N * N; ++t) {
        const int32_t said = left->answer(static_cast<size_t>(i))[static_cast<size_t>(t)];
        const int from = t % N * 4;
        if (said == 0) CHECK(last < from);
        if (said == 1) CHECK(first >= from + 4);
        asked += said != where::not_asked, on_left += said == 0;
      }
    }
    CHECK(asked > 5 * N * N / 2);
    CHECK(on_left > 0);
  }
  CHECK_THROWS_AS(where::token_pictures(where::token_tasks()[0], 5, 3, 5), Error);
}

TEST_CASE("probe: a quarter of the tiles carries the texture, in one corner or anywhere, under every label") {
  for (const bool scattered : {false, true}) {
    const data::Samples s = where::texture_pictures(8, 5, scattered);
    int elsewhere = 0;
    for (size_t i = 0; i < 8; ++i) {
      int carrying = 0;
      for (int t = 0; t < 64; ++t) {
        int low = 255, high = 0;
        for (int p = 0; p < 16; ++p) {
          const size_t y = static_cast<size_t>(t / 8 * 4 + p / 4), x = static_cast<size_t>(t % 8 * 4 + p % 4);
          const int v = s.pixels[((i * 32 + y) * 32 + x) * 3];
          low = std::min(low, v), high = std::max(high, v);
        }
        const bool carries = high - low > 24;  // more than the noise of one colour
        carrying += carries, elsewhere += carries && (t / 8 >= 4 || t % 8 >= 4);
      }
      CHECK(carrying <= 16);
    }
    CHECK((elsewhere > 0) == scattered);
  }
}

TEST_CASE("probe: a token's answer counts if it was asked") {
  Output out;
  out.logits = Tensor({2, 3, 2});
  const std::array<real, 12> z{1, 0, 0, 1, 2, 0, 0, 3, 1, 0, 0, 1};
  std::ranges::copy(z, out.logits.data());
  Batch batch;
  batch.in.x = Tensor({2, 1, 1, 1});
  batch.of = 2;
  const std::array<int32_t, 6> labels{0, 1, -1, 0, 0, -1};
  batch.answers = Ints(2, 3), batch.answer_lengths = Ints({3, 3}), batch.answers_of = 6;
  std::ranges::copy(labels, batch.answers.data());
  Tally tally;
  std::array<Outcome, 2> outcomes;
  TokenClassification().judge(out, batch, tally, outcomes);
  CHECK(tally.samples == 2);
  CHECK(tally.of[0].of == 4);
  CHECK(tally.of[0].count == 3);
  const double easy = std::log(1 + std::exp(-1)), wrong = std::log(1 + std::exp(3.0));
  CHECK(tally.loss == doctest::Approx(easy + (wrong + easy) / 2));
  out.logits.data()[0] = NAN;
  Tally broken;
  TokenClassification().judge(out, batch, broken, outcomes);
  CHECK(broken.undecided == 1);
  CHECK(std::isnan(broken.loss));
  batch.answers.data()[0] = 2;
  CHECK_THROWS_AS(TokenClassification().judge(out, batch, tally, outcomes), Error);
}

TEST_CASE(
    "probe: numbers of every encoding, task and size, the same a second time, and what there is none of says why") {
  const Folder folder;
  const std::string dir = folder / "probe";
  const std::vector<std::string> args =
      words({"probe", "--positions", "none,rope_axial,relative_position_bias", "--out", dir, "--json"});
  const Result first = test::tessera(args);
  REQUIRE_MESSAGE(first.code == 0, first.err);
  const io::Json all = io::parse_json(first.out, "stdout");
  CHECK(all["cells"].size() == 3 * 8 * 2);
  for (const io::Json& cell : all["cells"]) {
    CHECK(cell["accuracy"].get<double>() >= cell["low"].get<double>());
    CHECK(cell["accuracy"].get<double>() <= cell["high"].get<double>());
  }
  const std::string csv = read(dir + "/probe.csv");
  CHECK(csv.starts_with(
      "position,pool,task,size,chance,seeds,accuracy,low,high,interval,standing,absent\nnone,,quadrant,32,0.25,1,"));
  CHECK(std::ranges::count(csv, '\n') == 3 * 8 * 2 + 1);
  const Result again = test::tessera(args);  // what is there is not trained again
  CHECK(again.code == 0);
  CHECK(again.out == first.out);
  CHECK(read(dir + "/probe.csv") == csv);

  const Result table = test::tessera({"probe", "--model", "swin", "--positions", "none", "--tasks", "row,border",
                                      "--seeds", "2", "data.train_size=8", "data.test_size=8", "train.epochs=1",
                                      "model.embed_dim=16", "model.depths=[1, 1]", "model.num_heads=[1, 2]"});
  REQUIRE_MESSAGE(table.code == 0, table.err);
  CHECK(table.out.find("\nnone ") != std::string::npos);
  CHECK(table.out.find("- none: swin has no answer for each token") != std::string::npos);
  for (size_t from = 0; from < table.out.size();) {
    const size_t end = std::min(table.out.find('\n', from), table.out.size());
    if (table.out[from] != '-') CHECK(end - from <= 80 + 16);  // ± is two bytes
    from = end + 1;
  }
}

TEST_CASE(
    "probe: both poolings and options of an encoding are rows of their own, and what the answers are of stands beside "
    "them") {
  const Folder folder;
  const std::string dir = folder / "probe";
  const std::vector<std::string> args =
      words({"probe", "--positions", "none,lie:generator_dim=2,lie:generator_dim=4", "--tasks", "quadrant,row",
             "--pool", "avg,token", "--out", dir, "--json"});
  const Result r = test::tessera(args);
  REQUIRE_MESSAGE(r.code == 0, r.err);
  const io::Json all = io::parse_json(r.out, "stdout");
  CHECK(all["cells"].size() == 2 * 3 * (2 + 1));  // every token answers for itself: asked once
  // each run is what it is called
  const std::string run = dir + "/runs/quadrant+lie:generator_dim=4,pool=token,seed=1/config.toml",
                    other = dir + "/runs/quadrant+lie:generator_dim=2,pool=avg,seed=1/config.toml",
                    dense = dir + "/runs/row+none,seed=1/config.toml";
  for (const char* line : {"generator_dim = 4", "global_pool = \"token\"", "class_token = true"})
    CHECK_MESSAGE(read(run).find(line) != std::string::npos, line);
  for (const char* line : {"generator_dim = 2", "global_pool = \"avg\"", "class_token = false"})
    CHECK_MESSAGE(read(other).find(line) != std::string::npos, line);
  CHECK(read(dense).find("global_pool = \"none\"") != std::string::npos);
  const std::string csv = read(dir + "/probe.csv"), made = read(dir + "/probe.toml");
  CHECK(csv.find("\nlie:generator_dim=4,token,quadrant,48,0.25,1,") != std::string::npos);
  for (const char* part :
       {"tessera probe --positions none,lie:generator_dim=2,lie:generator_dim=4 --tasks quadrant,row --pool avg,token",
        "commit ", "arithmetic = ", "epochs = 1", "train_size = 48"})
    CHECK_MESSAGE(made.find(part) != std::string::npos, part);
  REQUIRE(test::tessera({"report", dir}).code == 0);
  const std::string page = read(dir + "/report.html");
  for (const char* part : {"pixels, class token", "pixels, mean of the patches", "lie:", "--pool avg,token"})
    CHECK_MESSAGE(page.find(part) != std::string::npos, part);

  check_refused(test::tessera({"probe", "--pool", "token,none"}), 2, {"--pool none", "token, avg"});
  check_refused(test::tessera({"probe", "--model", "swin", "--pool", "token"}), 2, {"--pool token", "swin"});
  check_refused(test::tessera({"probe", "--positions", "lie:generator_dim"}), 2, {"NAME:KEY=VALUE"});
  check_refused(test::tessera({"probe", "--positions", "lie:generator_dimm=4"}), 2,
                {"generator_dimm", "generator_dim"});
  check_refused(test::tessera({"probe", "--positions", "lie:generator_dim=-3"}), 2, {"generator_dim"});
}

TEST_CASE("probe: one that was stopped goes on to what it would have been") {
  const Folder folder;
  std::vector<std::string> args = words({"probe", "--positions", "none,peg", "--tasks", "row"});
  std::ranges::replace(args, std::string("train.epochs=1"), std::string("train.epochs=40"));
  args.insert(args.end(), {"--out", folder / "stopped"});
  {
    Process process(args);
    while (process.running() && !exists(folder / "stopped/runs")) ::usleep(1000);
    process.signal(SIGINT);
    const Result r = process.wait();
    REQUIRE_MESSAGE(r.code == 130, r.err);
    CHECK(r.err.find("goes on with what is in") != std::string::npos);
    CHECK(!exists(folder / "stopped/probe.csv"));
  }
  REQUIRE(test::tessera(args).code == 0);
  const std::string gone_on = read(folder / "stopped/probe.csv");
  args.back() = folder / "whole";
  REQUIRE(test::tessera(args).code == 0);
  CHECK(read(folder / "whole/probe.csv") == gone_on);
}

TEST_CASE("probe: a training that diverges is a dash with its reason, and the rest of the table is there") {
  const Folder folder;
  std::vector<std::string> args = words({"probe", "--positions", "none,learned", "--tasks", "row", "--seeds", "2",
                                         "--out", folder / "probe", "optim.lr=1e20", "train.batch_size=8"});
  for (int i = 0; i < 2; ++i) {
    const Result r = test::tessera(args);
    REQUIRE_MESSAGE(r.code == 0, r.err);
    const std::string csv = read(folder / "probe/probe.csv");
    CHECK(std::ranges::count(csv, '\n') == 2 * 2 + 1);
    CHECK(csv.find("seed 1: the ") != std::string::npos);
    CHECK(csv.find("not finite") != std::string::npos);
  }
}

TEST_CASE("probe: trainings of another length do not stand beside those that are there") {
  const Folder folder;
  std::vector<std::string> args = words({"probe", "--positions", "none", "--tasks", "row", "--out", folder / "probe"});
  REQUIRE(test::tessera(args).code == 0);
  const std::string csv = read(folder / "probe/probe.csv");
  for (const char* longer : {"train.epochs=2", "train.max_steps=1"}) {
    std::vector<std::string> other = args;
    other.emplace_back(longer);
    check_refused(test::tessera(other), 2, {"row+none,seed=1 is of 1 epoch", "--out"});
  }
  CHECK(read(folder / "probe/probe.csv") == csv);
}

TEST_CASE("probe: the help says the sizes that are taken") {
  std::string help;  // on one line
  for (const char c : test::tessera({"probe", "--help"}).out)
    if (!std::isspace(static_cast<unsigned char>(c)))
      help += c;
    else if (!help.ends_with(' '))
      help += ' ';
  for (const auto& [key, size] :
       {std::pair("train_size", lab::ProbeOptions{}.train_size), {"test_size", lab::ProbeOptions{}.test_size}}) {
    const std::string said = std::string("data.") + key + " [" + std::to_string(size) + "]";
    CHECK_MESSAGE(help.find(said) != std::string::npos, said);
  }
}

TEST_CASE("probe: what makes no sense is refused in one line") {
  check_refused(test::tessera({"probe", "--positions", "none,rope_axail"}), 2, {"rope_axail", "rope_axial"});
  check_refused(test::tessera({"probe", "--positions", "none,,rope"}), 2, {"--positions"});
  check_refused(test::tessera({"probe", "--positions", "none,none"}), 2, {"none twice"});
  check_refused(test::tessera({"probe", "--tasks", "rows"}), 2, {"rows", "row"});
  check_refused(test::tessera({"probe", "data.seed=3"}), 2, {"data.seed"});
  for (const char* own : {"num_classes=7", "global_pool=avg", "img_width=64"})  // also without their section
    check_refused(test::tessera({"probe", own}), 2,
                  {std::string(own).substr(0, std::string(own).find('=')), "probe itself decides"});
  check_refused(test::tessera({"probe", "position.name=rope"}), 2, {"position.name"});
  check_refused(test::tessera({"probe", "model.patch_size=16"}), 2, {"model.patch_size"});
  check_refused(test::tessera({"probe", "--model", "transformer"}), 1, {"transformer"});
  check_refused(test::tessera({"probe", "--seeds", "0"}), 2, {"--seeds"});
}
