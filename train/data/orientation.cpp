// EXIF (CIPA DC-008) is a TIFF file inside of the picture: byte order, offset of a directory, entries of twelve bytes.
// Where it says nothing, XMP's tiff:Orientation counts, as for PIL.
#include "tessera/train/data/orientation.h"

#include <cstring>
#include <string>
#include <string_view>
#include <utility>

namespace tessera::data {
namespace {

std::string_view as_text(std::span<const uint8_t> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// The orientation that a TIFF directory says, or 0. Nothing is read outside of `tiff`.
int tiff_orientation(std::string_view tiff) {
  const bool little = tiff.starts_with("II");
  if (!little && !tiff.starts_with("MM")) return 0;
  const auto number = [&](size_t at, size_t bytes) -> uint64_t {
    uint64_t v = 0;
    if (at > tiff.size() || tiff.size() - at < bytes) return 0;
    for (size_t i = 0; i < bytes; ++i) {
      const auto byte = static_cast<unsigned char>(tiff[at + (little ? bytes - 1 - i : i)]);
      v = v << 8 | byte;
    }
    return v;
  };
  if (number(2, 2) != 42) return 0;
  const size_t directory = number(4, 4), entries = number(directory, 2);
  int found = 0;
  for (size_t i = 0; i < entries; ++i) {
    const size_t at = directory + 2 + 12 * i;
    if (at + 12 > tiff.size()) break;
    if (number(at, 2) != 0x0112 || number(at + 4, 4) != 1) continue;
    const uint64_t type = number(at + 2, 2);
    const uint64_t value = type == 3 || type == 8 ? number(at + 8, 2) : type == 4 || type == 9 ? number(at + 8, 4) : 0;
    found = value <= 8 ? static_cast<int>(value) : 0;
  }
  return found;
}

int xmp_orientation(std::string_view xmp) {
  constexpr std::string_view key = "tiff:Orientation";
  for (size_t at = xmp.find(key); at != std::string_view::npos; at = xmp.find(key, at + 1)) {
    std::string_view rest = xmp.substr(at + key.size());
    if (rest.starts_with("=\"")) {
      rest.remove_prefix(2);
    } else if (rest.starts_with(">")) {
      rest.remove_prefix(1);
    } else {
      continue;
    }
    if (!rest.empty() && rest[0] >= '0' && rest[0] <= '9') return rest[0] - '0';
  }
  return 0;
}

}  // namespace

JpegSurvey survey_jpeg(std::span<const uint8_t> file) {
  constexpr std::string_view exif_mark("Exif\0\0", 6), xmp_mark("http://ns.adobe.com/xap/1.0/\0", 29);
  JpegSurvey survey;
  std::string exif, xmp;
  size_t i = 2;
  while (i + 1 < file.size()) {
    if (file[i] != 0xff || file[i + 1] == 0xff || file[i + 1] == 0) {  // fill bytes, pixels
      ++i;
      continue;
    }
    const int marker = file[i + 1];
    i += 2;
    if ((marker >= 0xd0 && marker <= 0xd8) || marker == 1) continue;  // markers without a length
    if (marker == 0xd9 || i + 2 > file.size()) break;
    const size_t length = static_cast<size_t>(file[i]) << 8 | file[i + 1];
    if (length < 2) break;
    const auto segment = as_text(file.subspan(i, std::min(length, file.size() - i))).substr(2);
    if (marker == 0xda) {
      ++survey.scans;
    } else if (marker == 0xe1 && survey.scans == 0) {
      if (segment.starts_with(exif_mark)) exif += segment.substr(exif_mark.size());  // long ones come in pieces
      if (segment.starts_with(xmp_mark)) xmp = segment.substr(xmp_mark.size());
    }
    i += length;
  }
  survey.orientation = tiff_orientation(exif);
  if (survey.orientation == 0) survey.orientation = xmp_orientation(xmp);
  return survey;
}

int png_orientation(std::span<const uint8_t> file) {
  for (size_t i = 8; i + 12 <= file.size();) {
    const size_t length = static_cast<size_t>(file[i]) << 24 | static_cast<size_t>(file[i + 1]) << 16 |
                          static_cast<size_t>(file[i + 2]) << 8 | file[i + 3];
    if (length > file.size() - i - 12) break;
    std::string_view type = as_text(file.subspan(i + 4, 4)), content = as_text(file.subspan(i + 8, length));
    if (type == "eXIf") {
      constexpr std::string_view mark("Exif\0\0", 6);  // some writers leave it, though the chunk's name says it
      if (content.starts_with(mark)) content.remove_prefix(mark.size());
      return tiff_orientation(content);
    }
    i += length + 12;
  }
  return 1;
}

Image upright(Image in, int orientation) {
  if (orientation < 2 || orientation > 8) return in;
  const bool turned = orientation >= 5;  // rows become columns
  Image out{turned ? in.w : in.h, turned ? in.h : in.w, in.channels, std::vector<uint8_t>(in.pixels.size())};
  // of 2 to 4, and of 5 to 8 after rows and columns have been exchanged
  const bool mirror = orientation == 2 || orientation == 3 || orientation == 6 || orientation == 7;
  const bool flip = orientation == 3 || orientation == 4 || orientation == 7 || orientation == 8;
  const auto c = static_cast<size_t>(in.channels);
  for (int y = 0; y < out.h; ++y)
    for (int x = 0; x < out.w; ++x) {
      const int v = flip ? out.h - 1 - y : y, u = mirror ? out.w - 1 - x : x;
      const int64_t from = turned ? int64_t{u} * in.w + v : int64_t{v} * in.w + u;
      std::memcpy(&out.pixels[(static_cast<size_t>(y) * static_cast<size_t>(out.w) + static_cast<size_t>(x)) * c],
                  &in.pixels[static_cast<size_t>(from) * c], c);
    }
  return out;
}

}  // namespace tessera::data
