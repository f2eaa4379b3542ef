// Jacobi's method: rotate in the plane of one pair (p, q) after the other so that a_pq becomes 0. What is off the diagonal shrinks, in the
// end quadratically, and the rotations together are the eigenvectors. O(n^3) a sweep, a dozen sweeps: right for a dozen rows, where it is
// as exact as LAPACK's and takes a page less than calling it.
//
//   theta = (a_qq - a_pp) / (2 a_pq),   t = sign(theta) / (|theta| + sqrt(theta^2 + 1)),   c = 1 / sqrt(t^2 + 1),   s = t c
#include "tessera/core/symmetric_eigen.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tessera/core/error.h"

namespace tessera {
namespace {

struct Square {
  std::vector<double> of;
  size_t n;
  double& operator()(size_t i, size_t j) { return of[i * n + j]; }
  double* row(size_t i) { return of.data() + i * n; }
};

/// Rows x and y become c x - s y and s x + c y.
void rotate(double* x, double* y, size_t n, size_t stride, double c, double s) {
  for (size_t k = 0; k < n * stride; k += stride) {
    const double u = x[k], v = y[k];
    x[k] = c * u - s * v, y[k] = s * u + c * v;
  }
}

void eliminate(Square& a, Square& v, size_t p, size_t q) {
  const double theta = (a(q, q) - a(p, p)) / (2 * a(p, q));
  const double t = (theta < 0 ? -1 : 1) / (std::abs(theta) + std::hypot(theta, 1));
  const double c = 1 / std::hypot(t, 1), s = t * c;
  rotate(a.row(p), a.row(q), a.n, 1, c, s);                  // J^T A
  rotate(a.of.data() + p, a.of.data() + q, a.n, a.n, c, s);  // (J^T A) J
  rotate(v.row(p), v.row(q), a.n, 1, c, s);
  a(p, q) = a(q, p) = 0;
}

}  // namespace

SymmetricEigen symmetric_eigen(std::vector<double> numbers, int n) {
  const auto size = static_cast<size_t>(std::max(n, 0));
  if (n < 1 || numbers.size() != size * size)
    fail("eigen", "{} numbers are no matrix of {} x {}", numbers.size(), n, n);
  if (!std::all_of(numbers.begin(), numbers.end(), [](double x) { return std::isfinite(x); }))
    fail("eigen", "a number of the matrix is not finite");
  Square a{std::move(numbers), size}, v{std::vector<double>(size * size), size};
  double all = 0;
  for (size_t i = 0; i < size; ++i) {
    v(i, i) = 1;
    for (size_t j = i; j < size; ++j) a(j, i) = a(i, j), all += a(i, j) * a(i, j);
  }
  constexpr int most_sweeps = 60;  // never seen more than a dozen
  for (int sweep = 0; sweep < most_sweeps; ++sweep) {
    double off = 0;
    for (size_t p = 0; p < size; ++p)
      for (size_t q = p + 1; q < size; ++q) off += a(p, q) * a(p, q);
    if (off <= 1e-32 * all) break;
    for (size_t p = 0; p < size; ++p)
      for (size_t q = p + 1; q < size; ++q)
        if (a(p, q) != 0) eliminate(a, v, p, q);
  }
  std::vector<size_t> order(size);
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, {}, [&](size_t k) { return a(k, k); });
  SymmetricEigen e;
  for (const size_t k : order) {
    const double* const row = v.row(k);
    const double* const most =
        std::max_element(row, row + size, [](double x, double y) { return std::abs(x) < std::abs(y); });
    e.values.push_back(a(k, k));
    for (size_t j = 0; j < size; ++j) e.vectors.push_back(*most < 0 ? -row[j] : row[j]);
  }
  return e;
}

}  // namespace tessera
