// tessera models, tessera positions: the two registries as tables.
#include <fmt/format.h>

#include <utility>

#include "tessera/models/model.h"
#include "tessera/train/cli/commands.h"
#include "tessera/train/cli/console.h"
#include "tessera/train/cli/json.h"
#include "tessera/train/cli/network.h"
#include "tessera/train/cli/profile.h"
#include "tessera/train/report/position_pictures.h"

namespace tessera::cli {
namespace {

/// Of one sample in a file: PyTorch's.
std::vector<int> file_layout(const InputShape& input) {
  if (input.kind == InputShape::Kind::image) return {input.channels, input.h, input.w};
  const Shape sample = input.batch(1);
  return {sample.begin() + 1, sample.end()};
}

int list_models(bool json) {
  Json list = Json::array();
  if (!json) print(fmt::format("{:<34} {:>10} {:>10}  {}\n", "name", "params", "MACs", "input"));
  std::string family;
  for (const ModelRow& row : models()) {
    ConfigLayers config;
    config.set("model.name", row.name);
    const Network net = build(config.resolve(), 0, Draw::no);
    const Profile profile = measure(net);
    const std::vector<int> input = file_layout(net.input);
    if (json) {
      list.push_back(Json{{"name", row.name},
                          {"params", profile.params},
                          {"macs", static_cast<int64_t>(profile.macs)},
                          {"reference", row.reference},
                          {"input", input},
                          {"family", row.family},
                          {"position", row.position}});
    } else {
      if (std::exchange(family, row.family) != row.family) print(fmt::format("\n{}: {}\n", family, row.reference));
      print(fmt::format("{:<34} {:>10} {:>10}  {}\n", row.name, human(static_cast<double>(profile.params)),
                        human(profile.macs), fmt::join(input, "x")));
    }
  }
  if (json) print_json(list);
  return done;
}

/// The families in whose own configuration the encoding runs.
std::vector<std::string> families_for(const PositionRow& row) {
  std::vector<std::string> names;
  for (const ModelRow& m : models()) {
    if (m.name != m.family) continue;
    try {
      check_position(row.name, row.defaults, m.places(m.defaults));
      names.emplace_back(m.family);
    } catch (const Error&) {}
  }
  return names;
}

int list_positions(bool json) {
  Json list = Json::array();
  if (!json) print(fmt::format("{:<22} {:<5} {:<18} {:<12} {}\n", "name", "year", "acts on", "resolution", "title"));
  for (const PositionRow& row : positions()) {
    if (json) {
      list.push_back(Json{{"name", row.name},
                          {"title", row.title},
                          {"hooks", row.hooks},
                          {"trainable", row.trainable},
                          {"year", row.year},
                          {"reference", row.reference},
                          {"resolution", row.resolution},
                          {"models", families_for(row)}});
    } else {
      print(fmt::format("{:<22} {:<5} {:<18} {:<12} {}\n", row.name, row.year,
                        row.hooks.empty() ? "-" : fmt::format("{}", fmt::join(row.hooks, " ")), row.resolution,
                        row.title));
    }
  }
  if (json) print_json(list);
  return done;
}

}  // namespace

void add_models(CLI::App& app, Action& chosen) {
  auto* sub = app.add_subcommand("models", "List the models");
  auto json = std::make_shared<bool>(false);
  sub->add_flag("--json", *json, "One JSON document on stdout");
  sub->callback([&chosen, json] { chosen = [=] { return list_models(*json); }; });
}
void add_positions(CLI::App& app, Action& chosen) {
  auto* sub = app.add_subcommand("positions", "List the position encodings, or draw them");
  auto json = std::make_shared<bool>(false);
  auto directory = std::make_shared<std::string>();
  auto* flag = sub->add_flag("--json", *json, "One JSON document on stdout");
  sub->add_option("--draw", *directory, "Write a picture of each, DIR/NAME.svg")->type_name("DIR")->excludes(flag);
  sub->callback([&chosen, json, directory] {
    chosen = [=]() -> int {
      if (directory->empty()) return list_positions(*json);
      const int drawn = report::draw_positions(*directory);
      say("{} pictures in {}", drawn, *directory);
      return done;
    };
  });
}

}  // namespace tessera::cli
