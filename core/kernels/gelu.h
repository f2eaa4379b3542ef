#pragma once
#include <stdint.h>

#include "tessera/core/real.h"

namespace tessera {
inline namespace TESSERA_NS {

/// GELU where its slope is kept; gelu itself and its backward are in unary.h.
struct GeluKernels {
  /// y = gelu(x) and slope = gelu'(x), so that backward is one product; y may be x.
  void (*gelu_and_slope)(const real* x, real* y, real* slope, int64_t n);
};

}  // namespace TESSERA_NS
}  // namespace tessera
