#pragma once
// Where the points of a call stand for encodings whose pairs turn with both axes at once: in cells of the trained grid when they are
// interpolated (scaling.h), and moved at random while a model trains (coords_aug.h).
#include "tessera/nn/position/coords_aug.h"
#include "tessera/nn/position/rotary.h"

namespace tessera {
inline namespace TESSERA_NS {

inline Point times(const Point& p, double y, double x) { return {p.y * y, p.x * x, p.prefix}; }

struct Placed {
  Placed(const Scaling& c, const Extent& unit, const Extent& is, const CoordsDraw& of_step)
      : y(c.scaling == "interpolate" ? static_cast<double>(unit.h) / is.h : 1),
        x(c.scaling == "interpolate" ? static_cast<double>(unit.w) / is.w : 1),
        half_y(is.h * y / 2),
        half_x(is.w * x / 2),
        draw(of_step) {}
  Point operator()(const Point& p) const { return {draw.y(p.y * y, half_y), draw.x(p.x * x, half_x), p.prefix}; }

 private:
  double y, x, half_y, half_x;
  CoordsDraw draw;
};

}  // namespace TESSERA_NS
}  // namespace tessera
