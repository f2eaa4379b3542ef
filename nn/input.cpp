#include "tessera/nn/input.h"

#include <algorithm>

namespace tessera {
inline namespace TESSERA_NS {

Shape InputShape::batch(int samples) const {
  const int steps = T > 0 ? T : 128;
  if (kind == Kind::image) return {samples, h, w, channels};
  return kind == Kind::frames ? Shape{samples, steps, features} : Shape{samples, steps};
}

Input InputShape::zeros(int samples) const {
  const auto none = [&](int width) {
    Ints n(samples, width);
    std::fill_n(n.data(), n.size(), 0);
    return n;
  };
  Input in;
  if (kind == Kind::tokens) {
    in.tokens = none(batch(samples)[1]);
  } else {
    in.x = tessera::zeros(batch(samples));
  }
  if (target > 0) in.target = none(ragged() ? batch(samples)[1] : 16);
  return in;
}

std::string InputShape::str() const {
  if (kind == Kind::image) return fmt::format("images of {} x {} with {} channels", h, w, channels);
  const std::string of =
      kind == Kind::frames ? fmt::format("{} features", features) : fmt::format("{} kinds of tokens", vocabulary);
  const std::string all = T > 0 ? fmt::format("sequences of {} steps of {}", T, of) : "sequences of " + of;
  return target > 0 ? fmt::format("{} and answers in {} kinds", all, target) : all;
}

}  // namespace TESSERA_NS
}  // namespace tessera
