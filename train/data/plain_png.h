#pragma once
// PNG files written with zlib alone, for builds without libpng: larger, and read by everything that reads PNG.
#include <cstdint>
#include <span>
#include <vector>

namespace tessera::data {

/// A PNG file's bytes. pixels: h x w x channels (1 or 3), of which encode_png() has checked the extents. Throws Error when zlib fails.
std::vector<uint8_t> plain_png(int h, int w, int channels, std::span<const uint8_t> pixels);

}  // namespace tessera::data
