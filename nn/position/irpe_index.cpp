#include "tessera/nn/position/irpe_index.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <tuple>

#include "tessera/core/memo.h"

namespace tessera {

int irpe_piecewise(double x, double alpha) {
  const double a = std::abs(x), beta = 2 * alpha, gamma = 8 * alpha;
  if (a <= alpha) return static_cast<int>(std::nearbyint(x));
  const double y =
      std::min(beta, std::nearbyint(alpha + std::log(a / alpha) / std::log(gamma / alpha) * (beta - alpha)));
  return static_cast<int>(std::copysign(y, x));  // truncates towards 0: beta 3.8 gives 3
}

int irpe_buckets(IrpeMethod method, double alpha) {
  const int axis = 2 * static_cast<int>(2 * alpha) + 1;
  return method == IrpeMethod::product ? axis * axis : axis;
}

namespace {

/// Rank of every squared distance of the grid among its distinct ones.
std::vector<int> ranks(const Extent& e) {
  std::set<int> squares;
  for (int y = 0; y < e.h; ++y)
    for (int x = 0; x < e.w; ++x) squares.insert(y * y + x * x);
  std::vector<int> rank(static_cast<size_t>(*squares.rbegin()) + 1);
  int r = 0;
  for (int s : squares) rank[static_cast<size_t>(s)] = r++;
  return rank;
}

}  // namespace

RelativeIndex irpe_pairs(const Layout& now, IrpeMethod method, double alpha, bool transposed) {
  static Memo<std::tuple<Layout, int, double, bool>, RelativeIndex> memo;
  return memo({now, static_cast<int>(method), alpha, transposed}, [&] {
    const int buckets = irpe_buckets(method, alpha), most = static_cast<int>(2 * alpha);
    const Extent e = extent(now);
    const std::vector<int> rank = method == IrpeMethod::quant_paper ? ranks(e) : std::vector<int>{};
    const auto g = [&](double x) { return irpe_piecewise(x, alpha) + most; };
    return make_pairs(now, buckets + (now.q.prefix && !now.window.h), [&](const auto& i, const auto& j) {
      if (i.prefix() || j.prefix()) return buckets;
      const int dy = transposed ? j.y - i.y : i.y - j.y, dx = transposed ? j.x - i.x : i.x - j.x,
                square = dy * dy + dx * dx;
      switch (method) {
        case IrpeMethod::rows:
          return g(dy);
        case IrpeMethod::columns:
          return g(dx);
        case IrpeMethod::euclidean:
          return g(std::nearbyint(std::sqrt(static_cast<double>(square))));
        case IrpeMethod::quant_code:
          return g(square);
        case IrpeMethod::quant_paper:
          return g(rank[static_cast<size_t>(square)]);
        default:
          return g(dy) * (2 * most + 1) + g(dx);
      }
    });
  });
}

}  // namespace tessera
