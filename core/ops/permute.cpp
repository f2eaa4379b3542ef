//   y[i0, i1, ...] = x at the same indices put back in x's order      dx = dy with the inverse order
#include "tessera/core/ops/permute.h"

#include <fmt/ranges.h>

#include <cstring>

#include "tessera/core/kernels/kernels.h"
#include "tessera/core/ops/detail/loops.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

using Order = std::array<int, Shape::max_rank>;

/// Runs that stay together in memory are copied whole; where the last two dimensions trade places, square tiles are
/// transposed, so that neither side strides through the cache alone.
Tensor permuted(const Tensor& x, const Order& order) {
  Shape s;
  s.rank = x.rank();
  std::array<int64_t, Shape::max_rank> stride{};
  int64_t n = 1;
  for (int i = x.rank() - 1; i >= 0; --i) stride[static_cast<size_t>(i)] = n, n *= x.dim(i);
  detail::Loops l;
  for (int i = 0; i < s.rank; ++i) {
    const int from = order[static_cast<size_t>(i)];
    s[i] = x.dim(from);
    l.push(s[i], stride[static_cast<size_t>(from)], stride[static_cast<size_t>(from)]);
  }
  Tensor y(s);
  if (y.size() == 0) return y;
  const int64_t inner = l.inner(), step = l.inner_a();
  if (step == 1) {
    detail::each_row(l, [&](int64_t row, int64_t o, int64_t) {
      std::memcpy(y.data() + row * inner, x.data() + o, static_cast<size_t>(inner) * sizeof(real));
    });
  } else if (l.rank >= 2 && l.a[static_cast<size_t>(l.rank - 2)] == 1) {
    const int64_t rows = l.extent[static_cast<size_t>(l.rank - 2)];
    detail::Loops tiles;  // one row of this nest: a whole (rows, inner) plane
    for (int i = 0; i < l.rank - 2; ++i) {
      const auto k = static_cast<size_t>(i);
      tiles.extent[k] = l.extent[k], tiles.a[k] = l.a[k], tiles.b[k] = l.b[k];
    }
    tiles.rank = l.rank - 1;
    tiles.extent[static_cast<size_t>(l.rank - 2)] = rows * inner;
    detail::each_row(tiles, [&](int64_t plane, int64_t o, int64_t) {
      kernels().transpose(x.data() + o, step, y.data() + plane * rows * inner, rows, inner);
    });
  } else {
    detail::each_row(l, [&](int64_t row, int64_t o, int64_t) {
      for (int64_t i = 0; i < inner; ++i) y[row * inner + i] = x[o + i * step];
    });
  }
  return y;
}

}  // namespace

Tensor permute(const Tensor& x, std::span<const int> dims) {
  Order order{}, inverse{};
  unsigned seen = 0;
  for (size_t i = 0; i < dims.size() && i < order.size(); ++i) {
    const int d = dims[i] < 0 ? dims[i] + x.rank() : dims[i];
    if (d < 0 || d >= x.rank()) break;
    order[i] = d, inverse[static_cast<size_t>(d)] = static_cast<int>(i), seen |= 1u << d;
  }
  if (static_cast<int>(dims.size()) != x.rank() || seen != (1u << x.rank()) - 1)
    fail("permute", "({}) is no order of the dimensions of {}", fmt::join(dims, ", "), x.shape().str());
  return record({"permute", {{"order", std::span<const int>(order.data(), dims.size())}}}, permuted(x, order), {&x},
                [inverse, in = x.slot()](const Tensor& dy, Back& back) { back.add(in, permuted(dy, inverse)); });
}

Tensor permute(const Tensor& x, std::initializer_list<int> order) {
  return permute(x, std::span<const int>(order.begin(), order.size()));
}

}  // namespace TESSERA_NS
}  // namespace tessera
