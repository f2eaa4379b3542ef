#include "tessera/core/ops/detail/loops.h"

#include <algorithm>
#include <cstring>

#include "tessera/core/kernels/kernels.h"
#include "tessera/core/tape.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace detail {

void sum_rows(const real* x, real* to, real beta, int64_t rows, int64_t width) {
  parallel::rows(width, parallel::grain(rows, 64),
                 [&](int64_t c, int64_t e) { kernels().sum_rows(x + c, width, to + c, beta, rows, e - c); });
}

void sum_to(const Tensor& from, const Shape& shape, real* to, real beta) {
  const int64_t size = shape.size();
  if (from.size() == 0) {
    if (beta == 0) std::fill_n(to, size, real(0));
    return;
  }
  const Loops l = broadcast_loops(from.shape(), shape, shape);
  const int64_t n = l.inner();
  if (l.rank == 2 && l.a[0] == 0 && l.a[1] == 1) {  // leading dimensions: a bias
    return sum_rows(from.data(), to, beta, l.extent[0], n);
  }
  if (beta == 0) std::fill_n(to, size, real(0));
  each_row(l, 0, l.rows(), [&](int64_t row, int64_t o, int64_t) {
    if (l.inner_a() == 1) {
      kernels().accumulate(from.data() + row * n, to + o, n);
    } else {
      real s;
      kernels().sum_all(from.data() + row * n, &s, n);
      to[o] += s;
    }
  });
}

void repeat_to(const Tensor& x, Tensor& y) {
  if (y.size() == 0) return;
  const Loops l = broadcast_loops(y.shape(), x.shape(), x.shape());
  const int64_t n = l.inner();
  each_row(l, [&](int64_t row, int64_t o, int64_t) {
    if (l.inner_a() == 1) {
      std::memcpy(y.data() + row * n, x.data() + o, static_cast<size_t>(n) * sizeof(real));
    } else {
      std::fill_n(y.data() + row * n, n, x[o]);
    }
  });
}

void add_summed(Back& back, const Tensor& x, const Tensor& dx) {
  if (!back.wants(x)) return;
  if (dx.size() == x.size()) return back.add(x, dx.reshape(x.shape()));
  const auto [to, beta] = back.into(x);
  sum_to(dx, x.shape(), to, beta);
}

int dimension(const char* op, const Tensor& x, int dim) {
  if (dim < -x.rank() || dim >= x.rank()) fail(op, "there is no dimension {} in {}", dim, x.shape().str());
  return dim < 0 ? dim + x.rank() : dim;
}

Tensor indices(int64_t n) {
  const auto bytes = static_cast<size_t>(n) * sizeof(int32_t);
  return Tensor({static_cast<int>((bytes + sizeof(real) - 1) / sizeof(real))});
}

Tensor save(std::span<const int32_t> values) {
  Tensor t = indices(static_cast<int64_t>(values.size()));
  std::copy(values.begin(), values.end(), indices_of(t));
  return t;
}

}  // namespace detail
}  // namespace TESSERA_NS
}  // namespace tessera
