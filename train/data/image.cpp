#include "tessera/train/data/image.h"

#include <cstdio>  // jpeglib.h wants it first

// clang-format off
#if TESSERA_HAVE_JPEG
#include <jpeglib.h>
#include <jerror.h>
#endif
#if TESSERA_HAVE_PNG
#include <png.h>
#endif
// clang-format on

#include <algorithm>
#include <cmath>
#include <csetjmp>
#include <cstring>
#include <new>
#include <string_view>
#include <utility>

#include "tessera/core/error.h"
#include "tessera/train/data/orientation.h"
#include "tessera/train/data/plain_png.h"
#include "tessera/train/data/readers.h"

namespace tessera::data {
namespace {

constexpr int64_t most_pixels = 64'000'000;
constexpr int most_scans = 64;  // progressive files have about ten

[[maybe_unused]] void check_extent(const std::string& path, int64_t w, int64_t h) {
  if (w < 1 || h < 1 || w * h > most_pixels)
    fail("data", "{} is a picture of {}x{} pixels; at least one and at most {} are read", path, w, h, most_pixels);
}

enum class Decoded { good, damaged, extent };

#if TESSERA_HAVE_PNG

// libpng reports errors like libjpeg, by a call that must not return: only trivial objects live between setjmp and longjmp.
struct Png {
  const std::vector<uint8_t>& bytes;
  Image image{};
  std::vector<png_bytep> rows{};
  size_t at = 0;
  png_structp png = nullptr;
  png_infop info = nullptr;
  char message[200] = "";
  jmp_buf back{};

  explicit Png(const std::vector<uint8_t>& b) : bytes(b) {}
  ~Png() { png_destroy_read_struct(&png, &info, nullptr); }
  Png(const Png&) = delete;
  Png& operator=(const Png&) = delete;
};

void png_stop(png_structp png, png_const_charp why) {
  auto* p = static_cast<Png*>(png_get_error_ptr(png));
  std::snprintf(p->message, sizeof p->message, "%s", why);
  std::longjmp(p->back, 1);
}
void png_quiet(png_structp, png_const_charp) {}
void png_fetch(png_structp png, png_bytep to, size_t count) {
  auto* p = static_cast<Png*>(png_get_io_ptr(png));
  if (count > p->bytes.size() - p->at) png_error(png, "it is cut off");
  std::memcpy(to, p->bytes.data() + p->at, count);
  p->at += count;
}

// The samples as they stand in the file, 16 bits by their upper half: what PIL's convert("RGB") gives. Gamma, colour profiles and
// transparency say how to show a picture, and change no sample of it.
Decoded decode_png(Png& p) {
  static const png_byte ignored[] =
      "bKGD\0cHRM\0eXIf\0gAMA\0hIST\0iCCP\0iTXt\0oFFs\0pCAL\0pHYs\0sBIT\0sCAL\0sPLT\0sRGB\0tEXt\0tIME\0tRNS\0zTXt";
  if (setjmp(p.back)) return Decoded::damaged;
  p.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &p, png_stop, png_quiet);
  if (p.png) p.info = png_create_info_struct(p.png);
  if (!p.info) throw std::bad_alloc();
  png_set_read_fn(p.png, &p, png_fetch);
  png_set_keep_unknown_chunks(p.png, PNG_HANDLE_CHUNK_NEVER, ignored, sizeof ignored / 5);
  png_set_user_limits(p.png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);  // check_extent has the say
  png_read_info(p.png, p.info);
  const auto w = png_get_image_width(p.png, p.info), h = png_get_image_height(p.png, p.info);
  p.image.h = static_cast<int>(h), p.image.w = static_cast<int>(w);
  if (int64_t{h} * w > most_pixels) return Decoded::extent;
  const int colour = png_get_color_type(p.png, p.info);
  png_set_strip_16(p.png);
  if (colour == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(p.png);
  if (colour == PNG_COLOR_TYPE_GRAY && png_get_bit_depth(p.png, p.info) < 8) png_set_expand_gray_1_2_4_to_8(p.png);
  if (!(colour & PNG_COLOR_MASK_COLOR)) png_set_gray_to_rgb(p.png);
  png_set_strip_alpha(p.png);  // thrown away, not blended with a background
  png_set_interlace_handling(p.png);
  png_read_update_info(p.png, p.info);
  const size_t stride = png_get_rowbytes(p.png, p.info);
  if (stride != size_t{3} * w) png_error(p.png, "its pixels have an unknown form");
  p.image.pixels.resize(stride * h);
  for (size_t y = 0; y < h; ++y) p.rows.push_back(p.image.pixels.data() + y * stride);
  png_read_image(p.png, p.rows.data());
  return Decoded::good;
}

Image read_png(const std::string& path, const std::vector<uint8_t>& bytes) {
  Png p(bytes);
  const Decoded result = decode_png(p);
  if (result == Decoded::extent) check_extent(path, p.image.w, p.image.h);
  if (result != Decoded::good) fail("data", "{} is a damaged PNG file: {}", path, p.message);
  return upright(std::move(p.image), png_orientation(bytes));
}

#else

Image read_png(const std::string& path, const std::vector<uint8_t>&) {
  fail("data", "{} is a PNG file, and this program was built without libpng; build it anew with libpng", path);
}

#endif
#if TESSERA_HAVE_JPEG

// libjpeg reports errors through a callback that must not return; only trivial objects live between setjmp and longjmp.
struct JpegErrors {
  jpeg_error_mgr base;
  jmp_buf back;
  char message[JMSG_LENGTH_MAX];
  bool damaged;
  jpeg_progress_mgr progress;
};

void jpeg_stop(j_common_ptr info) {
  auto* errors = reinterpret_cast<JpegErrors*>(info->err);
  info->err->format_message(info, errors->message);
  std::longjmp(errors->back, 1);
}
/// What libjpeg only warns of, and then fills with grey or shifts. Bytes too many before a marker (JWRN_EXTRANEOUS_DATA) are none of it:
/// cameras write them, and every pixel is there.
bool is_damage(int code) {
  for (const int damage : {JWRN_JPEG_EOF, JWRN_HIT_MARKER, JWRN_HUFF_BAD_CODE, JWRN_ARITH_BAD_CODE, JWRN_MUST_RESYNC,
                           JWRN_BOGUS_PROGRESSION})
    if (code == damage) return true;
  return false;
}
void jpeg_message(j_common_ptr info, int level) {
  auto* errors = reinterpret_cast<JpegErrors*>(info->err);
  if (level >= 0 || errors->damaged || !is_damage(info->err->msg_code)) return;
  errors->damaged = true;
  info->err->format_message(info, errors->message);  // of the first
}

// Called now and then while it decodes. Every scan goes over the whole picture, which a file of some bytes a scan can ask for
// thousands of times.
void jpeg_watch(j_common_ptr info) {
  auto* errors = reinterpret_cast<JpegErrors*>(info->err);
  if (reinterpret_cast<j_decompress_ptr>(info)->input_scan_number <= most_scans) return;
  std::snprintf(errors->message, sizeof errors->message, "it has more than %d scans", most_scans);
  std::longjmp(errors->back, 1);
}

// Decodes into image (whose pixels are allocated by `allocate` once the size is known).
Decoded decode_jpeg(const std::vector<uint8_t>& bytes, jpeg_decompress_struct& jpeg, JpegErrors& errors, Image& image) {
  jpeg.err = jpeg_std_error(&errors.base);
  errors.base.error_exit = jpeg_stop;
  errors.base.emit_message = jpeg_message;
  errors.damaged = false;
  if (setjmp(errors.back)) return Decoded::damaged;
  jpeg_create_decompress(&jpeg);
  errors.progress.progress_monitor = jpeg_watch;
  jpeg.progress = &errors.progress;
  jpeg_mem_src(&jpeg, bytes.data(), bytes.size());
  jpeg_read_header(&jpeg, TRUE);
  const bool cmyk = jpeg.jpeg_color_space == JCS_CMYK || jpeg.jpeg_color_space == JCS_YCCK;
  jpeg.out_color_space = cmyk ? JCS_CMYK : JCS_RGB;
  jpeg.dct_method = JDCT_ISLOW;
  image.h = static_cast<int>(jpeg.image_height), image.w = static_cast<int>(jpeg.image_width);
  if (int64_t{image.h} * image.w > most_pixels || image.h < 1 || image.w < 1) return Decoded::extent;
  jpeg_start_decompress(&jpeg);
  const size_t stride = static_cast<size_t>(image.w) * (cmyk ? 4 : 3);
  image.pixels.resize(stride * static_cast<size_t>(image.h));
  while (jpeg.output_scanline < jpeg.output_height) {
    JSAMPROW row = image.pixels.data() + jpeg.output_scanline * stride;
    jpeg_read_scanlines(&jpeg, &row, 1);
  }
  jpeg_finish_decompress(&jpeg);
  if (cmyk) {  // Adobe writes CMYK inverted: 255 is no ink
    const size_t n = image.pixels.size() / 4;
    for (size_t i = 0; i < n; ++i) {
      const int k = image.pixels[4 * i + 3];
      for (size_t c = 0; c < 3; ++c)
        image.pixels[3 * i + c] = static_cast<uint8_t>((image.pixels[4 * i + c] * k + 127) / 255);
    }
    image.pixels.resize(3 * n);
  }
  return errors.damaged ? Decoded::damaged : Decoded::good;
}

Image read_jpeg(const std::string& path, const std::vector<uint8_t>& bytes) {
  const JpegSurvey survey = survey_jpeg(bytes);
  if (survey.scans > most_scans)
    fail("data", "{} is a JPEG file of {} scans; at most {} are read, save it anew", path, survey.scans, most_scans);
  jpeg_decompress_struct jpeg{};
  JpegErrors errors{};
  Image image;
  const Decoded result = decode_jpeg(bytes, jpeg, errors, image);
  jpeg_destroy_decompress(&jpeg);
  if (result == Decoded::extent) check_extent(path, image.w, image.h);
  if (result != Decoded::good) fail("data", "{} is a damaged JPEG file: {}", path, errors.message);
  return upright(std::move(image), survey.orientation);
}

#else

Image read_jpeg(const std::string& path, const std::vector<uint8_t>&) {
  fail("data", "{} is a JPEG file, and this program was built without libjpeg; build it anew with libjpeg", path);
}

#endif

// One axis of an antialiased bilinear resize: a triangle as wide as the reduction.
struct Taps {
  int first, count;
  std::vector<float> weight;
};
/// Those of the pixels [begin, begin + count) of an axis resized from `from` to `to`, which may be far more than memory holds.
std::vector<Taps> taps(int from, int64_t to, int64_t begin, int count) {
  const double scale = static_cast<double>(from) / static_cast<double>(to), reach = std::max(1.0, scale);
  std::vector<Taps> all(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) {
    const double centre = (static_cast<double>(begin + i) + 0.5) * scale;
    Taps& t = all[static_cast<size_t>(i)];
    t.first = std::max(0, static_cast<int>(std::floor(centre - reach)));
    const int last = std::min(from, static_cast<int>(std::ceil(centre + reach)));
    double sum = 0;
    for (int j = t.first; j < last; ++j) {
      const double w = std::max(0.0, 1 - std::abs(j + 0.5 - centre) / reach);
      t.weight.push_back(static_cast<float>(w));
      sum += w;
    }
    t.count = static_cast<int>(t.weight.size());
    for (float& w : t.weight) w = static_cast<float>(w / sum);
  }
  return all;
}

}  // namespace

Image read_image(const std::string& path) {
  const auto bytes = read_file(path, io::limit::picture);
  const std::string_view start(reinterpret_cast<const char*>(bytes.data()), std::min<size_t>(bytes.size(), 16));
  if (start.starts_with("\x89PNG\r\n\x1a\n")) return read_png(path, bytes);
  if (start.starts_with("\xff\xd8\xff")) return read_jpeg(path, bytes);
  const char* what = start.starts_with("RIFF") && start.substr(8).starts_with("WEBP") ? "it is WebP"
                     : start.starts_with("BM")                                        ? "it looks like BMP"
                     : start.starts_with("GIF8")                                      ? "it is GIF"
                     : start.starts_with("II*") || start.starts_with({"MM\0*", 4})    ? "it is TIFF"
                     : start.size() > 11 && start.substr(4).starts_with("ftyp")       ? "it is AVIF, HEIC or a film"
                     : start.starts_with("<") || start.starts_with("\xef\xbb\xbf<")   ? "it is text"
                                                                                      : "";
  fail("data", "{} is neither a PNG nor a JPEG file{}", path, *what ? fmt::format(": {}; convert it", what) : "");
}

Image fit(const Image& in, int size) { return fit(in, size, size); }

Image fit(const Image& in, int height, int width) {
  if (height < 1 || width < 1 || in.h < 1 || in.w < 1)
    fail("data", "cannot fit a {}x{} picture to {}x{}", in.w, in.h, width, height);
  // by the larger of the two factors, height / in.h and width / in.w
  const bool by_height = static_cast<int64_t>(height) * in.w >= static_cast<int64_t>(width) * in.h;
  const int to = by_height ? height : width, from = by_height ? in.h : in.w;
  const auto scaled = [&](int extent) { return int64_t{std::llround(static_cast<double>(extent) * to / from)}; };
  const int64_t h = std::max<int64_t>(height, scaled(in.h)), w = std::max<int64_t>(width, scaled(in.w));
  const auto across = taps(in.w, w, (w - width) / 2, width), down = taps(in.h, h, (h - height) / 2, height);
  // only the middle is made: a picture a pixel wide and a million high would be huge as a whole
  const int c = in.channels, y0 = down.front().first, y1 = down.back().first + down.back().count;
  const auto pitch = static_cast<size_t>(width * c);
  std::vector<float> rows(static_cast<size_t>(y1 - y0) * pitch);  // resized across and cut, not yet down
  for (int y = y0; y < y1; ++y)
    for (int x = 0; x < width; ++x) {
      const Taps& t = across[static_cast<size_t>(x)];
      for (int j = 0; j < c; ++j) {
        float sum = 0;
        const uint8_t* p =
            &in.pixels[(static_cast<size_t>(y) * static_cast<size_t>(in.w) + static_cast<size_t>(t.first)) *
                           static_cast<size_t>(c) +
                       static_cast<size_t>(j)];
        for (int k = 0; k < t.count; ++k) sum += t.weight[static_cast<size_t>(k)] * static_cast<float>(p[k * c]);
        rows[static_cast<size_t>(y - y0) * pitch + static_cast<size_t>(x * c + j)] = sum;
      }
    }
  Image out{height, width, c, std::vector<uint8_t>(static_cast<size_t>(height) * pitch)};
  for (int y = 0; y < height; ++y) {
    const Taps& t = down[static_cast<size_t>(y)];
    for (size_t x = 0; x < pitch; ++x) {
      float sum = 0;
      for (int k = 0; k < t.count; ++k)
        sum += t.weight[static_cast<size_t>(k)] * rows[static_cast<size_t>(t.first - y0 + k) * pitch + x];
      out.pixels[static_cast<size_t>(y) * pitch + x] = static_cast<uint8_t>(std::clamp(sum + 0.5f, 0.0f, 255.0f));
    }
  }
  return out;
}

std::vector<uint8_t> encode_png(int h, int w, int channels, std::span<const uint8_t> pixels) {
  if (h < 1 || w < 1 || (channels != 1 && channels != 3) ||
      pixels.size() != static_cast<size_t>(h) * static_cast<size_t>(w) * static_cast<size_t>(channels))
    fail("png", "{} bytes are no picture of {}x{}x{}", pixels.size(), h, w, channels);
#if !TESSERA_HAVE_PNG
  return plain_png(h, w, channels, pixels);
#else
  png_image png{};
  png.version = PNG_IMAGE_VERSION;
  png.width = static_cast<uint32_t>(w), png.height = static_cast<uint32_t>(h);
  png.format = channels == 1 ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB;
  png_alloc_size_t size = 0;
  std::vector<uint8_t> out;
  if (png_image_write_get_memory_size(png, size, 0, pixels.data(), 0, nullptr)) {
    out.resize(size);
    if (png_image_write_to_memory(&png, out.data(), &size, 0, pixels.data(), 0, nullptr)) {
      out.resize(size);
      return out;
    }
  }
  fail("png", "cannot encode a {}x{} picture: {}", w, h, png.message);
#endif
}

}  // namespace tessera::data
