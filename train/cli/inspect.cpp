// tessera inspect: the layer table. tessera init: fresh weights.
#include "tessera/models/weights_metadata.h"
#include "tessera/train/cli/commands.h"
#include "tessera/train/cli/console.h"
#include "tessera/train/cli/json.h"
#include "tessera/train/cli/profile.h"

namespace tessera::cli {
namespace {

/// What the encoding alone adds: the difference to the same model under `none`.
struct Added {
  int64_t params;
  double macs;
};

Added added_by_position(const RunConfig& config, const Profile& with) {
  RunConfig plain = config;
  plain.position = "none";
  plain.position_options.clear();
  const Profile without = measure(build(plain, 0, Draw::no));
  return {with.params - without.params, with.macs - without.macs};
}

int inspect(const ModelOptions& o, bool json) {
  use_threads(o.threads);
  const RunConfig config = o.resolve("inspect");
  const Network net = build(config, 0, Draw::no);
  const Profile profile = measure(net);
  const Added position = added_by_position(config, profile);
  const double msa = omega_msa(net.places);
  const auto wmsa = omega_wmsa(net.places), sra = omega_sra(net);

  if (json) {
    Json layers = Json::array();
    for (const LayerProfile& l : profile.layers)
      layers.push_back(Json{{"name", l.name},
                            {"type", l.type},
                            {"output", std::vector<int>(l.output.begin(), l.output.end())},
                            {"params", l.params},
                            {"macs", static_cast<int64_t>(l.macs)},
                            {"activation_bytes", l.activations}});
    print_json(Json{{"model", config.model},
                    {"position", config.position},
                    {"params", profile.params},
                    {"position_params", position.params},
                    {"macs", static_cast<int64_t>(profile.macs)},
                    {"position_macs", static_cast<int64_t>(position.macs)},
                    {"omega_msa", static_cast<int64_t>(msa)},
                    {"omega_wmsa", wmsa ? Json(static_cast<int64_t>(*wmsa)) : Json()},
                    {"omega_sra", sra ? Json(static_cast<int64_t>(*sra)) : Json()},
                    {"activation_bytes", profile.activations},
                    {"layers", layers}});
    return done;
  }
  print(
      fmt::format("{} with {} positions, one sample {}\n\n", config.model, config.position, net.input.batch(1).str()));
  print(
      fmt::format("{:<34} {:<26} {:>18} {:>10} {:>10} {:>10}\n", "layer", "ops", "output", "params", "MACs", "bytes"));
  for (const LayerProfile& l : profile.layers) {
    const std::string type = l.type.size() > 26 ? l.type.substr(0, 25) + "~" : l.type;
    print(fmt::format("{:<34} {:<26} {:>18} {:>10} {:>10} {:>10}\n", l.name, type, l.output.str(), l.params,
                      human(l.macs), human(static_cast<double>(l.activations))));
  }
  print(fmt::format("\nparameters        {:>14}   of them position {}\n", profile.params, position.params));
  print(fmt::format("MACs a sample     {:>14.0f}   of them position {:.0f}\n", profile.macs, position.macs));
  print(fmt::format("activations       {:>14}   bytes written by one sample's forward pass\n", profile.activations));
  print(fmt::format("attention         {:>14.0f}   MACs by the formula 4hwC^2 + 2(hw)^2C, all layers\n", msa));
  if (wmsa)
    print(fmt::format("windowed          {:>14.0f}   MACs by the formula 4hwC^2 + 2M^2hwC, all layers\n", *wmsa));
  if (sra)
    print(fmt::format(
        "reduced           {:>14.0f}   MACs with m keys, 2NC^2 + NC^2 + 2mC^2 + 2NmC, N = hw, all layers\n", *sra));
  return done;
}

}  // namespace

void add_inspect(CLI::App& app, Action& chosen) {
  auto* sub = app.add_subcommand("inspect", "Layer table of a model: shapes, parameters, MACs, memory");
  auto o = std::make_shared<ModelOptions>();
  auto json = std::make_shared<bool>(false);
  o->add_to(*sub, true);
  sub->add_flag("--json", *json, "One JSON document on stdout");
  sub->callback([&chosen, o, json] { chosen = [=] { return inspect(*o, *json); }; });
}

void add_init(CLI::App& app, Action& chosen) {
  auto* sub = app.add_subcommand("init", "Write a model's fresh weights, under the original's names");
  struct Options {
    ModelOptions model;
    int64_t seed = 0;
    std::string output;
  };
  auto o = std::make_shared<Options>();
  o->model.add_to(*sub, true);
  sub->add_option("--seed", o->seed, "Seed of the draw, 0 to 2^63 - 1: every parameter draws from (seed, its name)")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  sub->add_option("--output", o->output, "The .safetensors file to write")->required()->type_name("FILE");
  sub->callback([&chosen, o] {
    chosen = [=] {
      const RunConfig config = o->model.resolve("init");
      use_threads(o->model.threads);
      const Network net = build(config, static_cast<uint64_t>(o->seed));
      io::Metadata metadata = weights_metadata(tessera::model(config.model), config.model_options);
      metadata.insert({{"model", config.model}, {"position", config.position}});
      io::save(*net.params, o->output, metadata);
      say("{}: {} parameters of {} with {} positions", o->output, net.params->count(), config.model, config.position);
      return static_cast<int>(done);
    };
  });
}

}  // namespace tessera::cli
