#pragma once
// Images made in memory whose label depends only on WHERE things are: the embedded default, and the probe for position
// encodings. What a picture shows (background, colours, kinds and sizes of shapes) and the phases of its shapes on a
// tile of `tile` pixels are drawn before and independently of the label; the label only chooses which tiles the shapes
// go to, and no two shapes share a tile. So for every patch size that divides `tile`, the picture has the same multiset
// of patches under every label: a model that ignores positions stays at chance, exactly.
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/train/data/memory.h"

namespace tessera::data::where {

constexpr int side = 32;  ///< pictures are side x side x 3, unless another width is asked for

/// One task: what the classes are.
struct Task {
  const char* name;
  std::vector<std::string> classes;
  int tile;  ///< patches of this size, and of its divisors, do not tell the label
  const char* question;
};

/// quadrant: which quarter holds the shape. relation: where the red shape is, seen from the blue one. distance: are the
/// two near to each other or far apart. border: which of two shapes that differ in nothing but colour is nearer to a
/// border.
const std::vector<Task>& tasks();
/// Throws Error with the nearest known name.
const Task& task(std::string_view name);

/// Where a shape was drawn, in pixels.
struct Box {
  int y, x, size;
};

/// Draws picture `index` of the stream `seed` under `label` into pixels (width x width x 3). On a larger canvas the same shapes have more
/// places to go to. Returns the boxes of the shapes, the red one first (quadrant: of the one, twice).
std::array<Box, 2> draw(const Task& task, uint64_t seed, uint64_t index, int label, uint8_t* pixels, int width = side);

/// n of them, classes balanced to within one. Throws Error unless width is from 32 to 4096 and a multiple of the task's tile.
Samples pictures(const Task& task, size_t n, uint64_t seed, int width = side);

/// options.train_size and test_size pictures, classes balanced to within one.
TrainTest make(const Task& task, const OpenOptions& options);

}  // namespace tessera::data::where
