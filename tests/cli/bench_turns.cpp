// Benchmarks that wait for their turn: `bench --turns` answers numbers of seconds on stdin.
#include <fmt/format.h>
#include <sys/wait.h>

#include <chrono>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tessera/train/cli/stopwatch.h"
#include "tests/cli/program.h"

namespace tessera::test {
namespace {

using nlohmann::json;

const std::string tiny = "--model vit --batch-size 16 --threads 2 depth=1 embed_dim=16 num_heads=2 patch_size=8";

/// The program with these lines on its stdin.
Result fed(const Folder& folder, const std::string& words, std::string_view lines) {
  write(folder / "in", lines);
  const std::string command = fmt::format("'{}' {} < '{}' > '{}' 2> '{}'", TESSERA_PROGRAM, words, folder / "in",
                                          folder / "out", folder / "err");
  Result r;
  const int status = std::system(command.c_str());
  r.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  r.out = read(folder / "out"), r.err = read(folder / "err");
  return r;
}

std::vector<json> documents(const std::string& out) {
  std::vector<json> found;
  std::istringstream lines(out);
  for (std::string line; std::getline(lines, line);) found.push_back(json::parse(line));
  return found;
}

}  // namespace

TEST_CASE("the median of measurements is the mean of the middle two where their number is even") {
  using cli::spread;
  CHECK(spread({}).median == 0);
  CHECK(spread({4}).median == 4);
  CHECK(spread({5, 1}).median == 3);
  CHECK(spread({9, 1, 5}).median == 5);
  CHECK(spread({9, 1, 2, 5}).median == 3.5);
  CHECK(spread({9, 1, 2, 5}).min == 1);
  CHECK(spread({9, 1, 2, 5}).max == 9);
}

TEST_CASE("bench --turns: a line of JSON for each number of seconds, steps for as long") {
  const Folder folder;
  for (const char* kind : {"train", "infer"}) {
    const auto start = std::chrono::steady_clock::now();
    const Result r = fed(folder, fmt::format("bench {} {} --turns --warmup 3", kind, tiny), "0\n0.5\n0\n");
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    INFO(r.err);
    REQUIRE(r.code == 0);
    const std::vector<json> turns = documents(r.out);
    REQUIRE(turns.size() == 3);
    CHECK(turns[0]["steps"] == 3);  // at least three, however short the turn
    CHECK(took.count() >= 0.6);     // the second, and a fifth of it to warm up
    for (const json& turn : turns) {
      CHECK(turn["ms_per_step"]["median"].get<double>() > 0);
      CHECK_FALSE(turn["commit"].get<std::string>().empty());
    }
    CHECK(fed(folder, fmt::format("bench {} {} --turns", kind, tiny), "").out.empty());
  }
}

TEST_CASE("bench train says the losses of its first three steps, whatever is timed") {
  const Folder folder;
  const std::vector<json> turns = documents(fed(folder, "bench train " + tiny + " --turns --warmup 1", "0\n0\n").out);
  REQUIRE(turns.size() == 2);
  const Result once = fed(folder, "bench train " + tiny + " --json --warmup 3 --steps 1", "");
  INFO(once.err);
  REQUIRE(once.code == 0);
  const json losses = json::parse(once.out)["losses"];
  REQUIRE(losses.size() == 3);
  CHECK(turns[0]["losses"] == losses);
  CHECK(turns[1]["losses"] == losses);
  CHECK(losses[0] != losses[1]);
}

TEST_CASE("bench: what cannot be measured is refused in one line") {
  const Folder folder;
  for (const char* line : {"soon", "-1", "nan", "1 2", "3601", ""})
    check_refused(fed(folder, "bench infer " + tiny + " --turns", std::string(line) + "\n"), 2, {"--turns", "seconds"});
  check_refused(tessera({"bench", "train", "--turns", "--steps", "3"}), 2, {"--turns", "--steps"});
  check_refused(tessera({"bench", "train", "--model", "vit", "--length", "50"}), 2, {"--length", "images"});
}

TEST_CASE("bench --length: sequences of that many frames, counted as such") {
  const auto macs = [](const char* length) {
    const Result r = tessera({"bench", "infer", "--model", "conformer", "--position", "none", "--batch-size", "1",
                              "--steps", "1", "--warmup", "0", "--json", "--length", length, "num_layers=1"});
    INFO(r.err);
    REQUIRE(r.code == 0);
    const json found = json::parse(r.out);
    return found["gflops"].get<double>() * found["ms_per_step"]["median"].get<double>();
  };
  CHECK(macs("128") == doctest::Approx(macs("64") * 2).epsilon(0.2));  // attention grows faster, the head not at all
  CHECK(macs("128") > 1.9 * macs("64"));
}

TEST_CASE("bench train: gradients take those of every lane that has a shard, and their sum") {
  for (const auto& [batch, lanes, used] : {std::tuple{"24", "8", 3}, {"24", "2", 2}, {"8", "64", 1}}) {
    const Result r =
        tessera({"bench", "train", "--model", "vit", "--batch-size", batch, "--steps", "1", "--warmup", "1", "--json",
                 std::string("train.lanes=") + lanes, "embed_dim=16", "num_heads=2", "depth=1"});
    INFO(r.err);
    REQUIRE(r.code == 0);
    const json found = json::parse(r.out);
    CHECK(found["gradients_mb"].get<double>() * (1 << 20) ==
          doctest::Approx((used + 1) * 4 * found["params"].get<double>()).epsilon(1e-9));
  }
}

}  // namespace tessera::test
