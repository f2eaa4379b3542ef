// tessera data: get, info, make.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tessera/core/io/text.h"
#include "tessera/core/parallel.h"
#include "tessera/train/cli/commands.h"
#include "tessera/train/cli/console.h"
#include "tessera/train/cli/data_name.h"
#include "tessera/train/cli/interrupt.h"
#include "tessera/train/cli/json.h"
#include "tessera/train/data/get.h"
#include "tessera/train/data/loader.h"
#include "tessera/train/data/named.h"
#include "tessera/train/data/where.h"
#include "tessera/train/training/splits.h"

namespace tessera::cli {
namespace {

/// Made in memory, not read?
bool is_made(const std::string& spec) {
  const data::NamedData* named = data::find_named(spec);
  return named && named->most_made > 0;
}

/// Known to this command are the sets that it fetches, and no others.
void refuse_unfetchable(const std::string& name) try {
  const auto known = data::downloads();
  if (std::find(known.begin(), known.end(), name) != known.end()) return;
  if (data::find_named(name))
    wrong_usage("data get {}: there is nothing to fetch; known are {}", shown(name), fmt::join(known, ", "));
  unknown("data set to fetch", name, known);
} catch (const Error& e) {
  throw Usage(e.what());
}

/// "where, where:quadrant, ...".
std::string makeable() {
  std::string all = "where";
  for (const data::where::Task& task : data::where::tasks()) all += fmt::format(", where:{}", task.name);
  return all;
}

int get(const std::string& name, const std::string& dir, const std::string& mirror) {
  refuse_unfetchable(name);
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

/// Lengths of sequences: the shortest, the middle one, the longest, and how many there are of all together.
struct Lengths {
  int64_t shortest = 0, median = 0, longest = 0, sum = 0;
};
Lengths lengths(const data::Source& source) {
  std::vector<int64_t> all(source.size());
  for (size_t i = 0; i < all.size(); ++i) all[i] = source.length(i);
  if (all.empty()) return {};
  std::sort(all.begin(), all.end());
  return {all.front(), all[all.size() / 2], all.back(), std::accumulate(all.begin(), all.end(), int64_t{0})};
}

constexpr int usual_batch = 32, usual_bucket = 16;  // what padding is told for

double padding(const data::Source& source, int bucket) {
  return data::padding(source, {.batch_size = usual_batch, .bucket = bucket});
}

std::vector<std::string> survived(const data::Set& set) {
  std::vector<std::string> keeps;
  for (const auto a : {data::Augmentation::crop, data::Augmentation::flip, data::Augmentation::randaug,
                       data::Augmentation::erase, data::Augmentation::mixup, data::Augmentation::cutmix})
    if (set.keeps_label(a)) keeps.emplace_back(data::name(a));
  return keeps;
}

/// A split that is missing has no samples, and is as `train` in all else.
Json describe(const std::shared_ptr<const data::Source>& split, const data::Source& train) {
  const data::Source& of = split ? *split : train;
  const data::Normalisation by = train.normalisation();
  Json document{{"size", data::size_of(split)},
                {"histogram", split ? data::histogram(*split) : std::vector<int64_t>(static_cast<size_t>(of.classes))}};
  if (of.form().ragged()) {
    const Lengths l = split ? lengths(*split) : Lengths();
    document["lengths"] = {{"min", l.shortest}, {"median", l.median}, {"max", l.longest}, {"sum", l.sum}};
    if (split)
      document["padding"] = {{"batch_size", usual_batch},
                             {"drawn", padding(*split, 0)},
                             {"bucket", usual_bucket},
                             {"bucketed", padding(*split, usual_bucket)}};
  }
  if (!by.mean.empty()) document["mean"] = by.mean, document["std"] = by.std;
  document["digest"] = of.digest, document["official"] = of.official;
  return document;
}

void print_info(const std::string& spec, const data::Splits& splits) {
  const data::Source& train = *splits.train;
  const InputShape form = train.form();
  const auto* set = dynamic_cast<const data::Set*>(&train);
  print(fmt::format("{}: {} classes, {}\n", spec, train.classes,
                    set ? fmt::format("images {} x {} x {}", set->h, set->w, set->channels) : form.str()));
  print(fmt::format("train {} {}s{}, test {}{}\n", train.size(), form.unit(),
                    splits.val ? fmt::format(", validation {}", splits.val->size()) : "", data::size_of(splits.test),
                    train.official  ? ", the publisher's files by checksum"
                    : is_made(spec) ? ", made in memory (as many as data.train_size and data.test_size say)"
                                    : ""));
  if (form.ragged()) {
    const Lengths l = lengths(train);
    print(fmt::format("lengths of train: {} to {}, median {}{}\n", l.shortest, l.longest, l.median,
                      splits.sample_rate > 0 ? fmt::format("; {} samples a second", splits.sample_rate) : ""));
    print(fmt::format("padding in batches of {}: {:.1f} %, with data.bucket={} {:.1f} %\n", usual_batch,
                      100 * padding(train, 0), usual_bucket, 100 * padding(train, usual_bucket)));
  }
  if (set) {
    for (int c = 0; c < set->channels; ++c)
      print(fmt::format("channel {}: mean {:.4f}, standard deviation {:.4f}\n", c,
                        set->stats.mean[static_cast<size_t>(c)], set->stats.std[static_cast<size_t>(c)]));
    const auto keeps = survived(*set);
    print(fmt::format("labels survive: {}\n",
                      keeps.empty() ? "no augmentation" : fmt::format("{}", fmt::join(keeps, ", "))));
  }
  const auto counts = [&](const std::shared_ptr<const data::Source>& split) {
    return split ? data::histogram(*split) : std::vector<int64_t>(static_cast<size_t>(train.classes));
  };
  const auto of_train = counts(splits.train), of_val = counts(splits.val), of_test = counts(splits.test);
  for (size_t k = 0; k < of_train.size(); ++k)
    print(fmt::format("  {:>3} {:<20} {:>8} train{} {:>8} test\n", k, io::printable(train.class_names[k]), of_train[k],
                      splits.val ? fmt::format(" {:>8} val", of_val[k]) : "", of_test[k]));
  print("digest " + train.digest + "\n");
}

int info(const std::string& spec, const std::string& dir, int img_size, bool json) {
  check_data_name(spec);
  if (const data::NamedData* named = data::find_named(spec); img_size > 0 && !(named && named->any_size))
    wrong_usage("--img-size {}: only an imagefolder is resized, {} has its own size", img_size, spec);
  check_data_dir(spec, dir);
  DataConfig at;
  at.name = spec, at.dir = dir;
  const std::string moved = follow(at);
  const data::Splits splits = data::open_splits(at.name, at.dir, {.img_size = img_size});
  if (!moved.empty()) say(moved);
  const data::Source& train = *splits.train;
  const auto* set = dynamic_cast<const data::Set*>(&train);
  if (!json) {
    print_info(at.name, splits);
    if (!splits.note.empty()) say(splits.note);
    return done;
  }
  Json document{{"name", at.name}, {"classes", train.classes}, {"class_names", train.class_names}};
  if (set) {
    document["image"] = std::vector<int>{set->channels, set->h, set->w};
    document["augmentations"] = survived(*set);
  } else {
    document["sample"] = train.form().str();
  }
  document["train"] = describe(splits.train, train);
  document["test"] = describe(splits.test, train);
  if (splits.val) document["val"] = describe(splits.val, train);
  if (splits.sample_rate > 0) document["sample_rate"] = splits.sample_rate;
  document["note"] = splits.note;
  print_json(document);
  return done;
}

int make(const std::string& spec, const std::string& out, const data::OpenOptions& options) {
  if (data::parse_spec(spec).name != "where")
    wrong_usage("data make {}: what can be made is {}", shown(spec), makeable());
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
  i->add_option("SPEC", o->name, data::written_specs())->required();
  i->add_option("--data-dir", o->dir,
                "Looked into before $TESSERA_DATA and ./data; of SPEC:DIR the folder, or the one it is in")
      ->type_name("DIR");
  i->add_option("--img-size", o->img_size, "imagefolder: bring all pictures to this size, as data.img_size does")
      ->check(CLI::Range(1, 4096))
      ->type_name("N");
  i->add_flag("--json", o->json, "One JSON document on stdout");
  i->callback([&chosen, o] { chosen = [=] { return info(o->name, o->dir, o->img_size, o->json); }; });
  auto* m = sub->add_subcommand("make", "Write the pictures of `where` as PNG files");
  m->add_option("SPEC", o->name, makeable())->required();
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
