#pragma once
// Numbers as pictures: PNG data in the page, in a light and a dark version.
#include <functional>
#include <string>

#include "tessera/train/training/report_data.h"

namespace tessera::report {

struct Rgb {
  uint8_t r, g, b;
};
/// v in [-1, 1] on a blue - neutral - red ramp whose middle is the page's own surface.
Rgb diverging(double v, bool dark);

/// <picture> of h x w cells shown `css_width` pixels wide (0: as wide as its box): value(y, x) in [-1, 1], NaN is
/// background.
std::string heat_map(int h, int w, const std::function<double(int y, int x)>& value, std::string_view alt,
                     int css_width = 0);
/// An image of the data set as <img>.
std::string photo(const Sample& sample, std::string_view alt);

/// A learned table as a card; see Table::kind.
std::string table_card(const Table& table);

}  // namespace tessera::report
