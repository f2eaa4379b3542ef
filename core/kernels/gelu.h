#pragma once
#include <stdint.h>

#include "tessera/core/real.h"

namespace tessera {
inline namespace TESSERA_NS {

/// GELU where its slope is kept; gelu itself and its backward are in unary.h.
struct GeluKernels {
  /// y = gelu(x) and slope = gelu'(x), so that backward is one product; y may be x.
  void (*gelu_and_slope)(const real* x, real* y, real* slope, int64_t n);
  /// x *= slope (rows x width) in place and sums = beta sums + column sums of the result; sums may be null.
  void (*scale_and_sum_rows)(const real* slope, real* x, real* sums, real beta, int64_t rows, int64_t width);
};

}  // namespace TESSERA_NS
}  // namespace tessera
