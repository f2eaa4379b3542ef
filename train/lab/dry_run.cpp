#include "tessera/train/lab/dry_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <set>

#include "tessera/core/parallel.h"
#include "tessera/nn/position.h"
#include "tessera/train/cli/console.h"
#include "tessera/train/data/set.h"
#include "tessera/train/lab/seams.h"
#include "tessera/train/lab/statistics.h"
#include "tessera/train/training/splits.h"
#include "tessera/train/training/text.h"
#include "tessera/train/training/trainer.h"
#include "tessera/train/training/training.h"
#include "tessera/train/training/views.h"

namespace tessera::lab {
using namespace cli;
namespace {

using Clock = std::chrono::steady_clock;

/// The clock of a run: its second step tells how long one takes. The first also touches memory, and before it data are opened; nor is a
/// validation between the two a part of them.
struct Watch final : Listener {
  int steps = 0;
  size_t batches = 0;
  Clock::time_point last;
  double step_seconds = 0;
  void step(const RunState& r) override {
    const auto now = Clock::now();
    step_seconds = std::chrono::duration<double>(now - last).count();
    last = now;
    ++steps, batches = r.batches;
  }
  void epoch(const RunState&, const EpochScores&) override { last = Clock::now(); }
};

/// The run with as many steps as a look at it takes.
RunConfig with_two_steps(RunConfig c) {
  check(c);  // what makes no sense in the shorter one is told
  c.train.epochs = std::max(c.train.epochs, 2), c.train.max_minutes = 0;
  if (c.train.max_steps == 1) c.train.max_steps = 2;
  return c;
}

/// Sizes of data sets, each opened once.
class Sizes {
 public:
  struct Of {
    size_t train = 0;
    double val = 0, test = 0;
    ImageSize size{};  ///< of pictures; 0 x 0 where they are none
    bool flips = false, moves = false;
  };
  Of of(DataConfig data) {
    RunConfig key;
    key.data = data;
    Of& known = known_[toml(key)];
    if (known.test == 0) {
      const data::Splits s = open_splits(data);
      known = {static_cast<size_t>(data::size_of(s.train)), static_cast<double>(data::size_of(s.val)),
               std::max(1.0, static_cast<double>(data::size_of(s.test)))};
      if (const auto set = std::dynamic_pointer_cast<const data::Set>(s.test))
        known.size = {set->h, set->w}, known.flips = set->keeps_label(data::Augmentation::flip),
        known.moves = set->keeps_label(data::Augmentation::crop);
    }
    return known;
  }

 private:
  std::map<std::string, Of> known_;
};

Expected expected(const RunConfig& config, Sizes& sizes) {
  const auto watch = std::make_shared<Watch>();
  Hooks hooks;
  hooks.stop = [&] { return watch->steps >= 2; };
  RunParts parts;
  parts.listeners = {watch};
  train_run(with_two_steps(config), "", false, hooks, parts);
  const TrainConfig& t = config.train;
  const Sizes::Of n = sizes.of(config.data);
  Expected e{.step = watch->step_seconds,
             .steps = static_cast<double>(watch->batches) * t.epochs,
             .images = static_cast<double>(step_size(t, n.train))};
  if (t.max_steps > 0) e.steps = std::min(e.steps, static_cast<double>(t.max_steps));
  // evaluation is forward only: about a third of a step
  const double validations = t.epochs / static_cast<double>(t.eval_every), per_image = e.step / e.images;
  e.all = e.step * e.steps + per_image * (validations * n.val + evaluations(t.tta) * n.test) / 3;
  if (t.max_minutes > 0) e.all = std::min(e.all, 60 * t.max_minutes);
  return e;
}

/// See asked_images(). `lossless` is left out: it has few.
double asked_images(const RunConfig& config, const MeasureOptions& o, const Sizes::Of& n) {
  const auto wanted = [&](std::string_view family) {
    return o.families.empty() || std::ranges::find(o.families, family) != o.families.end();
  };
  const auto some = [](double all, int count) { return count == 0 ? all : std::min<double>(all, count); };
  const double part = some(n.test, o.images), seen = some(part, o.attention_images);
  double images = n.test + (part < n.test ? part : 0);
  if (wanted("accuracy") && n.val > 0) images += n.test;
  if (wanted("attention")) images += seen;
  if (wanted("positions") && config.position != "none") images += 3 * part;
  if (wanted("speed"))  // six steps with the encoding and six without, each as three forward passes
    images += 3 * 2 * 6 * std::min({64.0, n.test, static_cast<double>(config.train.batch_size)});
  if (n.size.h == 0) return images;
  if (wanted("flip") && n.flips) images += part;
  if (wanted("permutation")) images += 2 * part;
  if (wanted("grid_shuffle")) images += static_cast<double>(o.tiles.size()) * part;
  if (wanted("shift") && n.moves) images += 2 * static_cast<double>(o.shifts.size()) * part;
  if (!wanted("resolution") || (!config.position.empty() && !fixed_size(config.position).empty())) return images;
  for (const ImageSize& size : o.sizes.empty() ? usual_sizes(n.size, {1, 1}) : o.sizes)
    images += static_cast<double>(size.h) * size.w / (static_cast<double>(n.size.h) * n.size.w) *
              (size == n.size ? seen : part + seen);
  return images;
}

struct Look {
  double seconds = 0, measures = 0;  ///< measures: a part of seconds
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

Expected expected(const RunConfig& config) {
  Sizes sizes;
  return expected(config, sizes);
}

double asked_images(const RunConfig& config, const MeasureOptions& options) {
  return asked_images(config, options, Sizes().of(config.data));
}

int dry_run(const Plan& plan, const Study& study, bool retry, const Interrupt& interrupt) {
  const Standing now = study.dir.empty() ? Standing() : standing(study);
  int finished = 0, failed = 0;
  std::map<std::string, Look> known;  // by configuration, whatever the seed
  Sizes sizes;
  const MeasureOptions options = measure_options(plan.report);
  double total = 0, measures = 0;
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
        const Expected e = expected(cell.config, sizes);
        it->second.measures = e.step / e.images * asked_images(cell.config, options, sizes.of(cell.config.data)) / 3;
        it->second.seconds = e.all + it->second.measures;
      } catch (const Error& e) {
        it->second.refused = e.what();
      }
    const Look& v = it->second;
    total += v.seconds, measures += v.measures;
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
      "\n{}{}, of which {} can be; about {:.1f} h one after another with {} (two steps of each were measured; {:.1f} "
      "h of it for the measures at the end, by the images that they ask, a third of a step each)\n",
      plural(to_do, "run"), over, can, total / 3600, plural(parallel::threads(), "thread"), measures / 3600));
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
