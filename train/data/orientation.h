#pragma once
// Which way up a picture was taken: cameras store the sensor's rows and say by a number how to turn them.
#include <cstdint>
#include <span>

#include "tessera/train/data/image.h"

namespace tessera::data {

/// What is found in front of a JPEG file's pixels.
struct JpegSurvey {
  int orientation = 1;
  int scans = 0;  ///< passes over the picture in the whole file: one, or up to ten or so of a progressive file
};

/// By the file's markers, without decoding anything. Bytes that make no sense end the survey.
JpegSurvey survey_jpeg(std::span<const uint8_t> file);
/// Of a PNG file: its eXIf chunk. 1 without one.
int png_orientation(std::span<const uint8_t> file);

/// The upright picture: EXIF's orientations 2 to 8 (mirrored, turned by quarters) as PIL's ImageOps.exif_transpose does;
/// other numbers change nothing.
Image upright(Image image, int orientation);

}  // namespace tessera::data
