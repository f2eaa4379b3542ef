#include "tessera/train/lab/dry_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <set>

#include "tessera/core/parallel.h"
#include "tessera/train/cli/console.h"
#include "tessera/train/lab/seams.h"
#include "tessera/train/lab/statistics.h"
#include "tessera/train/training/splits.h"
#include "tessera/train/training/text.h"
#include "tessera/train/training/trainer.h"
#include "tessera/train/training/views.h"

namespace tessera::lab {
using namespace cli;
namespace {

using Clock = std::chrono::steady_clock;

/// The clock of a run: its second step tells how long one takes, the first also touches memory.
struct Watch final : Listener {
  int steps = 0;
  Clock::time_point last = Clock::now();
  double step_seconds = 0, steps_left = 0;
  void step(const RunState& r) override {
    const auto now = Clock::now();
    step_seconds = std::chrono::duration<double>(now - last).count();
    last = now;
    ++steps;
    const RunConfig& c = r.config;
    steps_left = static_cast<double>(r.batches) * c.train.epochs;
    if (c.train.max_steps > 0) steps_left = std::min(steps_left, static_cast<double>(c.train.max_steps));
  }
};

/// Sizes of data sets, each opened once.
class Sizes {
 public:
  struct Of {
    double val = 0, test = 0;
  };
  Of of(DataConfig data) {
    RunConfig key;
    key.data = data;
    Of& known = known_[toml(key)];
    if (known.test == 0) {
      const data::Splits s = open_splits(data);
      known = {static_cast<double>(data::size_of(s.val)), std::max(1.0, static_cast<double>(data::size_of(s.test)))};
    }
    return known;
  }

 private:
  std::map<std::string, Of> known_;
};

/// Seconds of a run, its measures not counted. Throws Error where there is no such run.
double seconds_of(const RunConfig& config, Sizes& sizes) {
  const auto watch = std::make_shared<Watch>();
  Hooks hooks;
  hooks.stop = [&] { return watch->steps >= 2; };
  RunParts parts;
  parts.listeners = {watch};
  train_run(config, "", false, hooks, parts);
  const Sizes::Of n = sizes.of(config.data);
  const double validations = config.train.epochs / static_cast<double>(config.train.eval_every);
  const double per_image = watch->step_seconds / std::max(1, config.train.batch_size * config.train.accumulate);
  // evaluation is forward only: about a third of a step
  const double all = watch->step_seconds * watch->steps_left +
                     per_image * (validations * n.val + evaluations(config.train.tta) * n.test) / 3;
  return config.train.max_minutes > 0 ? std::min(all, 60 * config.train.max_minutes) : all;
}

struct Look {
  double seconds = 0;
  std::string refused;
};

std::string detectable(int seeds, int among, double sd, const std::string& whence) {
  if (seeds < 2) return "one seed: no difference can be told from chance; take three or more";
  return fmt::format(
      "{} seeds show a difference of {:.2f} points to the baseline with 80 % power (paired t-test at 5 %{}; the "
      "differences' standard deviation is {:.2f} points, {})",
      seeds, detectable_difference(seeds, sd, level / among),
      among > 1 ? fmt::format(", corrected for {} comparisons", among) : "", sd, whence);
}

}  // namespace

int dry_run(const Plan& plan, const Study& study, bool retry, const Interrupt& interrupt) {
  const Standing now = study.dir.empty() ? Standing() : standing(study);
  int finished = 0, failed = 0;
  std::map<std::string, Look> known;  // by configuration, whatever the seed
  Sizes sizes;
  double total = 0;
  int to_do = 0, can = 0;
  std::map<std::string, int> seeds;  // of each cell, by what it says
  std::set<std::string> compared;    // the same, of those that have a baseline
  for (const Cell& cell : plan.cells) {
    if (interrupt.stop()) return interrupted;
    RunConfig same = cell.config;
    same.train.seed = 0;
    if (now.finished.contains(cell.name)) {
      ++finished, ++seeds[toml(same)];
      if (cell.reference >= 0) compared.insert(toml(same));
      continue;
    }
    if (!retry && now.failed.contains(cell.name)) {
      ++failed;
      continue;
    }
    ++to_do;
    const auto [it, fresh] = known.try_emplace(cell.refused + toml(same));
    if (fresh) try {
        if (!cell.refused.empty()) throw Error(cell.refused);
        it->second.seconds = seconds_of(cell.config, sizes);
      } catch (const Error& e) {
        it->second.refused = e.what();
      }
    const Look& v = it->second;
    total += v.seconds;
    if (v.refused.empty()) {
      ++can, ++seeds[toml(same)];
      if (cell.reference >= 0) compared.insert(toml(same));
    }
    print(v.refused.empty() ? fmt::format("{:<60} {}\n", cell.name, duration(v.seconds))
                            : fmt::format("{:<60} cannot be: {}\n", cell.name, v.refused));
    flush_output();
  }
  const std::string over = finished + failed == 0 ? ""
                                                  : fmt::format(" beside {} that {} finished and {} that failed",
                                                                finished, finished == 1 ? "is" : "are", failed);
  print(fmt::format(
      "\n{}{}, of which {} can be; about {:.1f} h one after another with {} (two steps of each were measured; the "
      "measures at the end are not counted)\n",
      plural(to_do, "run"), over, can, total / 3600, plural(parallel::threads(), "thread")));
  if (!plan.baseline_key.empty()) print(fmt::format("the baseline is {}={}\n", plan.baseline_key, plan.baseline_value));
  const std::optional<double> found = spread_of_differences(study.dir);
  constexpr double assumed =
      0.7;  // two runs that differ in their seed by half a point each, as small networks on CIFAR-10 do
  std::set<int, std::greater<>> numbers;  // most cells have as many seeds as the first
  for (const auto& [cell, n] : seeds) numbers.insert(n);
  for (const int n : numbers)
    print(detectable(
              n, std::max(1, static_cast<int>(compared.size())), found ? 100 * *found : assumed,
              found ? "as the finished runs have it" : "an assumption until runs are finished: half a point a run") +
          "\n");
  return done;
}

}  // namespace tessera::lab
