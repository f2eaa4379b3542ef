#pragma once
#include "tessera/core/tape.h"

namespace tessera {

/// Geometry of a pooling as in torch.nn.AvgPool2d: kernel, stride, zero padding, ceil_mode; windows that start in the right padding
/// are dropped.
struct PoolOptions {
  int kernel = 2, stride = 2, padding = 0;
  bool ceil_mode = false;
  bool count_include_pad = true;  ///< average only: do padded cells count in the divisor?
};

inline namespace TESSERA_NS {

/// Mean over windows of a map: x (B,H,W,C) -> (B,Ho,Wo,C).
Tensor avg_pool2d(const Tensor& x, const PoolOptions& options);
/// Maximum over windows; the gradient goes to the first largest cell. Padding counts as minus infinity.
Tensor max_pool2d(const Tensor& x, const PoolOptions& options);
/// Mean over bins [floor(i H / h), ceil((i + 1) H / h)): x (B,H,W,C) -> (B,h,w,C).
Tensor adaptive_avg_pool2d(const Tensor& x, int h, int w);

}  // namespace TESSERA_NS
}  // namespace tessera
