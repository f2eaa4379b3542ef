#pragma once
// Training at several sizes of image: small ones are cheap and teach the most of it, large ones the rest.
#include <string>
#include <vector>

#include "tessera/train/data/batch.h"

namespace tessera::data {

/// From an epoch on, which may be a fraction of one, images have this size.
struct SizeFrom {
  int size = 0;
  double epoch = 0;
};

/// "16@0, 24@10, 32@20.5": 16 x 16 pixels from the start, 24 x 24 from epoch 10 on, 32 x 32 from the middle of epoch 20 on. Empty: none.
/// Throws Error unless sizes are from 1 to 4096 and epochs begin with 0 and rise.
std::vector<SizeFrom> progressive(const std::string& text);

/// The size at a moment of the run; 0: there are no sizes.
int size_at(const std::vector<SizeFrom>& sizes, double epoch);
/// The mean of (size / full)^2, what an image costs, over the epochs [from, to).
double mean_area(const std::vector<SizeFrom>& sizes, int full, double from, double to);

/// Images x (B, h, w, C) as (B, size, size, C), bilinear with antialiasing (as PIL and torch's antialias=True resize). `memory` is used
/// again if it fits and nobody else holds it.
Tensor resize_images(const Tensor& x, int size, Tensor& memory);

}  // namespace tessera::data
