#include "tessera/nn/position_weights.h"

#include <algorithm>

#include "tessera/nn/position/pairs.h"

namespace tessera {
inline namespace TESSERA_NS {

MakePosition remember_tables(MakePosition make, PositionTables& tables) {
  return [make = std::move(make), &tables](const Scope& net, const Places& at) {
    const auto& entries = net.params().entries();
    const size_t before = entries.size();
    auto encoding = make(net, at);
    tables = {encoding.get(), at, {}};
    for (size_t i = before; i < entries.size(); ++i) tables.names.push_back(entries[i].name);
    return encoding;
  };
}

}  // namespace TESSERA_NS

namespace io {
inline namespace TESSERA_NS {
namespace {

/// The geometry a parameter is made for: its attention's, or the grid of its place between the layers.
std::optional<Layout> made_for(const Places& at, std::string_view name) {
  const auto below = [&](const std::string& path) {
    return name == path || (name.starts_with(path) && (name[path.size()] == '.' || name[path.size()] == '_'));
  };
  for (const Site& s : at.sites)
    if (below(s.path)) return s.trained;
  for (const auto* spots : {&at.tokens, &at.between})
    for (const Spot& s : *spots)
      if (below(s.name)) return Layout{s.trained, s.trained, {}, 1, false};
  return {};
}

/// Geometries that differ in nothing a table could depend on.
bool alike(const Layout& a, const Layout& b) {
  return extent(a) == extent(b) && a.q.prefix == b.q.prefix && (a.window.h > 0) == (b.window.h > 0);
}

std::string said(const Layout& l) {
  const Extent e = extent(l);
  return fmt::format("{}x{}{}", e.h, e.w, l.window.h ? " windows" : "");
}

/// `l` with a grid or window of n x n instead of its own.
Layout square(Layout l, int n) {
  if (l.window.h) {
    l.window = {n, n, 0, 0};
  } else {
    l.q.h = l.q.w = l.k.h = l.k.w = n;
  }
  return l;
}

struct Resampling {
  const PositionTables& into;
  std::optional<Places> from;
  std::function<void(const std::string&)> tell;

  bool ours(const std::string& name) const { return std::ranges::find(into.names, name) != into.names.end(); }

  /// Was a table that has the right shape made for another geometry all the same?
  bool suspects(const Params::Entry& entry) const {
    if (!from || !ours(entry.name)) return false;
    const auto was = made_for(*from, entry.name), is = made_for(into.places, entry.name);
    return was && is && !alike(*was, *is);
  }

  /// The smallest square whose table has the shape of `file`, and the table.
  std::pair<Layout, Tensor> inferred(const Params::Entry& entry, const Tensor& file, const Layout& is) const {
    int most = 0;  // no table over an n x n grid has fewer than n rows
    for (int i = 0; i < file.rank(); ++i) most = std::max(most, file.dim(i));
    bool depends = false;  // on the grid at all
    for (int n = 1; n <= std::min(most, 1024); ++n) {
      const Layout was = square(is, n);
      try {
        const Tensor t = into.encoding->resample(entry.name, file, was, is);
        if (t.shape() == entry.value.shape()) return {was, t};
        depends = depends || t.storage() != file.storage();
      } catch (const Error&) {  // not this one
        depends = true;
      }
    }
    if (!depends) differs();
    fail("position", "no square {} has such a table, and the file does not name its model.img_size{}",
         is.window.h ? "window" : "grid", is.window.h ? " and model.window_size" : "");
  }
  [[noreturn]] static void differs() {
    fail("position", "not a matter of the grid: an option of the encoding differs");
  }

  Tensor operator()(const Params::Entry& entry, const Tensor& file) const {
    if (!ours(entry.name)) return {};
    const auto is = made_for(into.places, entry.name);
    if (!is || file.rank() != entry.value.rank()) differs();
    const auto was = from ? made_for(*from, entry.name) : std::nullopt;
    const auto [made, t] =
        was ? std::pair(*was, into.encoding->resample(entry.name, file, *was, *is)) : inferred(entry, file, *is);
    if (t.shape() != entry.value.shape()) differs();
    if (tell && t.storage() != file.storage())
      tell(fmt::format("{} resampled from {} for {} to {} for {}", entry.name, file.shape().str(), said(made),
                       t.shape().str(), said(*is)));
    return t;
  }
};

}  // namespace

LoadOptions resampling(const PositionTables& into, std::optional<Places> from,
                       std::function<void(const std::string&)> tell, std::vector<Rename> dialect) {
  const auto rule = std::make_shared<const Resampling>(Resampling{into, std::move(from), std::move(tell)});
  LoadOptions options;
  options.dialect = std::move(dialect);
  options.fit = [rule](const Params::Entry& entry, const Tensor& file) { return (*rule)(entry, file); };
  options.suspects = [rule](const Params::Entry& entry) { return rule->suspects(entry); };
  return options;
}

}  // namespace TESSERA_NS
}  // namespace io
}  // namespace tessera
