#pragma once
#include <stdint.h>

#include "tessera/core/real.h"

namespace tessera {
inline namespace TESSERA_NS {

/// Arithmetic on arrays of n, and the sums and the transpose beside it.
struct ElementwiseKernels {
  /// y += x
  void (*accumulate)(const real* x, real* y, int64_t n);
  /// y = a + b
  void (*add)(const real* a, const real* b, real* y, int64_t n);
  /// y = a - b
  void (*sub)(const real* a, const real* b, real* y, int64_t n);
  /// y = a b
  void (*mul)(const real* a, const real* b, real* y, int64_t n);
  /// y = a / b
  void (*div)(const real* a, const real* b, real* y, int64_t n);
  /// y = a / b, where b is one number.
  void (*div_by)(const real* a, real b, real* y, int64_t n);
  /// y = a / b, where a is one number.
  void (*div_of)(real a, const real* b, real* y, int64_t n);
  /// y = beta y + a b
  void (*add_product)(const real* a, const real* b, real* y, real beta, int64_t n);
  /// y (rows, cols) = x^T, where x (cols, rows) has rows of ld.
  void (*transpose)(const real* x, int64_t ld, real* y, int64_t rows, int64_t cols);
  /// y[0] = the sum of x
  void (*sum_all)(const real* x, real* y, int64_t n);
  /// y = beta y + column sums of x (rows x width), whose rows are `ld` apart
  void (*sum_rows)(const real* x, int64_t ld, real* y, real beta, int64_t rows, int64_t width);
};

}  // namespace TESSERA_NS
}  // namespace tessera
