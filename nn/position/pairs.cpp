#include "nn/position/pairs.h"

#include <tuple>

namespace tessera {

Extent extent(const Layout& now) {
  if (now.window.h) return {now.window.h, now.window.w};
  return {now.k.h, now.k.w};
}

const Pairs& single_row(const Layout& now, bool skip_prefix) {
  static Memo<std::tuple<Layout, bool>, Pairs> memo;
  return memo({now, skip_prefix}, [&] {
    return make_pairs(now, 1, [&](const auto& i, const auto& j) { return skip_prefix && (i.prefix() || j.prefix()) ? -1 : 0; });
  });
}

}  // namespace tessera
