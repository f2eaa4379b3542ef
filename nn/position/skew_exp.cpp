// The exponential of matrices by scaling and squaring, of products alone, so that the tape differentiates it.
//   e^A = (T(A / 2^s))^(2^s),   T the Taylor polynomial of degree 12, s the least for which |A / 2^s|_1 <= 1/4: the rest of the series is
//   below 1e-17 of the sum, far less than rounding
//   T(X) = (c_0 + c_1 X + c_2 X^2 + c_3 X^3) + X^4 ((c_4 + ... + c_7 X^3) + X^4 (c_8 + ... + c_12 X^4)),   c_k = 1 / k!
//   cost: 5 + s products of b x b matrices; A = 0, where generators often start, has s = 0
#include "tessera/nn/position/skew_exp.h"

#include <algorithm>
#include <cmath>

#include "tessera/core/ops/arithmetic.h"
#include "tessera/core/ops/matmul.h"
#include "tessera/core/ops/permute.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

Tensor product(const Tensor& a, const Tensor& b) { return matmul(a, b, false, false, Precision::f32); }

/// The largest sum of absolute values in a row of any of the matrices: for skew-symmetric ones the 1-norm, too.
double largest_norm(const Tensor& A) {
  const int64_t b = A.dim(-1), rows = b ? A.size() / b : 0;
  double most = 0;
  for (int64_t i = 0; i < rows; ++i) {
    double sum = 0;
    for (int64_t c = 0; c < b; ++c) sum += std::abs(static_cast<double>(A[i * b + c]));
    most = std::max(most, sum);
  }
  return most;
}

int squarings(double norm) {
  constexpr int most = 60;  // an infinite or absurd norm: the result is no number anyhow
  int s = 0;
  while (s < most && norm > 0.25) norm /= 2, ++s;
  return s;
}

Tensor identity(int b) {
  Tensor I = zeros({b, b});
  for (int64_t i = 0; i < b; ++i) I[i * b + i] = 1;
  return I;
}

}  // namespace

Tensor skew_exp(const Tensor& A) {
  if (A.rank() < 2 || A.dim(-1) != A.dim(-2))
    fail("skew_exp", "{} is no stack of square matrices (..., b, b)", A.shape().str());
  const int s = squarings(largest_norm(A));
  const Tensor X = s ? scale(A, std::ldexp(1.0, -s)) : A, I = identity(A.dim(-1));
  const Tensor X2 = product(X, X), X3 = product(X2, X), X4 = product(X2, X2);
  const auto four = [&](int k) {  // c_k + c_k+1 X + c_k+2 X^2 + c_k+3 X^3
    const auto c = [](int n) { return 1 / std::tgamma(n + 1.0); };
    return c(k) * I + c(k + 1) * X + c(k + 2) * X2 + c(k + 3) * X3;
  };
  const Tensor high = four(8) + (1 / std::tgamma(13.0)) * X4;
  Tensor y = four(0) + product(X4, four(4) + product(X4, high));
  for (int i = 0; i < s; ++i) y = product(y, y);
  return y;
}

Tensor skew(const Tensor& X) {
  if (X.rank() < 2 || X.dim(-1) != X.dim(-2))
    fail("skew", "{} is no stack of square matrices (..., b, b)", X.shape().str());
  std::vector<int> order(static_cast<size_t>(X.rank()));
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int>(i);
  std::swap(order[order.size() - 1], order[order.size() - 2]);
  return X - permute(X, order);
}

}  // namespace TESSERA_NS
}  // namespace tessera
