// Every position encoding, one row each. To add one: a file in this folder, its function in encoding.h, a row here.
#include <algorithm>

#include "nn/position/encoding.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

using Hooks = std::vector<std::string>;

PositionRow row(const char* name, const char* title, Hooks hooks, bool trainable, int year, const char* reference,
                const char* resolution, Encoding code) {
  return {name,
          title,
          std::move(hooks),
          trainable,
          year,
          reference,
          resolution,
          std::move(code.defaults),
          std::move(code.make),
          std::move(code.refuses)};
}

// clang-format off
std::vector<PositionRow>& table() {
  static std::vector<PositionRow> rows{
      // name, title, hooks, trainable, year, reference, at another resolution, code
      row("none", "No position information", {}, false, 2017, "the control of every comparison", "recompute", none()),
      row("frozen_random", "Random table, never trained", {"tokens"}, false, 2020, "control: Dosovitskiy et al. 2021, arXiv 2010.11929", "interpolate", frozen_random()),
      row("learned", "Learned table", {"tokens"}, true, 2020, "Dosovitskiy et al. 2021, arXiv 2010.11929", "interpolate", learned()),
      row("sinusoidal", "Sinusoids of the raster index", {"tokens"}, false, 2017, "Vaswani et al. 2017, arXiv 1706.03762", "recompute", sinusoidal()),
      row("sincos2d", "Sinusoids of both coordinates", {"tokens"}, false, 2022, "Beyer, Zhai, Kolesnikov 2022, arXiv 2205.01580", "recompute", sincos2d()),
  };
  return rows;
}
// clang-format on

}  // namespace

const std::vector<PositionRow>& positions() { return table(); }

void add_position(PositionRow new_row) {
  const std::string_view name = new_row.name;
  if (name.empty() || name.find_first_of("+.") != std::string_view::npos) {
    fail("add_position", "\"{}\" cannot be a name: it must not be empty or contain '+' or '.'", name);
  }
  if (std::ranges::any_of(table(), [&](const auto& r) { return name == r.name; }))
    fail("add_position", "{} exists", name);
  table().push_back(std::move(new_row));
}

void one_of(std::string_view key, const std::string& value, std::initializer_list<const char*> choices) {
  if (std::ranges::any_of(choices, [&](const char* c) { return value == c; })) return;
  unknown("position." + std::string(key), value, std::vector<std::string>(choices.begin(), choices.end()));
}

}  // namespace TESSERA_NS
}  // namespace tessera
