#pragma once
#include <stdint.h>

#include "tessera/core/real.h"

namespace tessera {
inline namespace TESSERA_NS {

/// The cells of one window of a channels-last map, all inside of it: rows x columns, `row` reals from one row of cells to the next.
struct PoolWindow {
  int64_t rows, columns, row, C;
};

/// Pooling, one window of all channels a call.
struct PoolKernels {
  /// y[c] = the sum of the window's cells / count
  void (*pool_average)(const PoolWindow& w, const real* x, real count, real* y);
  /// dx[cell, c] += share dy[c]
  void (*pool_average_backward)(const PoolWindow& w, const real* dy, real share, real* dx);
  /// y[c] = the largest, the first of equal ones or the first NaN; best[c] = its cell's number, `first` being that of the window's
  /// first cell and `step` what the next row's is larger by. Without a cell y = -inf.
  void (*pool_max)(const PoolWindow& w, const real* x, real first, real step, real* y, real* best);
};

}  // namespace TESSERA_NS
}  // namespace tessera
