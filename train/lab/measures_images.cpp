// Measures of pictures that are changed before the model sees them: other sizes, shifts, tiles in another order, a mirror.
#include <algorithm>

#include "tessera/train/data/changed.h"
#include "tessera/train/lab/measures_session.h"

namespace tessera::lab {
namespace {

using data::Image;

size_t at(int64_t i) { return static_cast<size_t>(i); }

/// The picture whose pixel (y, x) is from(y, x) of `in`, black where that is outside.
template <class F>
Image moved(const Image& in, F from) {
  Image out = in;
  for (int y = 0; y < in.h; ++y)
    for (int x = 0; x < in.w; ++x) {
      const auto [v, u] = from(y, x);
      const bool inside = v >= 0 && v < in.h && u >= 0 && u < in.w;
      uint8_t* to = &out.pixels[at((int64_t{y} * in.w + x) * in.channels)];
      for (int c = 0; c < in.channels; ++c)
        to[c] = inside ? in.pixels[at((int64_t{v} * in.w + u) * in.channels + c)] : uint8_t{0};
    }
  return out;
}

struct Cell {
  int y, x;
};

Image rolled(const Image& in, int s) {
  return moved(in, [&](int y, int x) { return Cell{((y - s) % in.h + in.h) % in.h, ((x - s) % in.w + in.w) % in.w}; });
}
Image shifted(const Image& in, int s) {
  return moved(in, [&](int y, int x) { return Cell{y - s, x - s}; });
}
Image mirrored(const Image& in) {
  return moved(in, [&](int y, int x) { return Cell{y, in.w - 1 - x}; });
}
/// K x K tiles; the one that is now in a place was number order[place].
Image retiled(const Image& in, int K, const Index& order) {
  const int h = in.h / K, w = in.w / K;
  return moved(in, [&](int y, int x) {
    const int from = order[at(y / h * K + x / w)];
    return Cell{from / K * h + y % h, from % K * w + x % w};
  });
}

/// Means over the shifts that leave the same remainder.
struct ByRemainder {
  std::map<int, std::pair<double, double>> sums;
  std::map<int, int> counts;
  void add(int remainder, double consistency, double acc1) {
    sums[remainder].first += consistency, sums[remainder].second += acc1, ++counts[remainder];
  }
  void tell(Numbers& to, const std::string& name) const {
    for (const auto& [r, sum] : sums) {
      to.add(fmt::format("{}.{}.consistency", name, r), sum.first / counts.at(r));
      to.add(fmt::format("{}.{}.acc1", name, r), sum.second / counts.at(r));
    }
  }
};

void shifts(Session& s, const char* kind, Image (*shift)(const Image&, int)) {
  const std::string name = fmt::format("shift.{}", kind);
  ByRemainder by_patch, by_window;
  for (const int pixels : s.options.shifts) {
    const std::string one = fmt::format("{}.{}", name, pixels), consistency = one + ".consistency",
                      acc1 = one + ".acc1";
    const auto set = data::changed(*s.images, [&](const Image& in) { return shift(in, pixels); });
    const auto said = s.changed_answers(*set, {consistency, acc1});
    if (!said) continue;
    const double same = said->consistency(s.base), right = said->acc1();
    s.out.add(consistency, same), s.out.add(acc1, right);
    by_patch.add(pixels % s.patch.h, same, right);
    if (s.window) by_window.add(pixels % s.window->h, same, right);
  }
  if (s.patch.h > 1) by_patch.tell(s.out, name + ".mod_patch");
  if (s.window) by_window.tell(s.out, name + ".mod_window");
}

}  // namespace

void measure_resolution(Session& s) {
  if (!s.has_images({"resolution"})) return;
  const std::string fixed = fixed_size(s.run.config.position);
  const auto sizes = s.options.sizes.empty() ? usual_sizes(s.size, s.patch) : s.options.sizes;
  for (const cli::ImageSize& size : sizes) {
    const std::string name = "resolution." + str(size), acc1 = name + ".acc1", entropy = name + ".entropy";
    if (size != s.size && !fixed.empty()) {
      s.out.leave_out(acc1, fixed), s.out.leave_out(entropy, fixed);
      continue;
    }
    constexpr double most = 2e9;  // bytes of pixels at once
    if (static_cast<double>(size.h) * size.w * s.images->channels * static_cast<double>(s.images->size()) > most) {
      s.out.leave_out(name, fmt::format("{} images of this size are more than 2 GB", s.images->size()));
      continue;
    }
    const auto set = resized(s.images, size);
    const auto said = size == s.size ? s.base : s.changed_answers(*set, {acc1, entropy});
    if (!said) continue;
    s.out.add(acc1, said->acc1());
    const AttentionOf seen = attention_of(s, *set, spread(set->size(), s.options.attention_images), false);
    if (seen.why_not.empty()) {
      s.out.add(entropy, seen.entropy);
    } else {
      s.out.leave_out(entropy, seen.why_not);
    }
  }
}

void measure_shift(Session& s) {
  if (!s.has_images({"shift"})) return;
  if (!s.images->keeps_label(data::Augmentation::crop)) {
    s.out.leave_out("shift", s.images->why_refused);
    return;
  }
  shifts(s, "circular", rolled);
  shifts(s, "crop", shifted);
}

void measure_grid_shuffle(Session& s) {
  if (!s.has_images({"grid_shuffle"})) return;
  for (const int K : s.options.tiles) {
    const std::string name = fmt::format("grid_shuffle.{}.acc1", K);
    if (s.size.h % K != 0 || s.size.w % K != 0) {
      s.out.leave_out(name, fmt::format("{} x {} tiles do not divide {} x {} pixels", K, K, s.size.h, s.size.w));
      continue;
    }
    const rng::Stream seeds(rng::mix(static_cast<uint64_t>(s.options.seed)) ^ rng::hash(name));
    uint64_t image = 0;
    const auto set = data::changed(
        *s.images, [&](const Image& in) { return retiled(in, K, shuffled(K * K, rng::Stream(seeds.bits(image++)))); });
    if (const auto said = s.changed_answers(*set, {name})) s.out.add(name, said->acc1());
  }
}

void measure_flip(Session& s) {
  if (!s.has_images({"flip"})) return;
  if (!s.images->keeps_label(data::Augmentation::flip)) {
    s.out.leave_out("flip", s.images->why_refused);
    return;
  }
  const auto set = data::changed(*s.images, mirrored);
  if (const auto said = s.changed_answers(*set, {"flip.acc1", "flip.consistency"}))
    s.out.add("flip.acc1", said->acc1()), s.out.add("flip.consistency", said->consistency(s.base));
}

}  // namespace tessera::lab
