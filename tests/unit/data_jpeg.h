#pragma once
// Pixels as a JPEG file.
#include <cstdint>
#include <cstdio>
#include <cstdlib>

// clang-format off
#include <jpeglib.h>
// clang-format on
#include <string>
#include <vector>

namespace tessera::test {

/// `app1` are the contents of its APP1 segments: Exif, XMP. `restart`: rows of blocks between two restart markers; 0: none.
inline std::vector<uint8_t> jpeg(int h, int w, int channels, J_COLOR_SPACE space, const std::vector<uint8_t>& pixels,
                                 const std::vector<std::string>& app1 = {}, bool progressive = false, int restart = 0) {
  jpeg_compress_struct info{};
  jpeg_error_mgr errors{};
  info.err = jpeg_std_error(&errors);
  jpeg_create_compress(&info);
  unsigned char* out = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&info, &out, &size);
  info.image_width = static_cast<unsigned>(w), info.image_height = static_cast<unsigned>(h);
  info.input_components = channels, info.in_color_space = space;
  jpeg_set_defaults(&info);
  jpeg_set_quality(&info, 95, TRUE);
  info.restart_in_rows = restart;
  if (progressive) jpeg_simple_progression(&info);
  jpeg_start_compress(&info, TRUE);
  for (const std::string& s : app1)
    jpeg_write_marker(&info, JPEG_APP0 + 1, reinterpret_cast<const JOCTET*>(s.data()), static_cast<unsigned>(s.size()));
  while (info.next_scanline < info.image_height) {
    JSAMPROW row = const_cast<uint8_t*>(pixels.data()) + info.next_scanline * static_cast<size_t>(w * channels);
    jpeg_write_scanlines(&info, &row, 1);
  }
  jpeg_finish_compress(&info);
  jpeg_destroy_compress(&info);
  std::vector<uint8_t> bytes(out, out + size);
  std::free(out);
  return bytes;
}

}  // namespace tessera::test
