#pragma once
#include <algorithm>
#include <chrono>
#include <vector>

namespace tessera::cli {

using Clock = std::chrono::steady_clock;
inline double seconds_since(Clock::time_point t) { return std::chrono::duration<double>(Clock::now() - t).count(); }

/// What a list of measurements says: its extremes and its middle, of an even number the mean of the two in the middle.
struct Spread {
  double min = 0, median = 0, max = 0;
};
inline Spread spread(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  return {values.front(), (values[(n - 1) / 2] + values[n / 2]) / 2, values.back()};
}

}  // namespace tessera::cli
