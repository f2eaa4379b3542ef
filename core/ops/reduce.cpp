//   sum     y = sum of x over dims           dx = dy repeated
//   mean    y = sum / count                  dx = dy / count repeated
//   max     y = x[at], at the first maximum  dx[at] = dy, 0 elsewhere       saved: at
//   broadcast_to  y = x repeated             dx = dy summed
#include "tessera/core/ops/reduce.h"

#include <algorithm>

#include "tessera/core/kernels/kernels.h"
#include "tessera/core/ops/detail/loops.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

Tensor reduced(const char* op, const Tensor& x, std::initializer_list<int> dims, bool keepdim, bool average) {
  Shape kept = x.shape(), dropped;
  unsigned over = dims.size() ? 0 : (1u << x.rank()) - 1;
  for (int d : dims) over |= 1u << detail::dimension(op, x, d);
  int64_t count = 1;
  for (int i = 0; i < x.rank(); ++i) {
    if (over >> i & 1) {
      count *= x.dim(i), kept[i] = 1;
    } else {
      dropped.d[static_cast<size_t>(dropped.rank++)] = x.dim(i);
    }
  }
  if (average && count == 0) fail(op, "{} has nothing to average", x.shape().str());
  const real factor = average ? static_cast<real>(1.0 / static_cast<double>(count)) : real(1);
  Tensor y(kept);
  detail::sum_to(x, kept, y.data(), 0);
  if (average) kernels().affine(y.data(), y.data(), 0, factor, 0, y.size());
  const std::span<const int> over_dims(dims.begin(), dims.size());  // none: all
  return record({op, {{"dims", over_dims}, {"keepdim", keepdim}}}, y.reshape(keepdim ? kept : dropped), {&x},
                [=, in = x.slot()](const Tensor& dy, Back& back) {
                  Tensor small = dy.reshape(kept);
                  if (factor != 1) {
                    small = Tensor(kept);
                    kernels().affine(dy.data(), small.data(), 0, factor, 0, dy.size());
                  }
                  Tensor dx(in.shape());
                  detail::repeat_to(small, dx);
                  back.add(in, dx);
                });
}

/// at[o, i] = the first position of the largest x[o, :, i]; values to y unless null.
void largest(const Tensor& x, int dim, int32_t* at, real* y) {
  const auto [outer, n, inner] = detail::around(x.shape(), dim);
  for (int64_t o = 0; o < outer; ++o)
    for (int64_t i = 0; i < inner; ++i) {
      const real* v = x.data() + o * n * inner + i;
      int64_t best = 0;
      for (int64_t j = 1; j < n; ++j) {
        const real b = v[best * inner];
        if (!(v[j * inner] <= b) && b == b) best = j;
      }
      at[o * inner + i] = static_cast<int32_t>(best);
      if (y) y[o * inner + i] = v[best * inner];
    }
}

int filled(const char* op, const Tensor& x, int dim) {
  const int d = detail::dimension(op, x, dim);
  if (x.dim(d) == 0) fail(op, "dimension {} of {} is empty", dim, x.shape().str());
  return d;
}

}  // namespace

Tensor sum(const Tensor& x, std::initializer_list<int> dims, bool keepdim) {
  return reduced("sum", x, dims, keepdim, false);
}
Tensor mean(const Tensor& x, std::initializer_list<int> dims, bool keepdim) {
  return reduced("mean", x, dims, keepdim, true);
}

Tensor max(const Tensor& x, int dim, bool keepdim) {
  const int d = filled("max", x, dim);
  Shape s;
  for (int i = 0; i < x.rank(); ++i)
    if (i != d || keepdim) s.d[static_cast<size_t>(s.rank++)] = i == d ? 1 : x.dim(i);
  Tensor y(s);
  const Tensor at = detail::indices(y.size());
  largest(x, d, detail::indices_of(at), y.data());
  return record({"max", {{"dim", d}, {"keepdim", keepdim}}}, y, {&x},
                [at, d, in = x.slot()](const Tensor& dy, Back& back) {
                  const auto [outer, n, inner] = detail::around(in.shape(), d);
                  const auto [dx, beta] = back.into(in);
                  if (beta == 0) std::fill_n(dx, in.size(), real(0));
                  for (int64_t o = 0; o < outer; ++o)
                    for (int64_t i = 0; i < inner; ++i) {
                      const int64_t k = o * inner + i;
                      dx[(o * n + detail::indices_of(at)[k]) * inner + i] += dy[k];
                    }
                });
}

Index argmax(const Tensor& x, int dim) {
  const int d = filled("argmax", x, dim);
  Index at(static_cast<size_t>(x.size() / x.dim(d)));
  largest(x, d, at.data(), nullptr);
  return at;
}

Tensor broadcast_to(const Tensor& x, const Shape& shape) {
  bool fits = x.rank() <= shape.rank;
  for (int i = 1; fits && i <= x.rank(); ++i) fits = x.dim(-i) == shape[-i] || x.dim(-i) == 1;
  if (!fits) fail("broadcast_to", "{} does not repeat to {}", x.shape().str(), shape.str());
  Tensor y(shape);
  detail::repeat_to(x, y);
  return record({"broadcast_to", {{"shape", shape}}}, y, {&x},
                [in = x.slot()](const Tensor& dy, Back& back) { detail::add_summed(back, in, dy); });
}

}  // namespace TESSERA_NS
}  // namespace tessera
