//   y[b,t] = x[b,t] for t < lengths[b], else 0          dx[b,t] = dy[b,t] for t < lengths[b], else 0          saved: lengths
// A copy and no product with a mask: 0 times the NaN of a padded frame would be NaN.
#include "tessera/core/ops/keep_valid.h"

#include <algorithm>

namespace tessera {
inline namespace TESSERA_NS {
namespace {

/// to = beta to + the valid rows of from
void keep(const real* from, const Shape& shape, const Ints& lengths, real* to, real beta) {
  const int64_t T = shape[1], row = T ? shape.size() / shape[0] / T : 0;
  for (int b = 0; b < shape[0]; ++b, from += T * row, to += T * row) {
    const int64_t valid = lengths[static_cast<size_t>(b)] * row;
    for (int64_t i = 0; i < valid; ++i) to[i] = beta == 0 ? from[i] : to[i] + from[i];
    if (beta == 0) std::fill(to + valid, to + T * row, real(0));
  }
}

}  // namespace

Tensor keep_valid(const Tensor& x, const Ints& lengths) {
  if (!lengths) return x;
  if (x.rank() < 2) fail("keep_valid", "needs (B, T, ...), got {}", x.shape().str());
  if (lengths.size() != static_cast<size_t>(x.dim(0)))
    fail("keep_valid", "{} lengths for the samples of {}", lengths.size(), x.shape().str());
  for (const int32_t length : lengths)
    if (length < 0 || length > x.dim(1))
      fail("keep_valid", "length {} of {}, expected 0 to {}", length, x.shape().str(), x.dim(1));
  Tensor y(x.shape());
  if (y.size()) keep(x.data(), x.shape(), lengths, y.data(), 0);
  return record({"keep_valid", {{"lengths", lengths.view()}}}, y, {&x},
                [shape = x.shape(), in = x.slot(), lengths](const Tensor& dy, Back& back) {
                  const auto [dx, beta] = back.into(in);
                  keep(dy.data(), shape, lengths, dx, beta);
                });
}

}  // namespace TESSERA_NS
}  // namespace tessera
