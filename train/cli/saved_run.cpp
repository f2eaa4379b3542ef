#include "train/cli/saved_run.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "core/io/nesting.h"
#include "core/io/replace_file.h"
#include "core/precision.h"
#include "nn/weights.h"
#include "train/cli/json.h"

namespace tessera::cli {

SavedRun open_run(const std::string& rundir) {
  namespace fs = std::filesystem;
  const std::string weights = rundir + "/weights.safetensors", summary = rundir + "/summary.json";
  if (!fs::exists(rundir + "/config.toml")) fail("run", "{} is no run directory: there is no config.toml", rundir);
  if (!fs::exists(weights) || !fs::exists(summary))
    fail("run", "{} is not finished: there is no weights.safetensors or summary.json (tessera train --resume {})",
         rundir, rundir);
  Configuration configuration;
  configuration.read_recipe(rundir + "/config.toml");
  SavedRun run{configuration.resolve(), {}, {}, {}};
  set_precision(precision(run.config.train.precision));  // it answers as it was tested
  run.net = build(run.config, 0, Draw::no);
  io::load(*run.net.params, weights);
  const auto channels_of = static_cast<size_t>(run.net.input[-1]);
  try {
    const std::string text = io::read_file(summary, 1 << 20);
    io::check_nesting(text, summary);
    const Json data = Json::parse(text).at("data");
    data.at("classes").get_to(run.classes);
    const auto channels = [&](const char* key, std::array<float, 4>& to) {
      const auto values = data.at(key).get<std::vector<float>>();
      const bool good = values.size() == channels_of && values.size() <= to.size() &&
                        std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); });
      if (!good) fail("run", "data.{} is not a number for each of {} channels", key, channels_of);
      std::copy(values.begin(), values.end(), to.begin());
    };
    channels("mean", run.stats.mean), channels("std", run.stats.std);
    for (size_t c = 0; c < channels_of; ++c)
      if (!(run.stats.std[c] > 0)) fail("run", "data.std is {} in channel {}", run.stats.std[c], c);
  } catch (const std::exception& e) {  // of the parser, or of these checks
    fail("run", "{} is damaged: {} (tessera train --resume {} writes it again)", summary, e.what(), rundir);
  }
  return run;
}

}  // namespace tessera::cli
