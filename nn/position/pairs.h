#pragma once
// What encodings share: from the geometry of a call to the row of a table for every pair of tokens. Free of `real`.
#include "tessera/nn/position.h"

namespace tessera {

/// rho of one call from a rule on cells: row(i, j) in [0, rows), or -1 where the pair adds nothing.
template <class Rule>
RelativeIndex make_pairs(const Layout& now, int rows, Rule row) {
  const Coords at = coords(now);
  // 1 GB
  if (at.q.size() * at.k.size() > size_t{1} << 28)
    fail("position",
         "{} x {} pairs of tokens are too many for an index of them; choose a larger patch_size, or shorter sequences",
         at.q.size(), at.k.size());
  RelativeIndex::Spec p{static_cast<int>(at.q.size()), static_cast<int>(at.k.size()), rows, {}, 1};
  p.at.reserve(at.q.size() * at.k.size());
  for (const auto& i : at.q)
    for (const auto& j : at.k) p.at.push_back(row(i, j));
  return p;
}

/// The extents that offsets of a call can span: the window, or the key grid of a global attention.
struct Extent {
  int h = 0, w = 0;
  int cells() const { return h * w; }
  auto operator<=>(const Extent&) const = default;
};
Extent extent(const Layout& now);

/// The largest offset of a call along axis 0 (raster), 1 (rows) or 2 (columns).
int reachable(const Layout& now, int axis);

/// Raster index of a cell inside its window or grid.
inline int raster(const Coords::Cell& c, const Extent& e) { return c.y * e.w + c.x; }

inline int clip(int v, int most) { return v < -most ? -most : v > most ? most : v; }

/// One index for all pairs (a term with a single row); pairs with a class token too unless `skip_prefix`.
RelativeIndex single_row(const Layout& now, bool skip_prefix = false);

/// Row |raster_i - raster_j| if `on_raster`, else |dy| w + |dx|, of extent(now).cells() rows; class tokens add nothing.
RelativeIndex unsigned_pairs(const Layout& now, bool on_raster);

/// For PositionEncoding::unit_warning of an encoding whose unit of length is the geometry a model is built for, at its attentions or after its
/// patch embeddings: "coordinates count in units of 12x12 cells, the weights were made for 8x8", or "".
std::string warn_unit_of_sites(const Places& from, const Places& to);
std::string warn_unit_of_tokens(const Places& from, const Places& to);

}  // namespace tessera
