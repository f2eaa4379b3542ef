#include "tessera/train/cli/saved_run.h"

#include <algorithm>
#include <filesystem>

#include "tessera/core/io/json.h"
#include "tessera/core/precision.h"
#include "tessera/nn/weights.h"
#include "tessera/train/cli/json.h"
#include "tessera/train/data/named.h"
#include "tessera/train/training/checkpoint.h"
#include "tessera/train/training/finite.h"

namespace tessera::cli {
namespace {

/// A pipe would be waited for.
bool is_file(const std::string& path) {
  std::error_code none;
  return std::filesystem::is_regular_file(path, none);
}

}  // namespace

void check_run_directory(const std::string& rundir) {
  const std::filesystem::path path(rundir);
  if (is_file(path / "config.toml")) return;
  const std::filesystem::path above = path.has_parent_path() ? path.parent_path() : ".";
  if (is_file(path) && is_file(above / "config.toml"))
    fail("run", "{} is no run directory but a file of one; name the folder, {}", rundir, above.string());
  fail("run", "{} is no run directory: there is no config.toml; name the folder that `tessera train --out` made",
       rundir);
}

SavedRun open_run(const std::string& rundir, Weights which) {
  const bool best = which == Weights::best;
  const std::string weights = rundir + (best ? "/best.ckpt" : "/weights.safetensors"),
                    summary = rundir + "/summary.json";
  check_run_directory(rundir);
  ConfigLayers configuration;
  configuration.read_recipe(rundir + "/config.toml");
  SavedRun run{configuration.resolve(), {}, {}, {}, {}, 0};
  if (best && !is_file(weights)) {
    const data::NamedData* named = data::find_named(run.config.data.name);
    fail("run", "{} has no best.ckpt: {}", rundir,
         run.config.data.val_size > 0 ? "no epoch has been validated yet"
         : named && named->own_splits
             ? "no epoch has been validated yet, or there is no validation split (a val folder, "
               "or data.val_size)"
             : "it was trained without a validation split (data.val_size)");
  }
  if (!is_file(weights) || !is_file(summary))
    fail("run", "{} is not finished: there is no weights.safetensors or summary.json (tessera train --resume {})",
         rundir, rundir);
  set_precision(precision(run.config.train.precision));  // it answers as it was tested
  run.net = build(run.config, 0, Draw::no);
  if (best) {
    run.epoch = load_weights(weights, *run.net.params, averages(run.config)).epoch;
  } else {
    io::load(*run.net.params, weights);
  }
  if (const std::string lost = not_finite(*run.net.params); !lost.empty())
    fail("run", "{}: {}, so these weights answer nothing", weights, lost);
  const InputShape& in = run.net.input;
  const char* what = in.ragged() ? "features" : "channels";
  const auto width = static_cast<size_t>(in.ragged() ? in.features : in.channels);
  try {
    const Json data = io::read_json(summary, io::limit::summary, "run").at("data");
    data.at("classes").get_to(run.classes);
    run.digest = data.value("digest", "");
    if (in.ragged() && !data.contains("mean")) return run;  // taken as they are
    const auto each = [&](const char* key, std::vector<float>& to) {
      for (const Json& v : data.at(key)) to.push_back(static_cast<float>(io::number(v, key, 1e30, "run")));
      if (to.size() != width) fail("run", "data.{} is not a number for each of {} {}", key, width, what);
    };
    each("mean", run.normalisation.mean), each("std", run.normalisation.std);
    for (size_t c = 0; c < width; ++c)
      if (!(run.normalisation.std[c] > 0)) fail("run", "data.std is {} in {} {}", run.normalisation.std[c], what, c);
  } catch (const std::exception& e) {  // of the parser, or of these checks
    fail("run", "{} is damaged: {} (tessera train --resume {} writes it again)", summary, e.what(), rundir);
  }
  return run;
}

}  // namespace tessera::cli
