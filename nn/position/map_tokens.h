#pragma once
#include "tessera/core/ops/concat.h"
#include "tessera/core/ops/slice.h"
#include "tessera/nn/position.h"

namespace tessera {
inline namespace TESSERA_NS {

/// Applies f, which maps (B, h, w, C) to the same shape, to the patch tokens of x (B, prefix + h w, C); class tokens pass by.
template <class F>
Tensor on_map(const Tensor& x, const Grid& now, F f) {
  const auto [B, N, C] = x.dims<3>();
  if (N != now.tokens())
    fail("position", "{} tokens on a {}x{} grid with {} class tokens", N, now.h, now.w, now.prefix);
  if (!now.prefix) return f(x.reshape({B, now.h, now.w, C})).reshape({B, N, C});
  const Tensor map = f(slice(x, 1, now.prefix, N).reshape({B, now.h, now.w, C}));
  return concat({slice(x, 1, 0, now.prefix), map.reshape({B, now.h * now.w, C})}, 1);
}

}  // namespace TESSERA_NS
}  // namespace tessera
