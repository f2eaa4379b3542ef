#pragma once
#include <vector>

#include "tessera/core/tape.h"

namespace tessera {
inline namespace TESSERA_NS {

/// A copy of [start, end) along `dim`; negative positions and dimensions count from the end. Throws Error on a range
/// that is not inside.
Tensor slice(const Tensor& x, int dim, int start, int end);

/// Equal parts along `dim`. Throws Error if the extent does not divide.
std::vector<Tensor> split(const Tensor& x, int parts, int dim);

/// One position of `dim`, which disappears: select_row(x, 1, 0) takes the class token (B,C) out of (B,N,C).
Tensor select_row(const Tensor& x, int dim, int at);

}  // namespace TESSERA_NS
}  // namespace tessera
