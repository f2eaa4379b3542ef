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
    if (!cell.prefix()) cell = {cell.y / now.reduce, cell.x / now.reduce};
  return c;
}

}  // namespace tessera
