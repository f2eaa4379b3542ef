#include "tessera/train/lab/measures.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "tessera/core/error.h"
#include "tessera/core/io/replace_file.h"
#include "tessera/core/io/safetensors.h"
#include "tessera/train/data/named.h"
#include "tessera/train/lab/measures_session.h"
#include "tessera/train/training/run_folder.h"
#include "tessera/train/training/splits.h"

namespace tessera::lab {
namespace {

constexpr const char *numbers_file = "measures.json", *answers_file = "answers.safetensors",
                     *pictures_file = "pictures.json";

struct Row {
  MeasureFamily family;
  void (*measure)(Session&);
};

/// All of them, in the order in which they are measured.
constexpr Row rows[] = {
    {{"accuracy", "also of the epoch that validated best", true}, measure_accuracy},
    {{"lossless", "of CIFAR-10's own pixels, where a part of them lies beside a copy that was compressed", true},
     measure_lossless},
    {{"cost", "parameters and multiply-accumulates, beside none", true}, measure_cost},
    {{"attention", "entropy and distances of attention, and what pictures of it need", true}, measure_attention},
    {{"flip", "the image mirrored", true}, measure_flip},
    {{"permutation", "tokens in another order", true}, measure_permutation},
    {{"positions", "the encoding taken out, transposed, reversed", true}, measure_positions},
    {{"grid_shuffle", "tiles of the image in another order", true}, measure_grid_shuffle},
    {{"shift", "the image moved by some pixels", true}, measure_shift},
    {{"resolution", "other image sizes", true}, measure_resolution},
    {{"speed", "training steps and their memory, in turns with none", true}, measure_speed},
};

bool wanted(const MeasureOptions& o, const MeasureFamily& f) {
  return o.families.empty() ? f.usual : std::ranges::find(o.families, f.name) != o.families.end();
}

io::Json about(const Session& s, const std::vector<std::string>& families) {
  const auto pair = [](const cli::ImageSize& size) { return io::Json({size.h, size.w}); };
  io::Json a{
      {"families", families},           {"images", s.part.size()},
      {"test_samples", s.test->size()}, {"attention_images", spread(s.part.size(), s.options.attention_images).size()},
      {"seed", s.options.seed},         {"weights", "weights.safetensors"}};
  if (!s.images) return a;
  a["filter"] = "bilinear, antialiased; what is too wide or too high is cut";
  a["img_size"] = pair(s.size), a["patch"] = pair(s.patch), a["window"] = s.window ? pair(*s.window) : io::Json();
  return a;
}

template <class T>
std::span<const char> bytes_of(const std::vector<T>& v) {
  return {reinterpret_cast<const char*>(v.data()), v.size() * sizeof(T)};
}

void write(const Session& s, const RunFolder& folder, const std::vector<std::string>& families) {
  const auto n = static_cast<int64_t>(s.answers.right.size());
  const io::TensorBytes tensors[] = {{"right", io::DType::u8, {n}, bytes_of(s.answers.right)},
                                     {"prediction", io::DType::i32, {n}, bytes_of(s.answers.prediction)}};
  folder.remove(numbers_file);  // it says that the others are there
  io::write_safetensors(folder / answers_file, tensors, {{"samples", s.test->name}});
  if (s.pictures.is_null()) {
    folder.remove(pictures_file);
  } else {
    folder.write(pictures_file, s.pictures.dump() + "\n");
  }
  const io::Json all{{"format", 1},
                     {"about", about(s, families)},
                     {"numbers", s.out.numbers},
                     {"timed", s.out.timed},
                     {"absent", s.out.absent}};
  folder.write(numbers_file, all.dump(2, ' ', false, io::Json::error_handler_t::replace) + "\n");
}

}  // namespace

const std::vector<MeasureFamily>& measure_families() {
  static const std::vector<MeasureFamily> all = [] {
    std::vector<MeasureFamily> list;
    for (const Row& row : rows) list.push_back(row.family);
    return list;
  }();
  return all;
}

void check(const MeasureOptions& o) {
  std::vector<std::string> names;
  for (const Row& row : rows) names.emplace_back(row.family.name);
  for (const std::string& name : o.families)
    if (std::ranges::find(names, name) == names.end()) unknown("measure", name, names);
  if (o.images < 0 || o.attention_images < 0)
    fail("measure", "{} images and {} of attention: 0 (all) or more", o.images, o.attention_images);
  for (const cli::ImageSize& size : o.sizes)
    if (std::min(size.h, size.w) < 1 || std::max(size.h, size.w) > 4096)
      fail("measure", "an image of {} pixels: 1 to 4096 a side", str(size));
  for (const int s : o.shifts)
    if (s < 1 || s > 4096) fail("measure", "a shift by {} pixels: 1 to 4096", s);
  for (const int k : o.tiles)
    if (k < 2 || k > 4096) fail("measure", "{} x {} tiles: 2 to 4096", k, k);
}

std::vector<cli::ImageSize> usual_sizes(const cli::ImageSize& trained, const cli::ImageSize& patch) {
  std::vector<cli::ImageSize> all;
  const auto add = [&](int h8, int w8) {  // eighths
    const auto whole = [](int extent, int eighths, int p) {
      return std::max(1, (extent * eighths + 4 * p) / (8 * p)) * p;  // rounded
    };
    const cli::ImageSize size =
        h8 == 8 && w8 == 8 ? trained : cli::ImageSize{whole(trained.h, h8, patch.h), whole(trained.w, w8, patch.w)};
    if (std::ranges::find(all, size) == all.end()) all.push_back(size);
  };
  for (const int e : {5, 6, 7, 8, 9, 10, 12, 16, 20, 24}) add(e, e);
  add(8, 12), add(12, 8);
  return all;
}

bool measure(const std::string& rundir, const MeasureOptions& options, const Hooks& hooks) try {
  check(options);
  cli::check_run_directory(rundir);
  const RunFolder folder(rundir, true);
  Session s(rundir, options, hooks);
  std::vector<std::string> done;
  for (const Row& row : rows) {
    if (!wanted(options, row.family)) continue;
    go_on(hooks);
    if (hooks.progress) hooks.progress(fmt::format("measuring {}", row.family.name));
    row.measure(s);
    done.emplace_back(row.family.name);
  }
  write(s, folder, done);
  return true;
} catch (const Stopped&) {
  return false;
}

void measure_accuracy(Session& s) {
  const std::string names[] = {"best_val_acc1", "best_val.test_acc1"};
  const auto best = s.summary.find("best_val_acc1");
  if (best == s.summary.end() || !best->is_number() || !std::filesystem::exists(s.rundir + "/best.ckpt")) {
    for (const std::string& name : names) s.out.leave_out(name, "no epoch was validated (data.val_size)");
    return;
  }
  s.out.add(names[0], best->get<double>());
  const cli::SavedRun run = cli::open_run(s.rundir, cli::Weights::best);
  s.out.add(names[1], ask(*run.net.model, *s.test, *s.task, s.hooks).acc1());
}

void measure_lossless(Session& s) {
  constexpr const char *name = "lossless_acc1", *folder = "cifar-10-lossless-subset";
  if (!s.has_images({name})) return;
  const DataConfig& data = s.run.config.data;
  const data::Spec spec = data::parse_spec(data.name);
  if (spec.name != "cifar10") return s.out.leave_out(name, "it is of runs on cifar10");
  for (const std::string& place : data::places(folder, data.dir)) {
    if (std::filesystem::path(place).filename() != folder || !std::filesystem::is_directory(place)) continue;
    const auto set = data::open_splits("cifar10:" + place).test->normalised_by(s.run.normalisation);
    if (const auto said = s.changed_answers(*set, {name})) s.out.add(name, said->acc1());
    return;
  }
  s.out.leave_out(name, fmt::format("there is no {} beside the data sets", folder));
}

}  // namespace tessera::lab
