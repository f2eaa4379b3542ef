#include "tessera/train/data/plain_png.h"

#include <zlib.h>

#include <string_view>

#include "tessera/core/error.h"

namespace tessera::data {
namespace {

using Bytes = std::vector<uint8_t>;

void put(Bytes& to, uint32_t v) {
  for (int shift : {24, 16, 8, 0}) to.push_back(static_cast<uint8_t>(v >> shift));
}

/// Length, type, content and the checksum of the last two.
void chunk(Bytes& to, std::string_view type, const Bytes& content) {
  put(to, static_cast<uint32_t>(content.size()));
  const size_t begin = to.size();
  to.insert(to.end(), type.begin(), type.end());
  to.insert(to.end(), content.begin(), content.end());
  put(to, static_cast<uint32_t>(crc32(0, to.data() + begin, static_cast<uInt>(to.size() - begin))));
}

}  // namespace

Bytes plain_png(int h, int w, int channels, std::span<const uint8_t> pixels) {
  const size_t stride = static_cast<size_t>(w) * static_cast<size_t>(channels);
  Bytes rows;
  rows.reserve((stride + 1) * static_cast<size_t>(h));
  for (size_t y = 0; y < static_cast<size_t>(h); ++y) {
    rows.push_back(0);  // no filter
    const auto row = pixels.subspan(y * stride, stride);
    rows.insert(rows.end(), row.begin(), row.end());
  }
  uLongf size = compressBound(static_cast<uLong>(rows.size()));
  Bytes packed(size);
  if (compress2(packed.data(), &size, rows.data(), static_cast<uLong>(rows.size()), Z_BEST_COMPRESSION) != Z_OK)
    fail("png", "cannot compress a {}x{} picture", w, h);
  packed.resize(size);
  Bytes header, png{0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
  put(header, static_cast<uint32_t>(w)), put(header, static_cast<uint32_t>(h));
  header.insert(header.end(), {8, static_cast<uint8_t>(channels == 1 ? 0 : 2), 0, 0, 0});  // bits, colour, methods
  chunk(png, "IHDR", header);
  chunk(png, "IDAT", packed);
  chunk(png, "IEND", {});
  return png;
}

}  // namespace tessera::data
