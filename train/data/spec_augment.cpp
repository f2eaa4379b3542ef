// SpecAugment (Park et al. 2019, arXiv:1904.08779) without time warping: a few bands of features and a few stretches of time become
// zero, which is the mean of what has been normalised.
#include <algorithm>

#include "tessera/core/error.h"
#include "tessera/train/data/augment.h"
#include "tessera/train/data/draw.h"

namespace tessera::data {
namespace {

struct Stretch {
  int begin, end;
};
/// Its width is uniform in 0..widest (and no more than there is), its place uniform among those where it fits.
Stretch draw_stretch(Draw& draw, int widest, int all) {
  const int width = static_cast<int>(draw.below(static_cast<uint32_t>(std::min(widest, all)) + 1));
  const int begin = static_cast<int>(draw.below(static_cast<uint32_t>(all - width) + 1));
  return {begin, begin + width};
}

void need(bool ok, const char* name, int value, const char* range, int most) {
  if (!ok) fail("augment", "{} = {} makes no sense; it must be from 0 to {}{}", name, value, range, most);
}

}  // namespace

void check_frames(const Augment& a, const Source& source) {
  check_none(a, source);
  constexpr int most_masks = 100, widest = 1 << 20;
  need(a.freq_masks >= 0 && a.freq_masks <= most_masks, "freq_masks", a.freq_masks, "", most_masks);
  need(a.time_masks >= 0 && a.time_masks <= most_masks, "time_masks", a.time_masks, "", most_masks);
  need(a.time_width >= 0 && a.time_width <= widest, "time_width", a.time_width, "", widest);
  const int features = source.form().features;
  need(a.freq_masks == 0 || (a.freq_width >= 0 && a.freq_width <= features), "freq_width", a.freq_width,
       "the number of features, ", features);
}

void mask(const Augment& a, int length, int features, real* x, rng::Stream stream) {
  Draw draw(stream);
  for (int m = 0; m < a.freq_masks; ++m) {
    const Stretch band = draw_stretch(draw, a.freq_width, features);
    for (int64_t t = 0; t < length; ++t) std::fill(x + t * features + band.begin, x + t * features + band.end, real{0});
  }
  for (int m = 0; m < a.time_masks; ++m) {
    const Stretch time = draw_stretch(draw, a.time_width, length);
    std::fill(x + int64_t{time.begin} * features, x + int64_t{time.end} * features, real{0});
  }
}

}  // namespace tessera::data
