#pragma once
#include "tessera/core/tape.h"

namespace tessera {
inline namespace TESSERA_NS {

/// Adds a table to the tokens of every sample, from row `first` on (the rows before it, class tokens, are only scaled).
/// y[b, t] = scale x[b, t] + table[t - first].  x (B, N, C), table (..., N - first, C) in memory -> (B, N, C).
/// Throws Error if the table has not N - first rows.
Tensor add_table(const Tensor& x, const Tensor& table, int first = 0, double scale = 1);

}  // namespace TESSERA_NS
}  // namespace tessera
