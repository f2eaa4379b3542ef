// The parts of the table of keys that come from the registries, and the options that stand for a key.
#include <algorithm>

#include "tessera/models/model.h"
#include "tessera/train/cli/config_file.h"

namespace tessera::cli {

std::span<const Shortcut> shortcuts() {
  static constexpr Shortcut all[] = {
      {"model", "model.name"},
      {"position", "position.name"},
      {"data", "data.name"},
      {"data-dir", "data.dir"},
      {"epochs", "train.epochs"},
      {"batch-size", "train.batch_size"},
      {"lr", "optim.lr"},
      {"seed", "train.seed"},
      {"weights", "train.weights"},
      {"precision", "train.precision"},
      {"accumulate", "train.accumulate"},
      {"max-minutes", "train.max_minutes"},
      {"max-steps", "train.max_steps"},
  };
  return all;
}

namespace {
/// A key of a registry's row with its word of help, if the row has one.
template <class Row>
Key key_of(const Row& row, const std::string& prefix, const std::string& key, const Value& value) {
  const auto help = row.help.find(key);
  const auto domain = row.domains.find(key);
  return {prefix + key, value, help == row.help.end() ? "" : help->second,
          domain == row.domains.end() ? Domain{} : domain->second};
}
}  // namespace

std::vector<Key> model_keys(std::string_view name, std::string_view position) {
  const ModelRow& row = tessera::model(name);
  std::vector<Key> keys{{"model.name", row.name, "a family or a named configuration of one", {}}};
  for (const auto& [key, value] : row.defaults) keys.push_back(key_of(row, "model.", key, value));
  keys.push_back({"position.name",
                  std::string(position.empty() ? row.position : position),
                  "the encoding, or several joined by +",
                  {}});
  return keys;
}

std::vector<Key> position_keys(std::string_view name) {
  std::vector<std::string> known;
  for (const PositionRow& row : positions()) known.emplace_back(row.name);
  std::vector<Key> keys;
  const std::string_view whole = name;
  const bool composed = name.find('+') != std::string_view::npos;
  while (true) {
    const size_t plus = std::min(name.find('+'), name.size());
    const std::string_view part = name.substr(0, plus);
    const auto row =
        std::find_if(positions().begin(), positions().end(), [&](const PositionRow& r) { return part == r.name; });
    if (part.empty()) fail("position", "\"{}\": a name is missing beside a +", whole);
    if (row == positions().end()) unknown("position", part, known);
    const std::string prefix = "position." + (composed ? std::string(part) + "." : "");
    for (const auto& [key, value] : row->defaults) keys.push_back(key_of(*row, prefix, key, value));
    if (plus == name.size()) return keys;
    name.remove_prefix(plus + 1);
  }
}

}  // namespace tessera::cli
