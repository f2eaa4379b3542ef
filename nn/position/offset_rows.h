#pragma once
#include <cstdlib>

#include "tessera/core/ops/embedding.h"
#include "tessera/nn/position/pairs.h"

namespace tessera {

/// What offsets have that a table was not made for: the row of the nearest one it knows, or zeros.
enum class Beyond { border, nothing };

inline namespace TESSERA_NS {

/// A table (2 was + 1, ...) of the offsets -was..was as it is for -is..is -> (2 is + 1, ...). A call that clips its offsets, or leaves out
/// those beyond, then reads the same numbers. Throws Error if the table is not of that size.
inline Tensor offset_rows(const Tensor& t, int was, int is, Beyond beyond) {
  if (was == is) return t;
  if (t.dim(0) != 2 * was + 1)
    fail("position", "a table of {} does not hold the offsets -{} to {}", t.shape().str(), was, was);
  std::vector<int32_t> rows;
  for (int o = -is; o <= is; ++o)
    rows.push_back(std::abs(o) > was && beyond == Beyond::nothing ? -1 : clip(o, was) + was);
  return embedding(t, rows);
}

}  // namespace TESSERA_NS
}  // namespace tessera
