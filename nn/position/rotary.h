#pragma once
// What rotary encodings share: where slots are as points of the plane, and cosines and sines of an angle per slot, head and pair.
#include <cmath>
#include <string>
#include <vector>

#include "tessera/nn/position/pairs.h"
#include "tessera/nn/position/scaling.h"

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

/// The cells that positions of a call run over; of a sequence with a memory before it all that its keys span.
Extent query_extent(const Layout& now);

/// Radians per cell down the rows and along them.
struct Frequency {
  double y = 0, x = 0;
};
inline double turn(const Frequency& f, const Point& p) { return p.y * f.y + p.x * f.x; }

/// The rotation of all slots by angle(point, head, pair), heads of `pairs` pairs; one head of angles serves all. Class tokens do not turn;
/// cosines and sines, theirs too, come `times` as large.
template <class Angle>
Rotary rotation(const Layout& now, int heads, int pairs, bool halves, Angle angle, double times = 1) {
  Rotary r;
  r.halves = halves;
  const auto fill = [&](const std::vector<Point>& at, Tensor& c, Tensor& s) {
    c = Tensor({heads, static_cast<int>(at.size()), pairs}), s = Tensor(c.shape());
    int64_t i = 0;
    for (int h = 0; h < heads; ++h)
      for (const Point& p : at)
        for (int t = 0; t < pairs; ++t, ++i) {
          const double a = p.prefix ? 0 : angle(p, h, t);
          c[i] = static_cast<real>(times * std::cos(a)), s[i] = static_cast<real>(times * std::sin(a));
        }
  };
  const Points at = points(now);
  fill(at.q, r.cos_q, r.sin_q), fill(at.k, r.cos_k, r.sin_k);
  return r;
}

/// `rescale` is the older name of scaling=interpolate.
Scaling scaling_of(Scaling c, bool rescale);

/// Why heads of these models do not hold whole pairs of so many axes (2 channels an axis), or too few for a scaling; or "".
std::string needs_width(const Places& at, int axes, const Scaling& c = {});
/// Why values cannot turn in these models, or "".
std::string needs_values(const Places& at);
/// Values turn by the cosines and sines that a temperature makes larger: throws Error where both are asked for.
void check_turned_values(const std::string& name, bool values, const Scaling& c);
constexpr const char* says_values = "values travel as seen from the query: turned as keys are, and back with the query";

}  // namespace TESSERA_NS
}  // namespace tessera
