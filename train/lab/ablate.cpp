// tessera ablate: a study of many runs, on one machine or on many that share a folder.
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <map>
#include <optional>
#include <set>

#include "tessera/core/parallel.h"
#include "tessera/train/cli/console.h"
#include "tessera/train/cli/interrupt.h"
#include "tessera/train/lab/commands.h"
#include "tessera/train/lab/crew.h"
#include "tessera/train/lab/dry_run.h"
#include "tessera/train/lab/emit.h"
#include "tessera/train/lab/seams.h"
#include "tessera/train/lab/worker.h"
#include "tessera/train/training/environment.h"
#include "tessera/train/training/text.h"

namespace tessera::lab {
using namespace cli;
namespace {

namespace fs = std::filesystem;

/// Exit code beside those of every command: the study is at its end, and not all of its runs are there.
constexpr int some_failed = 3;

struct Request {
  const CLI::App* app = nullptr;
  const CLI::Option* word = nullptr;  // PLAN.toml and key=a,b
  std::vector<std::string> words;
  std::vector<const CLI::Option*> options = std::vector<const CLI::Option*>(shortcuts().size());
  std::vector<std::string> values = std::vector<std::string>(shortcuts().size());
  std::string out, seeds, baseline, measures, emit;
  double stop_worse = -1, patience = 60;
  int stop_epochs = 0, jobs = 0, threads = 0, parent = 0;
  bool worker = false, dry = false, retry = false, allow_mixed = false, no_extra = false;

  bool says_a_plan() const {
    const bool any = std::any_of(values.begin(), values.end(), [](const std::string& v) { return !v.empty(); });
    return any || !words.empty() || !seeds.empty() || !baseline.empty() || !measures.empty() || stop_worse >= 0 ||
           stop_epochs > 0 || no_extra;
  }
};

bool is_file(const std::string& word) {
  std::error_code none;
  return word.find('=') == std::string::npos || (word.ends_with(".toml") && fs::exists(word, none));
}

void assign_word(Words& words, const std::string& word) {
  const size_t equals = word.find('=');
  if (equals == 0) wrong_usage("{} is no key=value", shown(word));
  if (word.substr(0, equals) == "recipe")
    words.recipe = word.substr(equals + 1), words.recipe_text.clear();
  else
    assign(words, word.substr(0, equals), word.substr(equals + 1));
}

/// The plan file and what the command line says over it. Of a key that is said twice, as --lr and as optim.lr=, the last one counts.
Words gather(const Request& r) {
  std::string file;
  for (const std::string& w : r.words) {
    if (!is_file(w)) continue;
    if (!file.empty()) wrong_usage("two plans, {} and {}: one is enough", shown(file), shown(w));
    file = w;
  }
  Words words = file.empty() ? Words() : read_plan_file(file);
  words.arithmetic.clear();
  auto word = r.words.begin();
  for (const CLI::Option* said : r.app->parse_order()) {
    if (said == r.word && word != r.words.end()) {
      if (!is_file(*word)) assign_word(words, *word);
      ++word;
    }
    for (size_t i = 0; i < r.options.size(); ++i)
      if (said == r.options[i] && !r.values[i].empty()) assign(words, shortcuts()[i].option, r.values[i]);
  }
  if (r.no_extra) words.extra.clear();
  if (!r.seeds.empty()) words.seeds = seeds_of(r.seeds);
  if (!r.baseline.empty()) words.baseline = r.baseline;
  if (r.stop_worse >= 0) words.stop_worse = r.stop_worse;
  if (r.stop_epochs > 0) words.stop_epochs = r.stop_epochs;
  if (!r.measures.empty()) say_measures(words, r.measures);
  return words;
}

void refuse_mixture(const Plan& plan, const Request& r) {
  if (r.allow_mixed || plan.arithmetic == arithmetic()) return;
  wrong_usage(
      "{} was begun on {}, here is {}: the runs would differ in more than what is asked. Take machines of one kind, "
      "set "
      "TESSERA_ISA to what all have from the beginning, or say --allow-mixed-isa",
      r.out, plan.arithmetic, arithmetic());
}

int work_here(const Study& study, const Plan& plan, const Request& r, const Interrupt& interrupt) {
  if (r.threads > 0) use_threads(r.threads);
  bool orphan = false;
  WorkerOptions options;
  options.patience = r.patience, options.of_a_crew = r.parent > 0;
  options.hooks.stop = [&] {
    orphan = orphan || (r.parent > 0 && ::getppid() != r.parent);
    return orphan || interrupt.stop();
  };
  options.hooks.stopped_by = [&] { return interrupt.name(); };
  options.hooks.say = [](std::string_view line) { say(line); };
  return work(study, plan, options) == WorkEnd::all_done ? done : interrupted;
}

int conclude(const Study& study, const Plan& plan) {
  tidy(study, plan);
  int64_t damaged = 0;
  const auto [runs, parts] = write_tables(study, true);
  for (const std::string& line : parts) say_warning(line);
  for (const std::string& line : runs) {
    const bool cell = line.find(study.cells() + "/") != std::string::npos;
    damaged += cell;
    say_warning(line +
                (cell ? "; the tables are without this run: remove its folder and give the same command again" : ""));
  }
  const Standing s = standing(study);
  for (const Cell& cell : plan.cells)
    if (s.failed.contains(cell.name)) say_warning(fmt::format("{}: {}", cell.name, reason_of(study, cell)));
  const auto n = static_cast<int64_t>(s.finished.size()) - damaged;
  if (n == 0 && damaged == 0)
    fail("ablate", "none of {} can be; {} says why", plural(static_cast<int64_t>(plan.cells.size()), "run"),
         study.failures());
  std::string line = fmt::format("{}: {} finished, {} failed", study.dir, plural(n, "run"), s.failed.size());
  if (!s.failed.empty()) line += fmt::format(" ({} says why, --retry tries once more)", study.failures());
  if (damaged > 0) line += fmt::format(", {} damaged", damaged);
  say(line + "; results.csv, timings.csv and more");
  return s.failed.empty() && damaged == 0 ? done : some_failed;
}

/// A word that is wrong in every cell is a slip of the plan: it is told before the folder is this plan's.
void refuse_plan_in_vain(const Plan& plan) {
  if (std::any_of(plan.cells.begin(), plan.cells.end(), [](const Cell& c) { return c.refused.empty(); })) return;
  wrong_usage("none of {} can be: {}", plural(static_cast<int64_t>(plan.cells.size()), "run"), plan.cells[0].refused);
}

/// Before hours pass: what is already known to be in vain, each reason once.
void warn_of_refused(const Plan& plan) {
  std::map<std::string, int> reasons;
  for (const Cell& c : plan.cells)
    if (!c.refused.empty()) ++reasons[c.refused];
  for (const Cell& c : plan.cells)
    if (const auto it = reasons.find(c.refused); it != reasons.end()) {
      say_warning(fmt::format("{}{} cannot be: {}", c.name,
                              it->second > 1 ? fmt::format(" and {} more", it->second - 1) : "", c.refused));
      reasons.erase(it);
    }
}

/// What is finished must be of this plan: of an older text of it, or of another study, it would stand in the tables as if it were.
void check_cells(const Study& study, const Plan& plan) {
  std::set<std::string> strangers = standing(study).finished;
  for (const Cell& cell : plan.cells)
    if (strangers.erase(cell.name) > 0 && cell.refused.empty() && of_another_plan(study, cell))
      wrong_usage("{} is a run of another plan than {}: move it away, or give the plan it was made by",
                  study.cell(cell.name), study.plan());
  for (const std::string& name : strangers)
    say_warning(fmt::format("{} is no run of this plan, but stands in its tables: move it away", study.cell(name)));
}

int ablate(const Request& r) {
  std::signal(SIGPIPE, SIG_IGN);
  const Interrupt interrupt(Usr1::stop);  // of Slurm: the time is nearly over
  const bool again = !r.says_a_plan();
  if (r.out.empty() && !r.dry) wrong_usage("--out DIR is missing: the folder that the study is to have");
  if (r.out.empty() && again) wrong_usage("--dry-run of what? Say a PLAN.toml, --positions or --out DIR of a study");
  const Study study{r.out};
  if (r.worker && r.says_a_plan())
    wrong_usage(
        "a --worker takes its plan from {}: begin the study first, by the same command without --worker, with "
        "--emit or --dry-run left out, or leave the plan out here",
        study.plan());
  std::optional<Plan> before;
  if (again || (!r.out.empty() && is_begun(study))) before = plan_of(study);
  const Plan plan = again ? *before : make_plan(gather(r), before ? &*before : nullptr);
  measure_options(plan.report);  // refuses what is none
  if (!plan.note.empty()) say(plan.note);
  if (!again) refuse_plan_in_vain(plan);
  if (!r.out.empty()) {
    if (!again || !r.worker) {
      refuse_mixture(plan, r);
      r.dry ? check_study(study, plan) : open_study(study, plan);
    }
    check_cells(study, plan);
  }
  if (r.dry) {
    use_threads(r.threads);
    return dry_run(plan, study, r.retry, interrupt);
  }
  if (!r.worker) warn_of_refused(plan);
  const CrewOptions crew{r.jobs, r.threads, r.patience, r.allow_mixed};
  if (!r.emit.empty()) {
    print(script_of(r.emit, study.dir, plan.cells.size(), crew));
    return done;
  }
  refuse_mixture(plan, r);
  if (const std::string line = unclean(commit()); !line.empty() && r.parent == 0) say_warning(line);
  if (r.retry)
    if (const int n = forget_failures(study); n > 0) say("{} tried once more", plural(n, "failed run"));
  const int code = r.worker ? work_here(study, plan, r, interrupt) : run_crew(study, plan, crew, interrupt);
  if (code == interrupted) {
    if (r.parent == 0)
      say("stopped by {}; go on with: tessera ablate {}--out {}", interrupt.name(), r.worker ? "--worker " : "", r.out);
    return code;
  }
  return r.parent > 0 ? code : conclude(study, plan);
}

constexpr const char* example = R"(PLAN.toml, for instance:

  [run]                            # what all runs share: any key of `tessera train`, a recipe, the seeds
  recipe = "vit_cifar10_small"
  data = "cifar10"
  "data.val_size" = 5000
  seeds = [1, 2, 3]
  [grid]                           # lists; the runs are their product
  position = ["none", "learned", "shaw", "rope_axial"]
  "model.global_pool" = ["token", "avg"]
  [[extra]]                        # one more, as a whole
  position = "shaw"
  "position.max_distance" = 3
  seeds = [1, 2]                   # of those above; without: all
  [report]
  baseline = "none"

About a minute, without any files (pictures made in memory):

  tessera ablate --out where-study --positions none,learned,rope_axial --seeds 1..2 --data where:quadrant --epochs 6 \
    data.train_size=4000 data.test_size=500 model.depth=2 optim.lr=2e-3 sched.warmup_epochs=0.5

The same command goes on after an interruption. Exit code 0: all runs are finished; 3: the study is at its end, but some of its
runs failed (DIR/failed says why); 130: it was stopped and can go on. docs/ablation.md tells the rest.
)";

}  // namespace

void add_ablate(CLI::App& app, Action& chosen) {
  auto* sub =
      app.add_subcommand("ablate", "Train and compare many runs: encodings, models, seeds; on one machine or many");
  auto r = std::make_shared<Request>();
  r->app = sub;
  r->word = sub->add_option("PLAN key=VALUES", r->words,
                            "A plan file, and keys: with one value for all runs, with several for a grid");
  for (size_t i = 0; i < shortcuts().size(); ++i) {
    const std::string option = shortcuts()[i].option, key = shortcuts()[i].key;
    if (option == "seed") continue;
    const bool plural_too = option == "model" || option == "position";
    r->options[i] = sub->add_option(plural_too ? "--" + option + "s,--" + option : "--" + option, r->values[i],
                                    key + ": one value, or several")
                        ->type_name(plural_too ? "A,B" : key);
  }
  sub->add_option("--out", r->out, "The folder of the study: new, or one to go on with")->type_name("DIR");
  sub->add_option("--seeds", r->seeds, "1..5 or 1,2,7 [1..3]")->type_name("SEEDS");
  sub->add_option("--baseline", r->baseline,
                  "What the others are compared with: a value, or key=value [position none]");
  sub->add_option("--measures", r->measures, "Kinds of measures, joined by commas [all; docs/measures.md]")
      ->type_name("A,B");
  sub->add_option(
         "--stop-worse", r->stop_worse,
         "Stop a run whose validation accuracy is this much (0.1: ten points) below the baseline's of the same "
         "seed, --stop-epochs validations in a row")
      ->check(CLI::Range(0.0, 1.0));
  sub->add_option("--stop-epochs", r->stop_epochs, "[3]")->check(CLI::Range(1, 1'000'000));
  sub->add_flag("--no-extra", r->no_extra, "Leave out the [[extra]] cells of PLAN.toml");
  sub->add_flag("--worker", r->worker, "One of any number of processes that share DIR, on any machines");
  sub->add_option("--jobs", r->jobs, "Runs at the same time in this process's care [measured]")
      ->check(CLI::Range(1, 4096));
  sub->add_option("--threads", r->threads, "Of each run; results do not depend on it [cores over jobs]")
      ->check(CLI::Range(1, 4096));
  sub->add_flag("--dry-run", r->dry, "Print the runs, the time they take and what difference they can show");
  sub->add_option("--emit", r->emit, "Begin DIR and print a script that starts workers: slurm | parallel | mpi")
      ->check(CLI::IsMember({"slurm", "parallel", "mpi"}));
  sub->add_flag("--retry", r->retry, "Try what failed once more");
  sub->add_option("--stale-after", r->patience,
                  "Seconds without a sign of life after which a run is taken from its worker [60]")
      ->check(CLI::Range(1.0, 1e6));
  sub->add_flag("--allow-mixed-isa", r->allow_mixed,
                "Let machines of other instruction sets or OpenBLAS cores take part");
  sub->add_option("--parent", r->parent)->group("");
  sub->footer(example);
  sub->callback([&chosen, r] { chosen = [=] { return ablate(*r); }; });
}

}  // namespace tessera::lab
