#pragma once
#include <stdint.h>

#include "tessera/core/real.h"

namespace tessera {
inline namespace TESSERA_NS {

/// Softmax and its kin, per row of width C.
struct SoftmaxKernels {
  /// y = e^x / sum e^x
  void (*softmax)(const real* x, real* y, int64_t rows, int64_t C);
  /// dx = beta dx + y (dy - sum dy y)
  void (*softmax_backward)(const real* y, const real* dy, real* dx, real beta, int64_t rows, int64_t C);
  /// y = x - ln sum e^x
  void (*log_softmax)(const real* x, real* y, int64_t rows, int64_t C);
  /// dx = beta dx + dy - e^y sum dy
  void (*log_softmax_backward)(const real* y, const real* dy, real* dx, real beta, int64_t rows, int64_t C);
  /// lse[row] = ln sum e^x
  void (*logsumexp)(const real* x, real* lse, int64_t rows, int64_t C);
  /// y = beta y + a e^(x - lse) + c, on n elements.
  void (*add_exp)(const real* x, real lse, real a, real c, real* y, real beta, int64_t n);
  /// y = x / max(|x|, eps), inverse[row] = 1 / max(|x|, eps)
  void (*normalize)(const real* x, real* y, real* inverse, real eps, int64_t rows, int64_t C);
  /// dx = beta dx + (dy - y sum dy y) inverse, without the sum below eps.
  void (*normalize_backward)(const real* y, const real* inverse, real eps, const real* dy, real* dx, real beta,
                             int64_t rows, int64_t C);
};

}  // namespace TESSERA_NS
}  // namespace tessera
