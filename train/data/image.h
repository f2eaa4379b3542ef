#pragma once
// Pictures on disk: PNG and JPEG in, PNG out. Always 8-bit RGB in memory, whatever the file holds.
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace tessera::data {

struct Image {
  int h = 0, w = 0, channels = 3;
  std::vector<uint8_t> pixels;  ///< h x w x channels
};

/// Reads a PNG or JPEG file (told apart by content) as PIL's ImageOps.exif_transpose(image).convert("RGB") does: turned
/// upright as EXIF says; grey, palette, 16-bit (by its upper half) and CMYK become RGB; alpha is dropped; gamma and
/// colour profiles change nothing. Throws Error naming the file when it is neither, is damaged or truncated, has more
/// than 64 million pixels, or more than 64 scans (progressive JPEG has about ten).
Image read_image(const std::string& path);
/// Resizes the shorter side to `size` (bilinear with antialiasing) and cuts the middle size x size square.
Image fit(const Image& image, int size);
/// Resizes until the picture covers h x w and cuts its middle. Throws Error on an empty picture or size.
Image fit(const Image& image, int h, int w);
/// A PNG file's bytes. pixels: h x w x channels (1 or 3).
std::vector<uint8_t> encode_png(int h, int w, int channels, std::span<const uint8_t> pixels);

}  // namespace tessera::data
