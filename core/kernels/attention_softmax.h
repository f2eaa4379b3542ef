#pragma once
#include <stdint.h>

#include "tessera/core/real.h"

namespace tessera {
inline namespace TESSERA_NS {

/// A block of scores to weights and back: s, p, d (rows x ld), where ld is whole vectors.
struct AttentionSoftmaxKernels {
  /// s + bias + column -> e^(s - shift), with shift, the maximum, and 1 / sum per row; bias (rows x ld) may be null;
  /// column (ld) counts from vector `from`; -inf in one of them hides the pair whatever s is; a row of -inf: zeros.
  void (*softmax_rows)(real* s, int64_t ld, int64_t rows, const real* bias, const real* column, int64_t from,
                       real* shift, real* inverse);
  /// s + bias + column -> e^(s - shift) inverse, from what softmax_rows left.
  void (*weight_rows)(real* s, int64_t ld, int64_t rows, const real* bias, const real* column, int64_t from,
                      const real* shift, const real* inverse);
  /// d = p (d - sum_j p d); p times the factors of pair_drop are its caller's.
  void (*dscore_rows)(const real* p, real* d, int64_t ld, int64_t rows);
};

}  // namespace TESSERA_NS
}  // namespace tessera
