#include "tessera/nn/position/coords_aug.h"

#include "tessera/core/error.h"

namespace tessera {
namespace {

bool draws(const CoordsAugmentation& c) { return c.coords_shift > 0 || c.coords_jitter > 1 || c.coords_rescale > 1; }

}  // namespace

void check_coords(std::string_view name, const CoordsAugmentation& c) {
  if (c.coords_draw != "forward" && !draws(c))
    fail("position " + std::string(name),
         "coords_draw is {} but nothing is drawn: leave it out, or set coords_shift, coords_jitter or coords_rescale",
         c.coords_draw);
}

CoordsDraw draw_coords(const CoordsAugmentation& c, const Run& run, std::string_view site) {
  if (!run.training() || !draws(c)) return {};
  const std::string source = c.coords_draw == "block" ? std::string(site) + ".position.coords" : "position.coords";
  const rng::Stream random = stream(run, key(source), -run.first);  // of the whole batch: no shard has its own
  const auto between = [&](uint64_t i, double most) { return (2 * random.uniform(i) - 1) * most; };
  const auto times = [&](uint64_t i, double most) { return std::exp(between(i, std::log(most))); };
  const double both = times(4, c.coords_rescale);
  return {between(0, c.coords_shift), between(1, c.coords_shift), times(2, c.coords_jitter) * both,
          times(3, c.coords_jitter) * both};
}

}  // namespace tessera
