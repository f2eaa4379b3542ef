#pragma once
// Line charts as inline SVG. Colours are CSS variables of the page, so that they follow its theme; every point has a
// hover title.
#include <string>
#include <utility>
#include <vector>

namespace tessera::report {

struct Series {
  std::string label;
  std::vector<std::pair<double, double>> points;  ///< by ascending x
  int color = 0;  ///< a run or a split keeps its colour on the whole page; from 8 on lines are dashed
};

struct Chart {
  std::string title, x_label;
  std::vector<Series> series;
  bool from_zero = false;  ///< the y axis starts at 0
  std::string unit;        ///< " %", behind every value
};

/// Ticks at multiples of 1, 2, 2.5 or 5 times a power of ten that enclose [low, high]: about `count` of them.
std::vector<double> ticks(double low, double high, int count);
/// A card with the title, a legend with each series' last value, and the plot; empty if no series has a point.
std::string line_chart(const Chart& chart);

}  // namespace tessera::report
