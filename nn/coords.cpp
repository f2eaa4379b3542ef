#include <algorithm>

#include "tessera/nn/position.h"

namespace tessera {
namespace {

std::vector<Coords::Cell> cells(const Grid& g) {
  std::vector<Coords::Cell> c(static_cast<size_t>(g.prefix), {-1, -1});
  for (int y = 0; y < g.h; ++y)
    for (int x = 0; x < g.w; ++x) c.push_back({y, x});
  return c;
}

}  // namespace

Coords coords(const Layout& now) {
  if (now.window.h) {
    auto window = cells({now.window.h, now.window.w, 0});
    return {window, window};
  }
  Coords c{cells(now.q), cells(now.k)};
  for (auto& cell : c.q)
    if (!cell.prefix()) cell.x += now.q_from;
  for (auto& cell : c.q)  // a map rounded down has its last rows and columns beyond the last key cell
    if (!cell.prefix() && now.reduce > 1)
      cell = {std::min(cell.y / now.reduce, now.k.h - 1), std::min(cell.x / now.reduce, now.k.w - 1)};
  return c;
}

const Site& Places::site(std::string_view path) const {
  for (const Site& s : sites)
    if (s.path == path) return s;
  fail("places", "the model has no attention {}", path);
}

const Spot& Places::gap(int stage, int block) const {
  for (const Spot& s : between)
    if (s.stage == stage && s.block == block) return s;
  fail("places", "stage {} has no gap before block {}", stage, block);
}

}  // namespace tessera
