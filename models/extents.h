#pragma once
// How large a model may be. A number that overflows, or a network that no machine could hold, is refused with one line before anything
// is allocated. Free of `real`.
#include "tessera/nn/domain.h"

namespace tessera {

constexpr int most_side =
    16384;  ///< of an image, a patch, a window: counts of cells then stay far from the limits of an int
constexpr int most_channels = 4096;  ///< of an image
constexpr int most_classes = 1'000'000;
constexpr int most_width = 65536;  ///< of tokens and of a head
constexpr int most_depth = 1000;
constexpr int most_heads = 4096;

/// Of the options that the models share.
constexpr Domain height_domain() {
  return within(1, most_side).hinted("it is the height, and model.img_width the width where that is another");
}
constexpr Domain patch_domain() { return within(1, most_side).hinted("patches are squares"); }
/// Of the factor of the logits; 0: the default.
constexpr Domain scale_domain() { return within(1e-6, 1e6).or_zero(); }

/// Adds up what one image costs, as the parts of a model are named. Every call throws Error as soon as that is too much: more than
/// 2^28 numbers in an image, 2^30 weights (4 GB) or 2^43 multiply-accumulates.
class Extents {
 public:
  Extents(const char* model, double height, double width, double channels);
  /// A linear map of `in` to `out` numbers, of so many tokens.
  void linear(double tokens, double in, double out);
  /// An attention of `inner` numbers in all heads where each token sees `keys` others, and an MLP that is `ratio` times as wide.
  void block(double tokens, double keys, double dim, double inner, double ratio);

 private:
  void add(double weights, double macs);
  const char* model_;
  double weights_ = 0, macs_ = 0;
};

}  // namespace tessera
