#include "train/report_tables.h"

#include <algorithm>

namespace tessera::report {
inline namespace TESSERA_NS {
namespace {

constexpr int64_t most_values = 1 << 18;

bool is_position(std::string_view name) {
  const auto has = [&](std::string_view part) { return name.find(part) != std::string_view::npos; };
  return name.starts_with("position.") || has(".position.") || has("pos_embed") || has("pos_block") ||
         has("relative_position_bias_table");
}

Table values(const Params::Entry& e, std::string kind, int h, int w, int channels, int prefix) {
  Table t{e.name, std::move(kind), h, w, channels, prefix, {}};
  const int64_t n = (prefix + int64_t{h} * w) * channels;
  for (int64_t i = 0; i < n; ++i) t.values.push_back(static_cast<float>(e.value.read()[static_cast<size_t>(i)]));
  return t;
}

Table as_table(const Params::Entry& e, const Places& places) {
  const Shape& s = e.value.shape();
  const int columns = s[-1], rows = static_cast<int>(e.value.size() / columns);
  for (const Spot& spot : places.tokens) {
    const Grid& g = spot.trained;
    if (!e.name.ends_with(spot.name) || columns != spot.dim || g.h * g.w < 2) continue;
    if (rows == g.tokens()) return values(e, "embedding", g.h, g.w, columns, g.prefix);
    if (rows == g.h * g.w) return values(e, "embedding", g.h, g.w, columns, 0);
  }
  for (const Site& site : places.sites) {
    if (!e.name.starts_with(site.path + ".") || columns != site.heads) continue;
    const Layout& now = site.trained;
    const int h = 2 * (now.window.h ? now.window.h : now.k.h) - 1, w = 2 * (now.window.w ? now.window.w : now.k.w) - 1;
    if (rows == h * w || rows == h * w + 3)
      return values(e, "offsets", h, w, columns, 0);  // three more: rows of the class token
  }
  return values(e, "matrix", rows, columns, 1, 0);
}

}  // namespace

std::vector<Table> position_tables(const Params& params, const Places& places, size_t limit) {
  std::vector<const Params::Entry*> found;
  for (const auto& e : params.entries()) {
    const int64_t n = e.value.size();
    if (!e.buffer && e.value.rank() > 0 && n > 1 && n <= most_values && is_position(e.name)) found.push_back(&e);
  }
  std::vector<Table> tables;
  const size_t n = std::min(limit, found.size());
  for (size_t i = 0; i < n; ++i) tables.push_back(as_table(*found[i * found.size() / n], places));
  return tables;
}

}  // namespace TESSERA_NS
}  // namespace tessera::report
