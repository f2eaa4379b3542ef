#pragma once
// What rotary encodings share: where slots are as points of the plane, and cosines and sines of an angle per slot, head and pair.
#include <cmath>
#include <string>
#include <vector>

#include "tessera/nn/position/pairs.h"

namespace tessera {
inline namespace TESSERA_NS {

/// A query or key slot in query cells; a reduced key sits at the centre of its cell.
struct Point {
  double y = 0, x = 0;
  bool prefix = false;
};
struct Points {
  std::vector<Point> q, k;
};
Points points(const Layout& now);

/// The cells that a call's coordinates span: the window, or the query grid.
Extent query_extent(const Layout& now);

/// Radians per cell down the rows and along them.
struct Frequency {
  double y = 0, x = 0;
};
inline double turn(const Frequency& f, const Point& p) { return p.y * f.y + p.x * f.x; }

/// The same frequencies where the trained grid is divided finer: of cells of the call instead of trained ones.
inline Frequency rescaled(const Frequency& f, const Extent& trained, const Extent& now) {
  return {f.y * trained.h / now.h, f.x * trained.w / now.w};
}

/// The rotation of all slots by angle(point, head, pair), heads of `pairs` pairs; one head of angles serves all. Class tokens do not turn.
template <class Angle>
Rotary rotation(const Layout& now, int heads, int pairs, bool halves, Angle angle) {
  Rotary r;
  r.halves = halves;
  const auto fill = [&](const std::vector<Point>& at, Tensor& c, Tensor& s) {
    c = Tensor({heads, static_cast<int>(at.size()), pairs}), s = Tensor(c.shape());
    int64_t i = 0;
    for (int h = 0; h < heads; ++h)
      for (const Point& p : at)
        for (int t = 0; t < pairs; ++t, ++i) {
          const double a = p.prefix ? 0 : angle(p, h, t);
          c[i] = static_cast<real>(std::cos(a)), s[i] = static_cast<real>(std::sin(a));
        }
  };
  const Points at = points(now);
  fill(at.q, r.cos_q, r.sin_q), fill(at.k, r.cos_k, r.sin_k);
  return r;
}

/// Why heads of these models are of no use to a rotation of so many channels at a time, or "".
std::string needs_width(const Places& at, int multiple);
/// Why values cannot turn in these models, or "".
std::string needs_values(const Places& at);

}  // namespace TESSERA_NS
}  // namespace tessera
