// tessera train.
#include <algorithm>
#include <cctype>
#include <csignal>
#include <deque>
#include <filesystem>
#include <optional>

#include "tessera/core/parallel.h"
#include "tessera/train/cli/commands.h"
#include "tessera/train/cli/console.h"
#include "tessera/train/cli/data_name.h"
#include "tessera/train/cli/interrupt.h"
#include "tessera/train/cli/recipes.h"
#include "tessera/train/cli/run_config.h"
#include "tessera/train/cli/tensorboard.h"
#include "tessera/train/report/report.h"
#include "tessera/train/training/text.h"
#include "tessera/train/training/trainer.h"

namespace tessera::cli {
namespace {

namespace fs = std::filesystem;

/// Options that stand for a key: the shortcuts, and --reset-head.
struct Standing {
  const char* key;
  const CLI::Option* option;
  std::string value;
};

struct Request {
  const CLI::App* app = nullptr;
  const CLI::Option* word = nullptr;
  std::vector<std::string> words;  // the recipe and key=value
  std::deque<Standing> standing;   // whose values do not move
  std::string out, resume;
  int threads = 0;
  bool tensorboard = false;
};

/// section.key=value, or a recipe? What stands before a = in a key has letters of names only, and a file that is there is a recipe, whatever
/// its name: runs/lr=0.1/config.toml, lr=0.1.toml.
bool is_assignment(const std::string& word) {
  const size_t equals = word.find('=');
  if (equals == std::string::npos) return false;
  const auto of_a_name = [](unsigned char c) {
    return std::isalnum(c) || c == '_' || c == '-' || c == '.' || c == '+';
  };
  const auto end = word.begin() + static_cast<std::ptrdiff_t>(equals);
  if (!std::all_of(word.begin(), end, of_a_name)) return false;
  std::error_code error;
  return !(word.ends_with(".toml") && fs::exists(word, error));
}

/// Recipe, options and overrides as one configuration. Of a key that is said twice, as --lr and as optim.lr=, the last one counts.
ConfigLayers gather(const Request& r, std::string& recipe) {
  ConfigLayers config;
  for (const std::string& w : r.words) {
    if (is_assignment(w)) continue;
    if (!recipe.empty()) wrong_usage("two recipes, {} and {}: one is enough", shown(recipe), shown(w));
    recipe = w;
  }
  if (!recipe.empty()) config.read_recipe(recipe);
  auto word = r.words.begin();
  for (const CLI::Option* said : r.app->parse_order()) {
    if (said == r.word && word != r.words.end()) {
      if (is_assignment(*word)) config.assign(*word);
      ++word;
    }
    for (const Standing& s : r.standing)
      if (said == s.option && !s.value.empty()) config.set(s.key, s.value);
  }
  return config;
}

/// runs/NAME, or runs/NAME-2 and so on when that exists: made here, since of several that are started together only one can make a
/// folder. Those that nothing was written to vanish again.
class FreeFolder {
 public:
  explicit FreeFolder(const std::string& recipe) {
    const std::string name = "runs/" + fs::path(recipe).stem().string();
    std::error_code error;
    path_ = name;
    for (int number = 2, tries = 0; tries < 100; ++tries) {
      made_runs_ = fs::create_directory("runs", error) || made_runs_;
      if (fs::create_directory(path_, error)) return;
      if (error == std::errc::no_such_file_or_directory) continue;  // another one has just removed what it made
      if (error && error != std::errc::file_exists) break;
      path_ = fmt::format("{}-{}", name, number++), tries = 0;
    }
    fail("train", "cannot make {}: {}", path_, error.message());
  }
  ~FreeFolder() {
    std::error_code not_empty;
    fs::remove(path_, not_empty);
    if (made_runs_) fs::remove("runs", not_empty);
  }
  FreeFolder(const FreeFolder&) = delete;
  FreeFolder& operator=(const FreeFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  bool made_runs_ = false;
};

/// In `out`, or if that is empty in a free folder named after the recipe.
int run(const RunConfig& config, const std::string& out, const std::string& recipe, bool resume, bool tensorboard) {
  Interrupt interrupt;
  Hooks hooks;
  hooks.stop = [&] { return interrupt.stop(); };
  hooks.stopped_by = [&] { return interrupt.name(); };
  bool alone = false;  // nobody reads what is said any more; what there is, is safe from now on
  hooks.checkpoint = [&] {
    const bool left = !alone && stderr_is_lost();
    alone = alone || left;
    return interrupt.take_checkpoint() || left;
  };
  hooks.say = [](std::string_view line) { say(line); };
  if (stderr_is_lively()) hooks.progress = show_progress, hooks.columns = terminal_columns;
  check_data_name(config.data.name);
  std::optional<FreeFolder> made;
  if (out.empty()) made.emplace(recipe);
  const std::string rundir = made ? made->path() : out;
  RunParts parts;
  if (tensorboard) parts.listeners.push_back(std::make_shared<EventListener>(rundir));
  RunResult result;
  try {
    result = train_run(config, rundir, resume, hooks, parts);
  } catch (const Misfit& e) {
    throw Usage(e.what());
  }
  if (result.interrupted) {
    say("{} after {}; go on with: tessera train --resume {}", result.ended, plural(result.epochs, "epoch"), rundir);
    return interrupted;
  }
  report::write({rundir}, rundir + "/report.html");
  if (tensorboard) write_events(rundir);  // the test at the end is no epoch
  say("{}: weights.safetensors, report.html, summary.json and more", rundir);
  return done;
}

/// What may be said with --resume: when the run ends, where its data lie and what is saved. None of it changes a bit of what is still to
/// come, but that a cosine follows the number of epochs.
bool may_change(std::string_view key) {
  for (const char* may : {"train.epochs", "train.max_steps", "train.max_minutes", "train.patience",
                          "train.best_weights", "train.tta", "data.dir"})
    if (key == may) return true;
  return false;
}

int resume_run(const Request& r, ConfigLayers config) {
  std::error_code error;
  if (!r.out.empty() && r.out != r.resume && !fs::equivalent(r.out, r.resume, error))
    wrong_usage("--out and --resume name different folders");
  for (const std::string& key : config.keys())
    if (!may_change(key)) {
      wrong_usage(
          "--resume takes {} from {}/config.toml; only --epochs, --max-steps, --max-minutes, train.patience, "
          "train.best_weights, train.tta, --data-dir, --threads and --tensorboard may be added",
          key, r.resume);
    }
  if (!fs::is_regular_file(r.resume + "/config.toml", error))
    wrong_usage(
        "--resume {}: there is no config.toml; a run that was stopped before it wrote that begins with --out {}",
        r.resume, r.resume);
  config.read_recipe(r.resume + "/config.toml");
  return run(config.resolve(), r.resume, "", true, r.tensorboard);
}

int train(const Request& r) {
  std::signal(SIGPIPE, SIG_IGN);  // until the end: who reads stderr may leave, and training goes on
  use_threads(r.threads);
  std::string recipe;
  ConfigLayers config = gather(r, recipe);
  check_data_name(config.given("data.name", ""));
  if (!r.resume.empty() && !recipe.empty())
    wrong_usage("--resume {} goes on with its own configuration: leave the recipe {} out", r.resume, recipe);
  if (!r.resume.empty()) return resume_run(r, config);
  const RunConfig complete = run_config(config, recipe, [](std::string_view line) { say(line); });
  return run(complete, r.out, recipe, false, r.tensorboard);
}

}  // namespace

void add_train(CLI::App& app, Action& chosen) {
  auto* sub = app.add_subcommand("train", "Train a model and leave a run directory");
  auto r = std::make_shared<Request>();
  r->app = sub;
  r->word =
      sub->add_option("RECIPE key=value", r->words, "A TOML file or an embedded recipe, and overrides of single keys");
  for (const Shortcut& shortcut : shortcuts()) {
    const std::string key = shortcut.key;
    const auto known = std::find_if(run_keys().begin(), run_keys().end(), [&](const Key& k) { return k.name == key; });
    const std::string help = known == run_keys().end()
                                 ? (key == "model.name" ? "A family or a named configuration (tessera models)"
                                                        : "The position encoding, or several joined by + "
                                                          "(tessera positions)")
                                 : with_domain(*known);
    Standing& s = r->standing.emplace_back(Standing{shortcut.key, nullptr, ""});
    s.option = sub->add_option(std::string("--") + shortcut.option, s.value, help)->type_name(key);
  }
  sub->add_option("--out", r->out, "The run directory to make [runs/RECIPE]")->type_name("RUNDIR");
  sub->add_option("--resume", r->resume,
                  "Go on with a run that was stopped, or with one that ended, under more --epochs or other limits")
      ->type_name("RUNDIR");
  Standing& fresh = r->standing.emplace_back(Standing{"train.reset_head", nullptr, "true"});
  fresh.option = sub->add_flag_callback(
      "--reset-head", [] {}, "With --weights: a fresh head all the same");
  sub->add_flag("--tensorboard", r->tensorboard,
                "Also write the curves for TensorBoard, every epoch (tensorboard --logdir RUNDIR)");
  sub->add_option("--threads", r->threads, "Worker threads; results do not depend on it [cores available]")
      ->check(CLI::Range(1, 4096))
      ->type_name("N");
  sub->footer([r] {
    std::string text = "Embedded recipes:";
    for (const Recipe& recipe : recipes()) text += " " + recipe.name;
    const auto said = [&] {
      std::string recipe;
      return gather(*r, recipe);
    };
    const auto names = [&] {
      ConfigLayers config;
      for (const Standing& s : r->standing)
        if (!s.value.empty() && std::string_view(s.key).ends_with(".name")) config.set(s.key, s.value);
      return config;
    };
    return text + "\n\n" + help_of_keys("Keys of recipes and of key=value, with their values", said, names, [] {
             return ConfigLayers();
           });
  });
  sub->callback([&chosen, r] { chosen = [=] { return train(*r); }; });
}

}  // namespace tessera::cli
