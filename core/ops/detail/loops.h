#pragma once
// Loop nests over a contiguous tensor and up to two strided companions: what broadcasting, permutations and reductions
// share.
#include "tessera/core/parallel.h"
#include "tessera/core/tape.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace detail {

/// extent[0..rank) of y, row-major, with the strides of companions a and b in elements (0: repeated). Extents of 1 are
/// dropped and dimensions that run on in both companions are joined, so that the last one is as long as it can be.
struct Loops {
  int rank = 0;
  std::array<int64_t, Shape::max_rank> extent{}, a{}, b{};

  void push(int64_t n, int64_t stride_a, int64_t stride_b) {
    if (n == 1) return;
    if (rank) {
      const auto last = static_cast<size_t>(rank - 1);
      if (a[last] == n * stride_a && b[last] == n * stride_b) {
        extent[last] *= n, a[last] = stride_a, b[last] = stride_b;
        return;
      }
    }
    const auto at = static_cast<size_t>(rank++);
    extent[at] = n, a[at] = stride_a, b[at] = stride_b;
  }
  int64_t inner() const { return rank ? extent[static_cast<size_t>(rank - 1)] : 1; }
  int64_t inner_a() const { return rank ? a[static_cast<size_t>(rank - 1)] : 1; }
  int64_t inner_b() const { return rank ? b[static_cast<size_t>(rank - 1)] : 1; }
  int64_t rows() const {
    int64_t n = 1;
    for (int i = 0; i + 1 < rank; ++i) n *= extent[static_cast<size_t>(i)];
    return n;
  }
};

/// f(row, offset in a, offset in b) for rows [from, to) of the nest without its last dimension.
template <class F>
void each_row(const Loops& l, int64_t from, int64_t to, F f) {
  std::array<int64_t, Shape::max_rank> at{};
  int64_t rest = from, oa = 0, ob = 0;
  for (int d = l.rank - 2; d >= 0; --d) {
    const auto i = static_cast<size_t>(d);
    at[i] = rest % l.extent[i], rest /= l.extent[i];
    oa += at[i] * l.a[i], ob += at[i] * l.b[i];
  }
  for (int64_t row = from; row < to; ++row) {
    f(row, oa, ob);
    for (int d = l.rank - 2; d >= 0; --d) {
      const auto i = static_cast<size_t>(d);
      oa += l.a[i], ob += l.b[i];
      if (++at[i] < l.extent[i]) break;
      oa -= l.a[i] * l.extent[i], ob -= l.b[i] * l.extent[i], at[i] = 0;
    }
  }
}
/// All rows; f must write disjoint ones.
template <class F>
void each_row(const Loops& l, F f) {
  parallel::rows(l.rows(), parallel::grain(l.inner()), [&](int64_t from, int64_t to) { each_row(l, from, to, f); });
}

/// The strides of a contiguous tensor of shape `s` seen as one of shape `y` (numpy's broadcasting): 0 where it repeats.
inline std::array<int64_t, Shape::max_rank> broadcast_strides(const Shape& s, const Shape& y) {
  std::array<int64_t, Shape::max_rank> strides{};
  int64_t stride = 1;
  for (int i = 1; i <= s.rank; ++i) {
    if (s[-i] != 1) strides[static_cast<size_t>(y.rank - i)] = stride;
    stride *= s[-i];
  }
  return strides;
}
inline Loops broadcast_loops(const Shape& y, const Shape& a, const Shape& b) {
  const auto sa = broadcast_strides(a, y), sb = broadcast_strides(b, y);
  Loops l;
  for (int i = 0; i < y.rank; ++i) l.push(y[i], sa[static_cast<size_t>(i)], sb[static_cast<size_t>(i)]);
  return l;
}

/// to = beta to + the column sums of x (rows, width)
void sum_rows(const real* x, real* to, real beta, int64_t rows, int64_t width);
/// to = beta to + the sum of `from` over the dimensions in which `shape` repeats (it broadcasts to from's shape).
void sum_to(const Tensor& from, const Shape& shape, real* to, real beta);
/// The opposite: y = x repeated to y's shape.
void repeat_to(const Tensor& x, Tensor& y);
/// Sends dx, of a shape that x's broadcasts to, to x: as it is, or summed.
void add_summed(Back& back, const Tensor& x, const Tensor& dx);

/// Dimension `dim` (negative: from the end) as an index. Throws Error if there is none.
int dimension(const char* op, const Tensor& x, int dim);
/// x seen as (outer, n, inner) around dimension `dim`.
struct Around {
  int64_t outer = 1, n = 1, inner = 1;
};
inline Around around(const Shape& s, int dim) {
  Around a;
  for (int i = 0; i < s.rank; ++i) (i < dim ? a.outer : i == dim ? a.n : a.inner) *= s[i];
  return a;
}

/// Room for n index values in pooled memory: what an op keeps of its indices for the backward pass.
Tensor indices(int64_t n);
inline int32_t* indices_of(const Tensor& t) { return static_cast<int32_t*>(static_cast<void*>(t.data())); }
/// A copy of `values` there.
Tensor save(std::span<const int32_t> values);

}  // namespace detail
}  // namespace TESSERA_NS
}  // namespace tessera
