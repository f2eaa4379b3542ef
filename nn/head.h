#pragma once
// The end of a classifier.
#include <optional>

#include "tessera/nn/layers.h"

namespace tessera {
inline namespace TESSERA_NS {

/// features (..., dim) -> logits (..., classes). classes = 0: no layer, the features are the answer (timm's num_classes = 0).
struct Head {
  std::optional<Linear> fc;
  Head(const Scope& s, int dim, int classes, LinearInit init = {}) {
    if (classes > 0) fc.emplace(s, dim, classes, true, init);
  }
  Tensor operator()(const Run& run, const Tensor& x) const { return fc ? (*fc)(run, x) : x; }
};

}  // namespace TESSERA_NS
}  // namespace tessera
