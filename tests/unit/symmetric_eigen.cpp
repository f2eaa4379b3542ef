// Eigenvectors of symmetric matrices, by what they are.
#include "tessera/core/symmetric_eigen.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "tessera/core/rng.h"
#include "tests/error_of.h"

using namespace tessera;

namespace {

std::vector<double> symmetric(size_t n, uint64_t seed) {
  const rng::Stream random(seed);
  std::vector<double> a(n * n);
  for (size_t i = 0; i < n; ++i)
    for (size_t j = i; j < n; ++j) a[i * n + j] = a[j * n + i] = random.normal(i * n + j);
  return a;
}

/// The largest number of A v_k - l_k v_k and of V V^T - 1.
double residual(const std::vector<double>& a, const SymmetricEigen& e, size_t n) {
  double most = 0;
  for (size_t k = 0; k < n; ++k)
    for (size_t i = 0; i < n; ++i) {
      double image = -e.values[k] * e.vectors[k * n + i], product = i == k ? -1 : 0;
      for (size_t j = 0; j < n; ++j)
        image += a[i * n + j] * e.vectors[k * n + j], product += e.vectors[k * n + j] * e.vectors[i * n + j];
      most = std::max({most, std::abs(image), std::abs(product)});
    }
  return most;
}

}  // namespace

TEST_CASE("eigen: A v = l v with orthonormal v, in ascending order, whatever the size") {
  for (const size_t n : {1, 2, 3, 12, 27, 64}) {
    CAPTURE(n);
    const auto a = symmetric(n, 7 + n);
    const SymmetricEigen e = symmetric_eigen(a, static_cast<int>(n));
    REQUIRE(e.values.size() == n);
    REQUIRE(e.vectors.size() == n * n);
    CHECK(residual(a, e, n) < 1e-12 * static_cast<double>(n));
    CHECK(std::ranges::is_sorted(e.values));
  }
}

TEST_CASE("eigen: what is known of small, diagonal, degenerate and extreme matrices") {
  const SymmetricEigen two = symmetric_eigen({2, 1, 1, 2}, 2);
  CHECK(two.values[0] == doctest::Approx(1).epsilon(1e-15));
  CHECK(two.values[1] == doctest::Approx(3).epsilon(1e-15));
  for (const double v : {two.vectors[2], two.vectors[3]}) CHECK(v == doctest::Approx(std::sqrt(0.5)).epsilon(1e-15));
  const SymmetricEigen diagonal = symmetric_eigen({3, 0, 0, 0, -1, 0, 0, 0, 2}, 3);
  CHECK(diagonal.values == std::vector<double>{-1, 2, 3});
  CHECK(diagonal.vectors == std::vector<double>{0, 1, 0, 0, 0, 1, 1, 0, 0});
  const std::vector<double> ones(144, 1.0);  // 12, and 0 eleven times
  const SymmetricEigen rank_one = symmetric_eigen(ones, 12);
  CHECK(rank_one.values[11] == doctest::Approx(12).epsilon(1e-14));
  CHECK(residual(ones, rank_one, 12) < 1e-13);
  CHECK(symmetric_eigen(std::vector<double>(9), 3).values == std::vector<double>(3));
  std::vector<double> graded = symmetric(6, 3);  // sizes over 24 orders of magnitude
  for (size_t i = 0; i < 6; ++i)
    for (size_t j = 0; j < 6; ++j) graded[i * 6 + j] *= std::pow(10.0, -2.0 * static_cast<double>(i + j));
  CHECK(residual(graded, symmetric_eigen(graded, 6), 6) < 1e-13);
}

TEST_CASE("eigen: what is no matrix of numbers is refused") {
  CHECK(test::error_of([] { symmetric_eigen({1, 2, 3}, 2); }).find("3 numbers") != std::string::npos);
  CHECK(!test::error_of([] { symmetric_eigen({}, 0); }).empty());
  const double nan = std::numeric_limits<double>::quiet_NaN();
  CHECK(test::error_of([&] { symmetric_eigen({1, nan, nan, 1}, 2); }).find("not finite") != std::string::npos);
}
