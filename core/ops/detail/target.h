#pragma once
// Where a gradient goes that an op makes element by element.
#include "tessera/core/tape.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace detail {

/// Nowhere if nobody wants it. Every element is put exactly once: the first gradient of a tensor overwrites what its memory held.
struct Target {
  Sink sink{nullptr, 0};
  Target(const Tensor& x, Back& back) {
    if (x && back.wants(x)) sink = back.into(x);
  }
  explicit operator bool() const { return sink.to != nullptr; }
  void put(int64_t i, real v) const { sink.to[i] = sink.beta == 0 ? v : sink.to[i] + v; }
};

}  // namespace detail
}  // namespace TESSERA_NS
}  // namespace tessera
