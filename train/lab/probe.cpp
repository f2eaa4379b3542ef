#include "tessera/train/lab/probe.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <map>
#include <numeric>

#include "tessera/core/parallel.h"
#include "tessera/models/model.h"
#include "tessera/train/cli/saved_run.h"
#include "tessera/train/data/where_tokens.h"
#include "tessera/train/training/classification.h"
#include "tessera/train/training/complete.h"
#include "tessera/train/training/finite.h"
#include "tessera/train/training/text.h"
#include "tessera/train/training/token_classification.h"

namespace tessera::lab {
namespace {

namespace fs = std::filesystem;
namespace where = data::where;
using Pictures = std::shared_ptr<const data::Source>;
using Said = std::function<void(std::string_view)>;

const ProbeTask& task_named(std::string_view name) {
  return *std::ranges::find(probe_tasks(), name, [](const ProbeTask& t) { return std::string_view(t.name); });
}

/// Pictures of a task; normalised as `like` is, or by themselves.
Pictures pictures(const ProbeTask& task, size_t n, std::string_view purpose, int patch, int size,
                  const Pictures& like) {
  const uint64_t seed = rng::mix(rng::hash(purpose));
  const std::string_view name = task.name;
  if (task.tokens)
    for (const where::TokenTask& t : where::token_tasks())
      if (t.name == name) return where::token_pictures(t, n, seed, patch, size, like.get());
  const bool texture = std::string_view(task.trained_on) == "texture";
  data::Samples s = texture ? where::texture_pictures(n, seed, name == "scattered", size)
                            : where::pictures(where::task(name), n, seed, size);
  const auto& classes = texture ? where::textures() : where::task(name).classes;
  auto made = data::from_memory(std::move(s), classes, {}, {}, "where:" + std::string(name));
  const auto set = std::make_shared<const data::Set>(std::move(made.train));
  return like ? set->normalised_by(like->normalisation()) : set;
}

/// What a task is trained on and asked about, made once for all encodings.
class Material {
 public:
  Material(const ProbeOptions& o, int patch) : options_(o), patch_(patch) {}
  const Pictures& train(const ProbeTask& trained) {
    Pictures& p = train_[trained.name];
    if (!p)
      p = pictures(trained, static_cast<size_t>(options_.train_size), "probe train", patch_, options_.sizes[0],
                   nullptr);
    return p;
  }
  const Pictures& test(const ProbeTask& task, int size) {
    Pictures& p = test_[{task.name, size}];
    if (!p)
      p = pictures(task, static_cast<size_t>(options_.test_size), "probe test", patch_, size,
                   train(task_named(task.trained_on)));
    return p;
  }

 private:
  const ProbeOptions& options_;
  int patch_;
  std::map<std::string, Pictures> train_;
  std::map<std::pair<std::string, int>, Pictures> test_;
};

std::shared_ptr<const Task> judge_of(const ProbeTask& task, double smoothing) {
  if (task.tokens) return std::make_shared<const TokenClassification>(smoothing);
  return std::make_shared<const Classification>(task.classes, smoothing);
}

/// Share of right answers of each picture.
std::vector<double> shares(const Model& model, const data::Source& source, const Task& task) {
  constexpr size_t together = 8;
  const size_t n = source.size();
  std::vector<double> all(n);
  parallel::shards(static_cast<int>((n + together - 1) / together), [&](int s) {
    const size_t first = static_cast<size_t>(s) * together, count = std::min(together, n - first);
    std::array<int32_t, together> which;
    std::iota(which.begin(), which.end(), static_cast<int32_t>(first));
    const Batch batch = data::gather(source, std::span(which).first(count));
    const Output out = model.forward({}, task.input(batch));
    for (size_t i = 0; i < count; ++i) {
      const int b = static_cast<int>(i);
      Output one;
      one.logits = out.logits.rows(b, b + 1);
      Tally tally;
      std::array<Outcome, 1> outcome;
      task.judge(one, batch.rows(b, b + 1), tally, outcome);
      all[first + i] = tally.of[0].value();
    }
  });
  return all;
}

/// The configuration of one run, complete; throws Error where the model cannot be had so.
RunConfig config_of(const ProbeOptions& o, const ProbeTask& task, const ProbePosition& position,
                    const std::string& pool, int seed, const data::Source& train) {
  RunConfig c = o.config;
  c.position = position.name, c.position_options = position.options;
  c.data = {}, c.train.seed = seed;
  c.train.checkpoint_every = c.train.epochs;
  const ModelRow& row = model(c.model);
  const auto set = [&](const char* key, Value value) {
    if (row.defaults.contains(key)) c.model_options[key] = std::move(value);
  };
  set("num_classes", task.classes), set("img_size", o.sizes[0]);
  if (!pool.empty()) c.model_options["global_pool"] = pool, set("class_token", pool == "token");
  if (task.tokens) {
    set("global_pool", std::string("none")), set("class_token", false);
    try {
      if (!row.defaults.contains("global_pool")) fail("probe", "it has no pooling");
      row.places(c.model_options);
    } catch (const Error&) {
      fail("probe", "{} has no answer for each token", c.model);
    }
  }
  complete(c, train, true);
  return c;
}

int patch_of(const RunConfig& c) {
  for (const Options* from : {&c.model_options, &model(c.model).defaults})
    if (const auto it = from->find("patch_size"); it != from->end())
      if (const int* patch = std::get_if<int>(&it->second)) return *patch;
  return 4;
}

/// "[position alibi] why" -> "why"
std::string reason(const std::string& error) {
  const size_t end = error.starts_with('[') ? error.find("] ") : std::string::npos;
  return end == std::string::npos ? error : error.substr(end + 2);
}

void conclude(ProbeCell& cell, const std::vector<double>& of_pictures) {
  if (cell.by_seed.empty()) return;
  const MeanOf m = mean_of(cell.by_seed);
  cell.accuracy = m.mean;
  cell.interval = m.n > 1 ? m.interval : over_images(of_pictures, {.resamples = 2000});
  // where all pictures are right, or none is, resampling sees no spread: Clopper and Pearson's bound
  const double bound = std::pow(0.025, 1 / static_cast<double>(of_pictures.size()));
  if (m.n == 1 && m.mean == 1) cell.interval.low = bound;
  if (m.n == 1 && m.mean == 0) cell.interval.high = 1 - bound;
}

class Probing {
 public:
  Probing(const ProbeOptions& o, const std::string& dir, const Hooks& hooks, const Said& said)
      : o_(o), dir_(dir), hooks_(hooks), said_(said), material_(o, patch_of(o.config)) {
    for_each_run([&](const ProbePosition&, const std::string&, const ProbeTask&, int) { return ++runs_ > 0; });
  }

  /// A run goes on from its files, and ends where it is told to: one of more or fewer epochs would stand beside the others as if it were theirs.
  void refuse_other_lengths() const {
    const TrainConfig& now = o_.config.train;
    const auto check = [&](const std::string& rundir) {
      std::error_code none;
      if (!fs::is_regular_file(rundir + "/config.toml", none)) return;
      cli::ConfigLayers saved;
      saved.read_recipe(rundir + "/config.toml");
      const TrainConfig was = saved.resolve(false).train;
      const auto length = [](const TrainConfig& t) {
        std::string text = plural(t.epochs, "epoch");
        if (t.max_steps > 0) text += fmt::format(", train.max_steps={}", t.max_steps);
        if (t.max_minutes > 0) text += fmt::format(", train.max_minutes={}", t.max_minutes);
        return t.patience > 0 ? text + fmt::format(", train.patience={}", t.patience) : text;
      };
      if (length(was) != length(now))
        cli::wrong_usage("{} is of {}, and now it is {}: take another --out, or what it was", rundir, length(was),
                         length(now));
    };
    for_each_run([&](const ProbePosition& position, const std::string& pool, const ProbeTask& task, int seed) {
      check(rundir_of(position, pool, task, seed));
      return true;
    });
  }

  /// false: somebody stopped it.
  bool run() {
    return for_each_run([&](const ProbePosition& position, const std::string& pool, const ProbeTask& task, int seed) {
      return run(position, pool, task, seed);
    });
  }

  /// In the order of sizes, pools, positions, tasks.
  std::vector<ProbeCell> cells() {
    std::vector<ProbeCell> all;
    for (const int size : o_.sizes)
      for (const std::string& pool : o_.pools)
        for (const ProbePosition& position : o_.positions)
          for (const ProbeTask& task : o_.tasks) {
            if (!asked(task, pool)) continue;
            const Key key{position.label, pool, task.name, size};
            conclude(cells_[key], right_[key]);
            all.push_back(cells_[key]);
          }
    if (!trained_ && std::ranges::none_of(all, [](const ProbeCell& c) { return c.absent.empty(); }))
      fail("probe", "{}: {}", o_.config.model, all.front().absent);
    return all;
  }

 private:
  using Key = std::tuple<std::string, std::string, std::string, int>;

  /// What every token answers does not depend on the pooling.
  bool asked(const ProbeTask& task, const std::string& pool) const { return !task.tokens || pool == o_.pools.front(); }

  /// Does a column that was asked for speak of weights trained on this task?
  bool needs_training(const ProbeTask& task) const {
    return std::ranges::any_of(o_.tasks,
                               [&](const ProbeTask& t) { return std::string_view(t.trained_on) == task.name; });
  }

  /// visit(position, pool, task, seed) of every training, until it returns false.
  template <class Visit>
  bool for_each_run(Visit&& visit) const {
    for (const std::string& pool : o_.pools)
      for (const ProbePosition& position : o_.positions)
        for (const ProbeTask& task : probe_tasks())
          for (int seed = 1; needs_training(task) && asked(task, pool) && seed <= o_.seeds; ++seed)
            if (!visit(position, pool, task, seed)) return false;
    return true;
  }

  std::string rundir_of(const ProbePosition& position, const std::string& pool, const ProbeTask& task, int seed) const {
    const std::string pooled = pool.empty() || task.tokens ? "" : ",pool=" + pool;
    return fmt::format("{}/{}+{}{},seed={}", dir_, task.name, position.label, pooled, seed);
  }

  /// One training, and all that its weights are asked.
  bool run(const ProbePosition& position, const std::string& pool, const ProbeTask& task, int seed) {
    ++run_;
    const std::string who = position.label + (pool.empty() || task.tokens ? "" : " (" + pool + ")");
    const auto absent = [&](const std::string& why) {
      ask(position, pool, task, nullptr, why);
      said_(fmt::format("[{}/{}] {}, {}: {}", run_, runs_, who, task.name, why));
      return true;
    };
    RunConfig config;
    try {
      config = config_of(o_, task, position, pool, seed, *material_.train(task));
    } catch (const Error& e) {
      return absent(reason(e.what()));
    }
    trained_ = true;
    const std::string rundir = rundir_of(position, pool, task, seed);
    std::error_code none;
    RunParts parts;
    parts.train = material_.train(task), parts.task = judge_of(task, config.train.label_smoothing);
    try {
      if (train_run(config, rundir, fs::exists(rundir, none), hooks_, parts).interrupted) return false;
    } catch (const NotFinite& e) {
      return absent(fmt::format("seed {}: {}", seed, reason(e.what())));
    }
    const cli::SavedRun saved = cli::open_run(rundir);
    ask(position, pool, task, saved.net.model.get(), "");
    std::string said = fmt::format("[{}/{}] {}, seed {}:", run_, runs_, who, seed);
    for (const ProbeTask& t : o_.tasks)
      if (std::string_view(t.trained_on) == task.name)
        for (const int size : o_.sizes)
          if (const ProbeCell& cell = cells_[{position.label, pool, t.name, size}]; cell.absent.empty())
            said += fmt::format("  {} {:.1f} % at {}", t.name, 100 * cell.by_seed.back(), size);
    said_(said);
    return true;
  }

  /// Every column that shares this training, at every size.
  void ask(const ProbePosition& position, const std::string& pool, const ProbeTask& trained, const Model* model,
           const std::string& absent) {
    for (const ProbeTask& task : o_.tasks)
      for (const int size : o_.sizes) {
        if (std::string_view(task.trained_on) != trained.name) continue;
        const Key key{position.label, pool, task.name, size};
        ProbeCell& cell = cells_[key];
        cell.position = position.label, cell.pool = pool, cell.task = task.name, cell.size = size;
        cell.chance = task.chance();
        if (cell.absent.empty()) cell.absent = model && size != o_.sizes[0] ? fixed_size(position.name) : absent;
        if (!cell.absent.empty()) {
          cell.by_seed.clear();
          continue;
        }
        auto& right = right_[key];
        right = shares(*model, *material_.test(task, size), *judge_of(task, 0));
        cell.by_seed.push_back(std::accumulate(right.begin(), right.end(), 0.0) / static_cast<double>(right.size()));
      }
  }

  const ProbeOptions& o_;
  const std::string& dir_;
  const Hooks& hooks_;
  const Said& said_;
  Material material_;
  size_t run_ = 0, runs_ = 0;
  bool trained_ = false;  // there was something to be trained
  std::map<Key, ProbeCell> cells_;
  std::map<Key, std::vector<double>> right_;  // of the last seed: share of right answers of each picture
};

}  // namespace

const std::vector<ProbeTask>& probe_tasks() {
  static const std::vector<ProbeTask> all = {
      {"quadrant", "quadrant", "quadr", 4, false, "which quarter holds the shape?"},
      {"relation", "relation", "relat", 4, false, "where is the red shape, seen from the blue one?"},
      {"distance", "distance", "dist", 2, false, "are the two shapes near to each other or far apart?"},
      {"border", "border", "border", 2, false, "which shape is nearer to a border?"},
      {"row", "row", "row", 4, true, "each token: in which quarter of the rows am I?"},
      {"left", "left", "left", 2, true, "each token: is the red shape left or right of me?"},
      {"texture", "texture", "textur", 4, false, "which texture is it? (control: places say nothing)"},
      {"scattered", "texture", "scattr", 4, false, "the same of pictures whose tiles were shuffled"},
  };
  return all;
}

std::vector<ProbeCell> probe(const ProbeOptions& o, const std::string& dir, const Hooks& hooks, const Said& said) {
  if (const int patch = patch_of(o.config); patch < 1 || 4 % patch != 0)
    cli::wrong_usage(
        "model.patch_size is {}: larger patches than 4 pixels see where the shapes are by themselves; choose 4, 2 or 1",
        patch);
  Probing probing(o, dir, hooks, said);
  probing.refuse_other_lengths();
  return probing.run() ? probing.cells() : std::vector<ProbeCell>();
}

}  // namespace tessera::lab
