#include "nn/position/pairs.h"

#include <cstdlib>
#include <tuple>

namespace tessera {

Extent extent(const Layout& now) {
  if (now.window.h) return {now.window.h, now.window.w};
  return {now.k.h, now.k.w};
}

const Pairs& single_row(const Layout& now, bool skip_prefix) {
  static Memo<std::tuple<Layout, bool>, Pairs> memo;
  return memo({now, skip_prefix}, [&] {
    return make_pairs(now, 1,
                      [&](const auto& i, const auto& j) { return skip_prefix && (i.prefix() || j.prefix()) ? -1 : 0; });
  });
}

Pairs unsigned_pairs(const Layout& now, bool on_raster) {
  const Extent e = extent(now);
  return make_pairs(now, e.cells(), [&](const auto& i, const auto& j) {
    if (i.prefix() || j.prefix()) return -1;
    return on_raster ? std::abs(raster(i, e) - raster(j, e)) : std::abs(i.y - j.y) * e.w + std::abs(i.x - j.x);
  });
}

}  // namespace tessera
