#include "tessera/nn/position/pairs.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <tuple>

#include "tessera/core/memo.h"

namespace tessera {

Extent extent(const Layout& now) {
  if (now.window.h) return {now.window.h, now.window.w};
  return {now.k.h, now.k.w};
}

int reachable(const Layout& now, int axis) {
  const Extent e = extent(now);
  return std::max(axis == 0 ? e.cells() : axis == 1 ? e.h : e.w, 1) - 1;
}

RelativeIndex single_row(const Layout& now, bool skip_prefix) {
  static Memo<std::tuple<Layout, bool>, RelativeIndex> memo;
  return memo({now, skip_prefix}, [&] {
    return make_pairs(now, 1,
                      [&](const auto& i, const auto& j) { return skip_prefix && (i.prefix() || j.prefix()) ? -1 : 0; });
  });
}

RelativeIndex unsigned_pairs(const Layout& now, bool on_raster) {
  const Extent e = extent(now);
  return make_pairs(now, e.cells(), [&](const auto& i, const auto& j) {
    if (i.prefix() || j.prefix()) return -1;
    return on_raster ? std::abs(raster(i, e) - raster(j, e)) : std::abs(i.y - j.y) * e.w + std::abs(i.x - j.x);
  });
}

namespace {

std::string unit_moved(const Extent& was, const Extent& is) {
  if (was == is) return "";
  return fmt::format("coordinates count in units of {}x{} cells, the weights were made for {}x{}", is.h, is.w, was.h,
                     was.w);
}

}  // namespace

std::string warn_unit_of_sites(const Places& from, const Places& to) {
  for (size_t i = 0; i < std::min(from.sites.size(), to.sites.size()); ++i)
    if (auto s = unit_moved(extent(from.sites[i].trained), extent(to.sites[i].trained)); !s.empty()) return s;
  return "";
}

std::string warn_unit_of_tokens(const Places& from, const Places& to) {
  for (size_t i = 0; i < std::min(from.tokens.size(), to.tokens.size()); ++i) {
    const Grid &was = from.tokens[i].trained, &is = to.tokens[i].trained;
    if (auto s = unit_moved({was.h, was.w}, {is.h, is.w}); !s.empty()) return s;
  }
  return "";
}

}  // namespace tessera
