// The program `tessera`: choose a subcommand, run it, turn what went wrong into one line and an exit code.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <exception>
#include <new>
#include <string_view>

#include "tessera/core/io/text.h"
#include "tessera/core/kernels/kernels.h"
#include "tessera/core/parallel.h"
#include "tessera/train/cli/commands.h"
#include "tessera/train/cli/console.h"
#include "tessera/train/cli/isa.h"
#include "tessera/train/cli/words.h"
#include "tessera/train/lab/commands.h"

namespace tessera::cli {
namespace {

constexpr const char* first_screen =
    R"(tessera: position encodings in transformers, trained from scratch on a CPU

  tessera train                             train a small ViT: on CIFAR-10 if it is found, else on `where`
  tessera train vit_cifar10_small           a recipe, embedded or a file
  tessera train --model vit --position none --epochs 5 --out runs/none optim.lr=5e-4
  tessera train --resume runs/none          go on after an interruption
  tessera eval --run runs/none              accuracy on the test split
  tessera predict --run runs/none cat.png   classes of pictures
  tessera measure runs/none                 other sizes, shifts, orders; where attention looks
  tessera ablate --out study --positions none,learned,shaw --seeds 1..5
  tessera report runs/none --open           curves, confusion matrix, position tables

Subcommands (tessera SUBCOMMAND --help):
)";

void setup(CLI::App& app, Action& chosen) {
  app.name("tessera");
  app.option_defaults()->take_last();  // a script's default, then a person's choice after it
  app.require_subcommand(0, 1);
  for (auto* add :
       {add_train, add_eval, add_predict, lab::add_ablate, lab::add_probe, lab::add_measure, lab::add_report,
        add_models, add_positions, add_inspect, add_init, add_forward, add_bench, add_data})
    add(app, chosen);
}

std::string help(const CLI::App& app) {
  std::string text = first_screen;
  for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; }))
    text += fmt::format("  {:<10} {}\n", sub->get_name(), sub->get_description());
  return text +
         "\nEnvironment: TESSERA_DATA, TESSERA_THREADS, TESSERA_ISA=scalar|avx2|avx512|avx512_bf16|amx|neon, "
         "NO_COLOR.\n"
         "Exit codes: 0 done, 1 failure, 2 wrong usage, 3 done but for runs of a study that failed, 130 interrupted (a "
         "checkpoint is written).\n";
}

/// The subcommand that was chosen, the innermost one, and how to ask for its help.
struct Chosen {
  const CLI::App* app;
  std::string help = "tessera ";
  explicit Chosen(const CLI::App& whole) : app(&whole) {
    while (!app->get_subcommands().empty()) app = app->get_subcommands().front(), help += app->get_name() + " ";
    help += "--help";
  }
};

/// CLI11 knows what it did not understand, but not what was meant.
[[noreturn]] void explain(const CLI::App& app, const CLI::ParseError& e) {
  std::string what = e.what();
  what = what.substr(0, what.find('\n'));
  throw Usage(fmt::format("{} ({})", what, Chosen(app).help));
}

/// Words that no option took: an unknown option, or a subcommand that does not exist.
void refuse_leftovers(const CLI::App& app) {
  const Chosen chosen(app);
  const CLI::App* sub = chosen.app;
  std::vector<std::string> rest = app.remaining(true);
  if (rest.empty()) return;
  for (std::string& word : rest) word = unmarked(word);
  std::vector<std::string> known;
  if (rest[0].starts_with("-")) {
    for (const CLI::Option* o : sub->get_options())
      for (const auto& name : o->get_lnames()) known.push_back("--" + name);
    const std::string word = rest[0].substr(0, rest[0].find('='));
    const std::string near = nearest(word, known);
    wrong_usage("unknown option {}{}", word,
                near.empty() ? " (" + chosen.help + " lists them)" : "; did you mean " + near + "?");
  }
  for (const CLI::App* s : sub->get_subcommands([](const CLI::App*) { return true; })) known.push_back(s->get_name());
  const std::string near = nearest(rest[0], known);
  if (known.empty()) wrong_usage("{} takes no argument \"{}\"", sub->get_name(), rest[0]);
  wrong_usage("there is no subcommand {}{}", rest[0],
              near.empty() ? " (" + chosen.help + " lists them)" : "; did you mean " + near + "?");
}

/// TESSERA_THREADS and TESSERA_ISA are read where they are first needed, which may be deep inside; what is wrong with them is
/// wrong usage, and known now.
void check_environment() try {
  isa();
  parallel::threads();
} catch (const Error& e) {
  throw Usage(e.what());
}

/// What a run is told stands in its files, which are UTF-8: a name that is not would end it when the first of them is written.
void check_words(int argc, char** argv) {
  if (argc < 2 || (std::string_view(argv[1]) != "train" && std::string_view(argv[1]) != "ablate")) return;
  for (int i = 2; i < argc; ++i)
    if (!io::is_utf8(argv[i])) wrong_usage("argument {} '{}' is no UTF-8; rename it", i, io::printable(argv[i]));
}

void allow_leftovers(CLI::App& app) {
  app.allow_extras();
  for (CLI::App* sub : app.get_subcommands([](CLI::App*) { return true; })) allow_leftovers(*sub);
}

int run(int argc, char** argv) {
  check_words(argc, argv);
  Action chosen;
  CLI::App app;
  setup(app, chosen);
  allow_leftovers(app);
  bool version = false, wants_help = false;
  app.set_help_flag();
  app.add_flag("-h,--help", wants_help, "This page");
  app.add_flag("--version", version, "Version, instruction set and BLAS");
  unmark_values(app);
  try {
    app.parse(marked_words(argc, argv));
  } catch (const CLI::CallForHelp&) {
    print(app.help());
    return done;
  } catch (const CLI::ParseError& e) {
    refuse_leftovers(app);
    explain(app, e);
  }
  refuse_leftovers(app);
  if (version || chosen) check_environment();
  if (version) {
    print(version_line() + "\n");
    return done;
  }
  if (!chosen) {
    print(help(app));
    return wants_help || argc == 1 ? done : wrong;
  }
  return chosen();
}

}  // namespace
}  // namespace tessera::cli

int main(int argc, char** argv) {
  using namespace tessera::cli;
  std::signal(SIGXFSZ, SIG_IGN);  // a file beyond `ulimit -f` is then an error of its write, and one line
  prepare_blas(argv);
  try {
    const int code = run(argc, argv);
    flush_output();
    return code;
  } catch (const Usage& e) {
    say_error(e.what());
    return wrong;
  } catch (const std::bad_alloc&) {
    say_error("out of memory: use a smaller batch or model");
  } catch (const std::exception& e) {
    say_error(e.what());
  }
  return failure;
}
