#pragma once
// Eigenvectors of a small symmetric matrix. Free of `real`.
#include <vector>

namespace tessera {

/// A = sum_k values[k] v_k v_k^T, v_k being row k of `vectors`.
struct SymmetricEigen {
  std::vector<double> values;   ///< (n), ascending
  std::vector<double> vectors;  ///< (n, n), row-major, orthonormal rows; the largest component of each is positive
};

/// Of a (n, n), row-major, of which the upper triangle is read. Throws Error unless a has n^2 numbers, all finite.
SymmetricEigen symmetric_eigen(std::vector<double> a, int n);

}  // namespace tessera
