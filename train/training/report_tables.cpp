#include "tessera/train/training/report_tables.h"

#include <algorithm>

namespace tessera::report {
inline namespace TESSERA_NS {
namespace {

constexpr int64_t most_values = 1 << 16;

/// What an encoding keeps between blocks is a convolution.
bool convolution(std::string_view name, const Places& places) {
  return std::ranges::any_of(places.between, [&](const Spot& s) { return name.starts_with(s.name + "."); });
}

Table values(const Params::Entry& e, std::string kind, int h, int w, int channels, int prefix) {
  Table t{e.name, std::move(kind), h, w, channels, prefix, {}};
  const int64_t n = (prefix + int64_t{h} * w) * channels;
  for (int64_t i = 0; i < n; ++i) t.values.push_back(static_cast<float>(e.value.read()[static_cast<size_t>(i)]));
  return t;
}

Table as_table(const Params::Entry& e, const Places& places) {
  const int columns = e.value.dim(-1), rows = static_cast<int>(e.value.size() / columns);
  for (const Spot& spot : places.tokens) {
    const Grid& g = spot.trained;
    if (e.name != spot.name || columns != spot.dim || g.h * g.w < 2) continue;
    if (rows == g.tokens()) return values(e, "embedding", g.h, g.w, columns, g.prefix);
    if (rows == g.h * g.w) return values(e, "embedding", g.h, g.w, columns, 0);
  }
  for (const Site& site : places.sites) {
    if (!e.name.starts_with(site.path + ".") || columns != site.heads) continue;
    const Layout& now = site.trained;
    const int h = 2 * (now.window.h ? now.window.h : now.q.h) - 1, w = 2 * (now.window.w ? now.window.w : now.q.w) - 1;
    if (rows == h * w || rows == h * w + 3)
      return values(e, "offsets", h, w, columns, 0);  // three more: rows of the class token
  }
  return values(e, "matrix", rows, columns, 1, 0);
}

}  // namespace

std::vector<Table> position_tables(const Params& params, const PositionTables& positions, size_t limit) {
  std::vector<const Params::Entry*> found;
  for (const auto& e : params.entries()) {
    const int64_t n = e.value.size();
    const bool ours = std::ranges::find(positions.names, e.name) != positions.names.end();
    if (ours && !e.buffer && e.value.rank() > 1 && n > 1 && n <= most_values && !convolution(e.name, positions.places))
      found.push_back(&e);
  }
  std::vector<Table> tables;
  const size_t n = std::min(limit, found.size());
  for (size_t i = 0; i < n; ++i) tables.push_back(as_table(*found[i * found.size() / n], positions.places));
  return tables;
}

}  // namespace TESSERA_NS
}  // namespace tessera::report
