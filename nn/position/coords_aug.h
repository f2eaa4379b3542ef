#pragma once
// Coordinates that are moved and stretched at random while a model trains.  Simeoni et al. 2025 (DINOv3), arXiv 2508.10104. Free of `real`.
//   c = (c + U(-S, S)) exp U(-ln J, ln J) exp U(-ln R, ln R)        shift and jitter per axis, rescale one for both; c spans [-1, 1]
//   Scores between patches do not see the shift: it moves them against the class tokens alone. R = 2 is what DINOv3 was trained with, no
//   shift and no jitter. Evaluation sees none of it. Encodings that count cells shift by halves of the grid, which is the same S.
//
// An encoding uses it so:
//   struct Config : CoordsAugmentation { ... };         and in fields(): joined<Config>({{...}, coords_fields<Config>()})
//   check: check_coords("rope_axial", c)
//   terms: const CoordsDraw draw = draw_coords(c, run, site.path);      draw.y(cy), draw.x(cx), with half a grid where they count cells
//   What is made with a draw that is not `still()` goes through no Memo.
#include <cmath>
#include <compare>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/core/run.h"
#include "tessera/nn/options.h"

namespace tessera {

/// The options, part of an encoding's Config.
struct CoordsAugmentation {
  double coords_shift = 0, coords_jitter = 1, coords_rescale = 1;
  std::string coords_draw = "forward";
  auto operator<=>(const CoordsAugmentation&) const = default;
};

/// Rows of options for a Config that is a CoordsAugmentation.
template <class C>
std::vector<Field<C>> coords_fields() {
  return {
      {"coords_shift", &C::coords_shift,
       "in training, move each axis by up to this many halves of the grid; 0: never (DINOv3's shift_coords)",
       within(0, 100)},
      {"coords_jitter", &C::coords_jitter, "in training, stretch each axis by 1/this to this; 1: never",
       within(1, 100)},
      {"coords_rescale", &C::coords_rescale,
       "in training, stretch both axes alike by 1/this to this; 1: never (DINOv3 was trained with 2)", within(1, 100)},
      {"coords_draw", &C::coords_draw, "one draw a step for all blocks (forward, as timm) | for each block (as dinov3)",
       one_of("forward", "block")},
  };
}

/// Throws Error "[position NAME] ..." when coords_draw is said and nothing is drawn.
void check_coords(std::string_view name, const CoordsAugmentation& c);

/// What one forward pass does to coordinates.
struct CoordsDraw {
  double shift_y = 0, shift_x = 0, times_y = 1, times_x = 1;
  bool still() const { return shift_y == 0 && shift_x == 0 && times_y == 1 && times_x == 1; }
  /// half: of the grid, in the unit of the coordinate.
  double y(double c, double half = 1) const { return (c + shift_y * half) * times_y; }
  double x(double c, double half = 1) const { return (c + shift_x * half) * times_x; }
};
/// The draw of this step, the same for all samples, shards and threads; nothing outside of training.
CoordsDraw draw_coords(const CoordsAugmentation& c, const Run& run, std::string_view site);

}  // namespace tessera
