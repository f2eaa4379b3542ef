// What needs a process of its own: the first use of the engine from several threads, limits of the system, a registry to add to.
//   fresh first_use | refused | host | registry | models [children]        exits with 0, or says what is wrong
// The parent computes nothing: every child starts from nothing.
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <tbb/global_control.h>
#include <unistd.h>

#include <atomic>
#include <barrier>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "tessera/core/ops.h"
#include "tessera/core/parallel.h"
#include "tessera/core/peak.h"
#include "tessera/models/vit.h"
#include "tessera/nn/position.h"
#include "tessera/train/data/loader.h"
#include "tests/error_of.h"
#include "tests/unit/toy_rows.h"

using namespace tessera;
using test::error_of;

namespace {

void require(bool holds, const char* what) {
  if (!holds) fail("fresh", "{}", what);
}

/// Every thread begins with another of the engine's doors; all go through all of them.
void first_use() {
  constexpr int n = 8;
  std::barrier together(n);
  std::atomic<int> wrong{0};
  const Tensor x = full({64, 40}, 1), W = full({300, 40}, 1);
  const std::vector<std::function<bool()>> doors{
      [] {
        std::atomic<int> count{0};
        parallel::shards(16, [&](int) { ++count; });
        return count == 16;
      },
      [] {
        std::atomic<int64_t> count{0};
        parallel::rows(1000, 10, [&](int64_t a, int64_t b) { count += b - a; });
        return count == 1000;
      },
      [] { return parallel::threads() >= 1; },
      [] {
        parallel::set_threads(3);
        return true;
      },
      [&] { return linear(x, W, {})[0] == 40; },
      [&] {
        return matmul(x, W.reshape({40, 300}))[0] == 40;
      },
      [] {
        const Tape tape;
        return sum(full({5}, 2))[0] == 10;
      },
      [] { return static_cast<bool>(position("learned+rope")); },
  };
  std::vector<std::jthread> threads;
  for (size_t t = 0; t < n; ++t)
    threads.emplace_back([&, t] {
      together.arrive_and_wait();
      for (size_t d = 0; d < doors.size(); ++d) wrong += !doors[(t + d) % doors.size()]();
    });
  threads.clear();
  require(wrong == 0, "a first use from eight threads gave a wrong answer");
}

data::Set blank() {
  data::Set set;
  set.name = "blank", set.h = set.w = 4, set.channels = 1, set.classes = 1;
  set.pixels = std::make_shared<const std::vector<uint8_t>>(16);
  set.labels = std::make_shared<const Index>(1);
  set.rows = {0};
  return set;
}

/// With memory for no more than a few stacks, whoever needs many threads says so and is as before.
void refused() {
  parallel::set_threads(1);
  const data::Set set = blank();
  long pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  const auto bytes = static_cast<rlim_t>(pages) * static_cast<rlim_t>(::sysconf(_SC_PAGESIZE)) + (rlim_t{96} << 20);
  const rlimit limit{bytes, bytes};
  require(::setrlimit(RLIMIT_AS, &limit) == 0, "no limit can be set here");
  const auto says = [](const std::string& line, const char* where) {
    require(line.find(where) == 0 && line.find("refuses") != std::string::npos && line.find('\n') == std::string::npos,
            fmt::format("expected one line of {} about the refused thread, got \"{}\"", where, line).c_str());
  };
  says(error_of([] { parallel::set_threads(200); }), "[threads]");
  require(parallel::threads() == 1, "a refused count was kept");
  says(error_of([&] { const data::Loader loader(set, {.workers = 200}); }), "[loader]");
  says(error_of([] { fma_peak_gflops(200); }), "[peak]");
  std::atomic<int> count{0};
  parallel::shards(4, [&](int) { ++count; });
  require(count == 4, "the thread that is left does not work");
}

/// The host's own use of oneTBB is not limited by ours; its own limit limits us.
void host() {
  using tbb::global_control;
  const auto limit = [] { return global_control::active_value(global_control::max_allowed_parallelism); };
  const size_t before = limit();
  parallel::set_threads(1);
  parallel::shards(2, [](int) {});
  require(limit() == before, "set_threads(1) limits all of oneTBB");
  parallel::set_threads(static_cast<int>(before) + 2);
  std::atomic<int> count{0};
  parallel::shards(100, [&](int) { ++count; });
  require(count == 100, "more threads than cores");
  parallel::set_threads(1);
  require(limit() >= before, "set_threads(1) limits all of oneTBB after more were asked for");
  const global_control two(global_control::max_allowed_parallelism, 2);
  parallel::set_threads(4);
  require(limit() == 2, "the host's limit is lost");
  parallel::shards(100, [&](int) { ++count; });
  require(count == 200, "a host's limit stops the work");
}

/// Recipes and lists stay as they are while rows are added, whatever memory their names come from.
void registry() {
  const MakePosition before = position("learned"), both = position("learned+rope");
  const auto& list = positions();
  const size_t rows = list.size();
  const PositionRow* first = list.data();
  std::atomic<bool> over{false};
  size_t seen = 0;
  std::jthread reader([&] {
    do {
      for (const auto& r : positions()) seen += std::string_view(r.name).size();
    } while (!over);
  });
  for (int i = 0; i < 20; ++i) {
    const std::string name = "added_" + std::to_string(i);
    PositionRow row = list[0];
    row.name = name.c_str(), row.title = name.c_str();
    add_position(row);
    require(error_of([&] { add_position(row); }).find("exists") != std::string::npos, "the same name twice");
  }
  over = true;
  reader.join();
  require(list.size() == rows && list.data() == first, "a list changed under its reader");
  require(positions().size() == rows + 20 && std::string_view(positions().back().name) == "added_19" &&
              std::string_view(positions().back().title) == "added_19",
          "an added row is not what was added");
  for (const MakePosition& make : {before, both, position("added_3+learned")}) {
    Params params(1);
    const vit::Vit model(Scope(params), {.img_size = 8, .embed_dim = 16, .depth = 1, .num_heads = 2}, make);
    require(params.find("pos_embed"), "a recipe from before builds something else");
  }
  PositionRow row = list[0];
  row.name = nullptr;
  require(!error_of([&] { add_position(row); }).empty(), "a row without a name");
  row.name = "empty", row.make = nullptr;
  require(error_of([&] { add_position(row); }).find("make") != std::string::npos, "a row that builds nothing");
}

/// The same of models: a row that a program adds is one of them, and what was there stays as it was.
void models_added() {
  const auto& list = models();
  const ModelRow& vit = model("vit");
  const size_t rows = list.size();
  std::atomic<bool> over{false};
  size_t seen = 0;
  std::jthread reader([&] {
    do {
      for (const auto& r : models()) seen += r.name.size();
    } while (!over);
  });
  {
    std::vector<std::jthread> writers;
    for (int t = 0; t < 4; ++t)
      writers.emplace_back([t] {
        for (int i = 0; i < 5; ++i) add_model(toy::frames_row(fmt::format("toy_{}_{}", t, i)));
      });
  }
  over = true;
  reader.join();
  require(list.size() == rows && &vit == &list[0] && vit.name == "vit", "a list changed under its reader");
  require(models().size() == rows + 20, "an added row is missing");
  const auto why = [](const char* name, auto change) {
    ModelRow row = toy::frames_row(name);
    change(row);
    return error_of([&] { add_model(row); });
  };
  const auto nothing = [](ModelRow&) {};
  require(why("toy_1_2", nothing).find("exists") != std::string::npos, "the same name twice");
  for (const char* name : {"", "a+b", "a.b"})
    require(why(name, nothing).find("cannot be a name") != std::string::npos, "a name that options would misread");
  require(why("x", [](ModelRow& r) { r.make = nullptr; }).find("`make`") != std::string::npos, "a row without make");
  require(why("x", [](ModelRow& r) { r.input = nullptr; }).find("`input`") != std::string::npos, "a row without input");
  require(why("alone", [](ModelRow& r) { r.family = r.position = ""; }).empty(), "a row without a family");
  require(model("alone").family == "alone" && model("alone").position == "none", "a row without a family");
  require(error_of([] { model("toy_1_9"); }).find("did you mean") != std::string::npos, "no nearest name");
  Params params(1);
  const auto net = model("toy_0_0").make(Scope(params), {{"input_dim", 2}}, position("none"));
  require(net->forward(Run{}, full({4, 6, 2}, 1)).logits.shape() == Shape{4, 3}, "an added model answers otherwise");
}

}  // namespace

int main(int argc, char** argv) {
  const std::map<std::string, void (*)()> parts{
      {"first_use", first_use}, {"refused", refused}, {"host", host}, {"registry", registry}, {"models", models_added}};
  const auto part = parts.find(argc > 1 ? argv[1] : "");
  if (part == parts.end()) return 2;
  const int children = argc > 2 ? std::atoi(argv[2]) : 1;
  for (int i = 0; i < children; ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      try {
        part->second();
        std::exit(0);
      } catch (const std::exception& e) {
        fmt::print(stderr, "{}\n", e.what());
        std::exit(1);
      }
    }
    int status = 0;
    if (child < 0 || ::waitpid(child, &status, 0) != child || status != 0) {
      fmt::print(stderr, "child {} of {} ended with status {:#x}\n", i + 1, children, status);
      return 1;
    }
  }
  return 0;
}
