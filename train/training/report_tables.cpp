#include "tessera/train/training/report_tables.h"

#include <algorithm>

namespace tessera::report {
inline namespace TESSERA_NS {
namespace {

constexpr int64_t most_values = 1 << 16;

bool projection(std::string_view name) {
  for (const char* layer : {"qkv.", "q.", "k.", "v.", "kv.", "proj.", "norm", "q_norm.", "k_norm.", "sr."})
    if (name.starts_with(layer)) return true;
  return false;
}

/// A token table by its name, what belongs to an attention and is no layer of it, and what an encoding keeps under "position".
bool of_position(std::string_view name, const Places& places) {
  for (const Spot& spot : places.tokens)
    if (name == spot.name) return true;
  for (const Site& site : places.sites)
    if (name.starts_with(site.path + ".") && !projection(name.substr(site.path.size() + 1))) return true;
  return name.starts_with("position.") || name.find(".position.") != std::string_view::npos;
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

std::vector<Table> position_tables(const Params& params, const Places& places, size_t limit) {
  std::vector<const Params::Entry*> found;
  for (const auto& e : params.entries()) {
    const int64_t n = e.value.size();
    if (!e.buffer && e.value.rank() > 1 && n > 1 && n <= most_values && of_position(e.name, places))
      found.push_back(&e);
  }
  std::vector<Table> tables;
  const size_t n = std::min(limit, found.size());
  for (size_t i = 0; i < n; ++i) tables.push_back(as_table(*found[i * found.size() / n], places));
  return tables;
}

}  // namespace TESSERA_NS
}  // namespace tessera::report
