// tessera data: get, info, make.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tessera/core/io/text.h"
#include "tessera/core/parallel.h"
#include "tessera/train/cli/commands.h"
#include "tessera/train/cli/console.h"
#include "tessera/train/cli/data_name.h"
#include "tessera/train/cli/interrupt.h"
#include "tessera/train/cli/json.h"
#include "tessera/train/data/get.h"
#include "tessera/train/data/set.h"

namespace tessera::cli {
namespace {

bool is_where(const std::string& spec) { return spec.substr(0, spec.find(':')) == "where"; }

int get(const std::string& name, const std::string& dir, const std::string& mirror) {
  check_data_name(name);
  const auto known = data::downloads();
  if (std::find(known.begin(), known.end(), name) == known.end())
    wrong_usage("data get {}: there is nothing to fetch; known are {}", name, fmt::join(known, ", "));
  Interrupt interrupt;
  int last = -1;
  const bool bar = stderr_is_terminal();
  const auto progress = [&](std::string_view file, int64_t bytes, int64_t total) {
    const int percent = total > 0 ? static_cast<int>(100 * bytes / total) : 0;
    if (bar && percent != last) {
      fmt::print(stderr, "\r{}: {:.1f} MB{}", file, static_cast<double>(bytes) / 1e6,
                 total > 0 ? fmt::format(" ({} %)", percent) : "");
      last = percent;
    }
    return !interrupt.stop();
  };
  const bool there = data::fetched(name, dir);
  std::string folder;
  try {
    folder = data::get(name, dir, progress, mirror);
  } catch (const Error& e) {
    if (bar && last >= 0) say("");
    if (!interrupt.stop()) throw;
    say_error("interrupted; the same command goes on where it stopped");
    return interrupted;
  }
  if (bar && last >= 0) say("");
  if (there)
    say("{} is in {} already: nothing was fetched or verified", name, folder);
  else
    say("{} is in {}", name, folder);
  say("train on it with: tessera train --data {}{}", name, dir.empty() ? "" : " --data-dir " + dir);
  return done;
}

Json describe(const data::Set& set) {
  const auto channels = static_cast<size_t>(set.channels);
  return Json{
      {"size", set.size()},
      {"histogram", set.histogram()},
      {"mean", std::vector<float>(set.stats.mean.begin(), set.stats.mean.begin() + static_cast<long>(channels))},
      {"std", std::vector<float>(set.stats.std.begin(), set.stats.std.begin() + static_cast<long>(channels))},
      {"digest", set.digest},
      {"official", set.official}};
}

int info(const std::string& spec, const std::string& dir, int img_size, bool json) {
  check_data_name(spec);
  if (img_size > 0 && spec.substr(0, spec.find(':')) != "imagefolder")
    wrong_usage("--img-size {}: only an imagefolder is resized, {} has its own size", img_size, spec);
  const data::TrainTest named = data::open(spec, dir, {.img_size = img_size});
  const data::Set& train = named.train;
  const auto augmentations = {data::Augmentation::crop,  data::Augmentation::flip,  data::Augmentation::randaug,
                              data::Augmentation::erase, data::Augmentation::mixup, data::Augmentation::cutmix};
  std::vector<std::string> keeps;
  for (const auto a : augmentations)
    if (train.keeps_label(a)) keeps.emplace_back(data::name(a));
  if (json) {
    Json document{{"name", spec},
                  {"classes", named.classes},
                  {"class_names", train.class_names},
                  {"image", std::vector<int>{train.channels, train.h, train.w}},
                  {"augmentations", keeps},
                  {"train", describe(train)},
                  {"test", describe(named.test)}};
    if (named.val.size() > 0) document["val"] = describe(named.val);
    document["note"] = named.note;
    print_json(document);
    return done;
  }
  print(fmt::format("{}: {} classes, images {} x {} x {}\n", spec, named.classes, train.h, train.w, train.channels));
  const bool val = named.val.size() > 0;
  print(fmt::format("train {} images{}, test {}{}\n", train.size(),
                    val ? fmt::format(", validation {}", named.val.size()) : "", named.test.size(),
                    train.official   ? ", the publisher's files by checksum"
                    : is_where(spec) ? ", made in memory (as many as data.train_size and data.test_size say)"
                                     : ""));
  for (int c = 0; c < train.channels; ++c)
    print(fmt::format("channel {}: mean {:.4f}, standard deviation {:.4f}\n", c,
                      train.stats.mean[static_cast<size_t>(c)], train.stats.std[static_cast<size_t>(c)]));
  print(fmt::format("labels survive: {}\n",
                    keeps.empty() ? "no augmentation" : fmt::format("{}", fmt::join(keeps, ", "))));
  const auto train_counts = train.histogram(), val_counts = named.val.histogram(), test_counts = named.test.histogram();
  for (size_t k = 0; k < train_counts.size(); ++k)
    print(fmt::format("  {:>3} {:<20} {:>8} train{} {:>8} test\n", k, io::printable(train.class_names[k]),
                      train_counts[k], val ? fmt::format(" {:>8} val", val_counts[k]) : "", test_counts[k]));
  print("digest " + train.digest + "\n");
  if (!named.note.empty()) say(named.note);
  return done;
}

int make(const std::string& spec, const std::string& out, const data::OpenOptions& options) {
  if (!is_where(spec)) wrong_usage("data make {}: only `where[:TASK]` can be made", spec);
  check_data_name(spec);
  Interrupt interrupt;
  try {
    data::write_folder(data::open(spec, "", options), out, [&] { return interrupt.stop(); });
  } catch (const Error&) {
    if (!interrupt.stop()) throw;
    say_error(fmt::format("interrupted; nothing is left of {}", out));
    return interrupted;
  }
  say("{}: {} training and {} test images of {}", out, options.train_size, options.test_size, spec);
  // not the default recipe for pictures: it flips and crops, which changes where things are
  say("train on them with: tessera train where --data imagefolder:{} data.train_size=0", out);
  return done;
}

}  // namespace

void add_data(CLI::App& app, Action& chosen) {
  auto* sub = app.add_subcommand("data", "Fetch, describe or make data sets: data get | info | make");
  sub->require_subcommand(1);
  struct Options {
    std::string name, dir, mirror, out;
    data::OpenOptions make;
    int img_size = 0;
    bool json = false;
  };
  auto o = std::make_shared<Options>();
  auto* g = sub->add_subcommand("get", "Fetch a set, verify it and lay it out; resumes a download that was cut off");
  g->add_option("NAME", o->name, fmt::format("{}", fmt::join(data::downloads(), ", ")))->required();
  g->add_option("--dir", o->dir, "Where sets live [$TESSERA_DATA, else ./data]")->type_name("DIR");
  g->add_option("--mirror", o->mirror, "Another address for the publisher's")->type_name("URL");
  g->callback([&chosen, o] { chosen = [=] { return get(o->name, o->dir, o->mirror); }; });
  auto* i = sub->add_subcommand("info", "Sizes, classes, statistics and digest of a set");
  i->add_option("SPEC", o->name,
                "cifar10, cifar100, mnist, fashion-mnist, cifar10:DIR, cifar100:DIR, imagefolder:DIR, where[:TASK]")
      ->required();
  i->add_option("--data-dir", o->dir, "Looked into before $TESSERA_DATA and ./data")->type_name("DIR");
  i->add_option("--img-size", o->img_size, "imagefolder: bring all pictures to this size, as data.img_size does")
      ->check(CLI::Range(1, 4096))
      ->type_name("N");
  i->add_flag("--json", o->json, "One JSON document on stdout");
  i->callback([&chosen, o] { chosen = [=] { return info(o->name, o->dir, o->img_size, o->json); }; });
  auto* m = sub->add_subcommand("make", "Write the pictures of `where` as PNG files");
  m->add_option("SPEC", o->name, "where, where:quadrant, where:relation, where:distance, where:border")->required();
  m->add_option("--out", o->out, "A new or empty folder")->required()->type_name("DIR");
  m->add_option("--seed", o->make.seed, "Seed of the pictures")->capture_default_str();
  m->add_option("--train-size", o->make.train_size, "Training pictures")
      ->capture_default_str()
      ->check(CLI::Range(1, 1'000'000));
  m->add_option("--test-size", o->make.test_size, "Test pictures")
      ->capture_default_str()
      ->check(CLI::Range(1, 1'000'000));
  m->callback([&chosen, o] { chosen = [=] { return make(o->name, o->out, o->make); }; });
}

}  // namespace tessera::cli
