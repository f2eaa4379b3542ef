// A table for each axis: what resizing it means, and which fixed encodings have this form.
#include "tessera/core/ops/add_table.h"
#include "tessera/core/ops/arithmetic.h"
#include "tessera/core/ops/resize_grid.h"
#include "tests/twin/position_bed.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

using namespace walk;

/// What it adds on a grid (h w, width).
Tensor added(const Bed& bed, const Grid& now) {
  const Tensor x = zeros({1, now.tokens(), Bed::H * Bed::d});
  return bed.encoding->tokens(bed.places.tokens[0], now, x, {});
}

TWIN_CASE("factorised: resizing the sum of both tables as a picture is the sum of the resized tables") {
  const Grid trained{3, 4, 0};
  for (const char* rule : {"bilinear", "bicubic", "bicubic_antialias", "corner_aligned"})
    for (const Grid now : {Grid{5, 7, 0}, Grid{2, 3, 0}, Grid{6, 2, 0}, Grid{3, 4, 0}}) {
      const Bed bed("factorised", {{"resize", rule}}, trained);
      const Tensor picture = resize_grid(added(bed, trained), 3, 4, now.h, now.w, interpolation(rule));
      CHECK(farthest(added(bed, now), picture) < (twin ? 1e-14 : 1e-6));
    }
}

TWIN_CASE("factorised: sincos2d is a pair of tables, each zero on the other's half of the channels") {
  const Grid g{3, 4, 0};
  const int C = Bed::H * Bed::d;
  const Bed fixed("sincos2d", {}, g);
  const Tensor t = added(fixed, g);
  Bed bed("factorised", {}, g);
  bed.set("pos_embed_x", [&](int64_t i) { return i % C < C / 2 ? static_cast<double>(t[i]) : 0.0; })
      .set("pos_embed_y",
           [&](int64_t i) { return i % C < C / 2 ? 0.0 : static_cast<double>(t[i / C * g.w * C + i % C]); });
  CHECK(same_bits(added(bed, g), t));
}

TWIN_CASE("factorised: class tokens pass by; aspect gives a cell beside and a cell below one scale") {
  const Bed plain("factorised", {}, Grid{3, 4, 2});
  const Tensor y = plain.encoding->tokens(plain.places.tokens[0], plain.layout.q, plain.q, {});
  for (int c = 0; c < 2 * Bed::H * Bed::d; ++c) CHECK(y[c] == plain.q[c]);

  Bed bed("factorised", {{"aspect", true}}, Grid{4, 4, 0});
  REQUIRE(bed["pos_embed_y"].dim(1) == 4);
  // one table for both axes: the same code for offsets down and to the right, on every shape
  bed.set("pos_embed_y", [&](int64_t i) { return static_cast<double>(bed["pos_embed_x"][i]); });
  for (const Grid now : {Grid{8, 3, 0}, Grid{2, 5, 0}, Grid{4, 4, 0}}) {
    const Tensor t = added(bed, now);
    for (int n = 0; n < std::min(now.h, now.w); ++n)
      for (int c = 0; c < Bed::H * Bed::d; ++c)
        CHECK(t[int64_t{n} * Bed::H * Bed::d + c] == t[int64_t{n} * now.w * Bed::H * Bed::d + c]);
  }
  CHECK(Bed("factorised", {{"aspect", true}}, Grid{2, 5, 0})["pos_embed_y"].dim(1) == 5);
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
