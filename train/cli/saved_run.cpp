#include "train/cli/saved_run.h"

#include <filesystem>

#include "core/io/replace_file.h"
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
  run.net = build(run.config, 0, Draw::no);
  io::load(*run.net.params, weights);
  try {
    const Json data = Json::parse(io::read_file(summary, 1 << 20)).at("data");
    data.at("classes").get_to(run.classes);
    const auto channels = [&](const char* key, std::array<float, 4>& to) {
      const auto values = data.at(key).get<std::vector<float>>();
      std::copy_n(values.begin(), std::min(values.size(), to.size()), to.begin());
    };
    channels("mean", run.stats.mean), channels("std", run.stats.std);
  } catch (const Json::exception& e) {
    fail("run", "{} is damaged: {}", summary, e.what());
  }
  return run;
}

}  // namespace tessera::cli
