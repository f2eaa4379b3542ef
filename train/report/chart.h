#pragma once
// Line charts: the lines are inline SVG that stretches to its box, the words around it are HTML, so that they have the size of the
// page's text on a phone, on a screen and on paper. Colours are CSS variables of the page, so that they follow its theme; every point
// has a hover title.
#include <string>
#include <utility>
#include <vector>

namespace tessera::report {

struct Series {
  std::string label;
  std::vector<std::pair<double, double>> points;  ///< by ascending x
  int color = 0;       ///< a group of runs or a split keeps its colour on the whole page; from 8 on lines are dashed
  std::string legend;  ///< series of the same legend share an entry, with the mean of their last values; empty: `label`
  std::vector<std::pair<double, double>> range =
      {};                 ///< low and high of every point, or empty; NaN: this point has none
  bool band = false;      ///< the range is an area along the line instead of a bar at each point
  std::string mark = {};  ///< attributes of the series' element, by which a script finds it: data-e="3"
};

struct Chart {
  std::string title, x_label;
  std::vector<Series> series;
  bool from_zero = false;  ///< the y axis starts at 0
  std::string unit;        ///< " %", after every value
  bool whole_x = true;     ///< x counts something: no ticks between whole numbers
  bool legend = true;      ///< false: the page has one for several charts
  bool apart = false;  ///< points of the same x stand a little beside each other, so that their bars can be told apart
  std::vector<double> xs = {};  ///< the ticks of x; empty: chosen
};

/// Ticks at multiples of 1, 2, 2.5 or 5 times a power of ten that enclose [low, high]: about `count` of them, at least two, whatever
/// finite numbers are given. `whole`: no step below 1.
std::vector<double> ticks(double low, double high, int count, bool whole = false);
/// A short line of that colour as a picture: what stands before a name in a legend.
std::string line_sample(int color);
/// A card with the title, a legend with each series' last value, and the plot; empty if no series has a point.
std::string line_chart(const Chart& chart);

}  // namespace tessera::report
