#include "tessera/nn/position/formulas.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace tessera {

std::vector<double> alibi_slopes(int heads) {
  int below = 1;
  while (2 * below <= heads) below *= 2;
  const auto geometric = [](int n, int i) { return std::exp2(-8.0 * (i + 1) / n); };
  std::vector<double> m;
  m.reserve(static_cast<size_t>(heads));
  for (int i = 0; i < below; ++i) m.push_back(geometric(below, i));
  for (int i = 0; i < heads - below; ++i) m.push_back(geometric(2 * below, 2 * i));
  return m;
}

int t5_bucket(int relative, int num_buckets, int max_distance, bool causal) {
  const int own = causal ? num_buckets : num_buckets / 2, exact = own / 2;  // of a direction, and those of one offset
  const int n = causal ? std::max(-relative, 0) : std::abs(relative), side = !causal && relative > 0 ? own : 0;
  if (n < exact) return side + n;
  const double log = std::log(static_cast<double>(n) / exact) / std::log(static_cast<double>(max_distance) / exact);
  return side + std::min(own - 1, exact + static_cast<int>(log * (own - exact)));
}

double cpb_coordinate(int d, int M) {
  if (M <= 1) return 0;
  const double t = 8.0 * d / (M - 1);
  return std::copysign(std::log2(std::abs(t) + 1) / 3, t);
}

}  // namespace tessera
