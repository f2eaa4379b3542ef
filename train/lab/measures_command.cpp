// tessera measure: the numbers of a finished run, for a person or as JSON.
#include <fmt/format.h>

#include "tessera/core/io/json.h"
#include "tessera/train/cli/console.h"
#include "tessera/train/cli/image_size.h"
#include "tessera/train/cli/interrupt.h"
#include "tessera/train/cli/json.h"
#include "tessera/train/lab/commands.h"
#include "tessera/train/lab/measures.h"

namespace tessera::lab {
namespace {

using cli::Json, cli::print, cli::say;

struct Request {
  std::string run;
  std::vector<std::string> families, sizes;
  MeasureOptions options;
  int threads = 0;
  bool json = false;
};

void show(const Json& all) {
  for (const auto& [name, value] : all.at("numbers").items()) {
    const auto v = value.get<double>();
    const bool share = name.ends_with("acc1") || name.ends_with("consistency");
    print(share ? fmt::format("{:<42} {:8.2f} %\n", name, 100 * v) : fmt::format("{:<42} {:10.6g}\n", name, v));
  }
  for (const auto& [name, value] : all.at("timed").items())
    print(fmt::format("{:<42} {:10.4g}\n", name, value.get<double>()));
  for (const auto& [name, why] : all.at("absent").items())
    print(fmt::format("{:<42}          - {}\n", name, why.get<std::string>()));
}

int run(Request r) {
  cli::use_threads(r.threads);
  r.options.families = r.families;
  for (const std::string& size : r.sizes) r.options.sizes.push_back(cli::image_size(size, "--sizes"));
  try {
    check(r.options);
  } catch (const Error& e) {
    throw cli::Usage(e.what());
  }
  cli::Interrupt interrupt;
  Hooks hooks;
  hooks.stop = [&] { return interrupt.stop(); };
  if (cli::stderr_is_lively()) hooks.progress = cli::show_progress;
  if (!measure(r.run, r.options, hooks)) {
    say("stopped by {}; nothing was written", interrupt.name());
    return cli::interrupted;
  }
  const Json all = io::read_json(r.run + "/measures.json", io::limit::summary, "measure");
  if (r.json) {
    cli::print_json(all);
  } else {
    show(all);
  }
  return cli::done;
}

}  // namespace

void add_measure(CLI::App& app, cli::Action& chosen) {
  auto* sub = app.add_subcommand("measure", "What a finished run does with positions, as numbers beside it");
  auto r = std::make_shared<Request>();
  std::string families = "What to measure [all]:";
  for (const MeasureFamily& f : measure_families()) families += fmt::format("\n{} - {}", f.name, f.help);
  sub->add_option("RUN", r->run, "The run directory; measures.json, answers.safetensors and pictures.json go there")
      ->required();
  sub->add_option("FAMILY", r->families, families)->take_all();
  sub->add_option("--images", r->options.images, "Test images for all but accuracy and lossless; 0: all")
      ->check(CLI::Range(0, 1 << 30))
      ->capture_default_str();
  sub->add_option("--attention-images", r->options.attention_images, "Test images whose attention is looked at; 0: all")
      ->check(CLI::Range(0, 1 << 30))
      ->capture_default_str();
  sub->add_option("--sizes", r->sizes, "Sizes of resolution [5/8 to 3 times that of training]")
      ->type_name("N|HxW,...")
      ->delimiter(',')
      ->take_all();
  sub->add_option("--shifts", r->options.shifts, "Pixels of shift")->type_name("S,...")->delimiter(',')->take_all();
  sub->add_option("--tiles", r->options.tiles, "K of grid_shuffle's K x K tiles")
      ->type_name("K,...")
      ->delimiter(',')
      ->take_all();
  sub->add_option("--seed", r->options.seed, "Of the permutations")->capture_default_str();
  sub->add_option("--threads", r->threads, "Worker threads [cores available]")
      ->check(CLI::Range(1, 4096))
      ->type_name("N");
  sub->add_flag("--json", r->json, "One JSON document on stdout");
  sub->callback([&chosen, r] { chosen = [=] { return run(*r); }; });
}

}  // namespace tessera::lab
