#pragma once
#include <algorithm>
#include <chrono>
#include <vector>

namespace tessera::cli {

using Clock = std::chrono::steady_clock;
inline double seconds_since(Clock::time_point t) { return std::chrono::duration<double>(Clock::now() - t).count(); }

/// What a list of measurements says: its extremes and its middle.
struct Spread {
  double min = 0, median = 0, max = 0;
};
inline Spread spread(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  return {values.front(), values[values.size() / 2], values.back()};
}

}  // namespace tessera::cli
