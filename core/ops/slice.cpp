//   y = x[.., start:end, ..]      dx = dy there, 0 elsewhere
#include "tessera/core/ops/slice.h"

#include <algorithm>
#include <cstring>

#include "tessera/core/kernels/kernels.h"
#include "tessera/core/ops/detail/loops.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

/// x (outer, row) and y (outer, part), part elements after `skip` ones in each row.
struct Cut {
  int64_t outer, row, skip, part;
};

void forward(const Cut c, const real* x, real* y) {
  for (int64_t o = 0; o < c.outer; ++o)
    std::memcpy(y + o * c.part, x + o * c.row + c.skip, static_cast<size_t>(c.part) * sizeof(real));
}

void backward(const Cut c, const real* dy, real* dx, real beta) {
  for (int64_t o = 0; o < c.outer; ++o, dx += c.row, dy += c.part) {
    if (beta == 0) {
      std::fill_n(dx, c.skip, real(0));
      std::memcpy(dx + c.skip, dy, static_cast<size_t>(c.part) * sizeof(real));
      std::fill_n(dx + c.skip + c.part, c.row - c.skip - c.part, real(0));
    } else {
      kernels().accumulate(dy, dx + c.skip, c.part);
    }
  }
}

}  // namespace

Tensor slice(const Tensor& x, int dim, int start, int end) {
  const int d = detail::dimension("slice", x, dim), n = x.dim(d);
  const int a = start < 0 ? start + n : start, e = end < 0 ? end + n : end;
  if (a < 0 || e < a || e > n)
    fail("slice", "[{}, {}) is no part of dimension {} of {}", start, end, dim, x.shape().str());
  Shape s = x.shape();
  s[d] = e - a;
  const auto [outer, extent, inner] = detail::around(x.shape(), d);
  const Cut cut{outer, extent * inner, a * inner, (e - a) * inner};
  Tensor y(s);
  forward(cut, x.data(), y.data());
  return record({"slice", {{"dim", d}, {"start", a}, {"end", e}}}, y, {&x},
                [cut, in = x.slot()](const Tensor& dy, Back& back) {
                  const auto [dx, beta] = back.into(in);
                  backward(cut, dy.data(), dx, beta);
                });
}

std::vector<Tensor> split(const Tensor& x, int parts, int dim) {
  const int d = detail::dimension("split", x, dim);
  if (parts < 1 || x.dim(d) % parts)
    fail("split", "dimension {} of {} is no {} equal parts", dim, x.shape().str(), parts);
  std::vector<Tensor> y;
  y.reserve(static_cast<size_t>(parts));
  const int n = x.dim(d) / parts;
  for (int i = 0; i < parts; ++i) y.push_back(slice(x, d, i * n, (i + 1) * n));
  return y;
}

Tensor select_row(const Tensor& x, int dim, int at) {
  const int d = detail::dimension("select_row", x, dim), n = x.dim(d), i = at < 0 ? at + n : at;
  if (i < 0 || i >= n) fail("select_row", "there is no row {} in dimension {} of {}", at, dim, x.shape().str());
  Shape s;
  for (int k = 0; k < x.rank(); ++k)
    if (k != d) s.d[static_cast<size_t>(s.rank++)] = x.dim(k);
  return slice(x, d, i, i + 1).reshape(s);
}

}  // namespace TESSERA_NS
}  // namespace tessera
