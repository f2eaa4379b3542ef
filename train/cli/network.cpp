#include "tessera/train/cli/network.h"

#include "tessera/models/weights_metadata.h"
#include "tessera/train/cli/console.h"

namespace tessera::cli {
Network build(const RunConfig& config, uint64_t seed, Draw draw) try {
  const ModelRow& row = tessera::model(config.model);
  Network n;
  n.places = row.places(config.model_options);
  n.params = std::make_unique<Params>(seed, draw);
  n.model = row.make(Scope(*n.params), config.model_options,
                     remember_tables(position(config.position, config.position_options), n.positions));
  n.input = row.input(config.model_options);
  return n;
} catch (const Error& e) {
  throw Usage(e.what());
}

void load(const Network& net, const RunConfig& config, const std::string& weights) {
  const ModelRow& row = tessera::model(config.model);
  const io::TensorFile file(weights);
  const auto from = places_of(file.metadata(), row, config.model_options);
  std::vector<std::string> lines;  // said when all has gone well
  io::load(*net.params, file,
           io::resampling(
               net.positions, from, [&](const std::string& line) { lines.push_back(line); }, row.dialect));
  for (const std::string& line : lines) say("{}: {}", weights, line);
  if (!from) return;
  if (const std::string moved = net.positions.encoding->unit_warning(*from, net.places); !moved.empty())
    say_warning(fmt::format("{}: {}", weights, moved));
}

void without_dropout(RunConfig& config) {
  for (Options* options : {&config.model_options, &config.position_options})
    for (auto& [key, value] : *options)
      if (double* rate = std::get_if<double>(&value); rate && key.find("drop") != std::string::npos) *rate = 0;
}

}  // namespace tessera::cli
