#pragma once
#include <span>

#include "tessera/core/tape.h"

namespace tessera {
inline namespace TESSERA_NS {

/// Rows of a table by index: table (R, ...) and n indices -> (n, ...). Index -1 gives a row of zeros. The gradient is
/// scattered back. Throws Error on an index outside of the table.
Tensor embedding(const Tensor& table, std::span<const int32_t> index);

/// Entries of the last dimension by index: x (..., R) -> (..., m), y[r, j] = x[r, index[r mod P, j]]. `index` holds P
/// rows of m; the rows of x are P's multiple (one row of indices for all, or one per query). Index -1 gives 0. The
/// gradient is scattered back. Throws Error on an index outside of x, and if the rows do not fit.
Tensor gather(const Tensor& x, std::span<const int32_t> index, int m);

}  // namespace TESSERA_NS
}  // namespace tessera
