#pragma once
#include "tessera/core/tape.h"

namespace tessera {
inline namespace TESSERA_NS {

/// The sum over the given dimensions (negative: from the end), all of them if none is given. keepdim leaves extents of
/// 1 in their place.
Tensor sum(const Tensor& x, std::initializer_list<int> dims = {}, bool keepdim = false);
/// The mean over the given dimensions. Throws Error if there is nothing to average.
Tensor mean(const Tensor& x, std::initializer_list<int> dims = {}, bool keepdim = false);

/// The largest value along `dim`; the gradient goes to the first of equal ones; NaN wins. Throws Error on an empty
/// dimension.
Tensor max(const Tensor& x, int dim, bool keepdim = false);
/// Where that value is: plain host data, no gradient. In the order of x's other dimensions.
Index argmax(const Tensor& x, int dim);

/// x repeated to a shape that it broadcasts to (numpy's rule). Throws Error if it does not.
Tensor broadcast_to(const Tensor& x, const Shape& shape);

}  // namespace TESSERA_NS
}  // namespace tessera
