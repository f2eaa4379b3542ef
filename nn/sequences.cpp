#include "tessera/nn/sequences.h"

#include "tessera/core/memo.h"
#include "tessera/core/ops/arithmetic.h"
#include "tessera/core/ops/keep_valid.h"
#include "tessera/core/ops/reduce.h"

namespace tessera {
inline namespace TESSERA_NS {

Pattern causal_pattern(int n) {
  static Memo<int, Pattern> memo;
  return memo(n, [&] {
    Pattern::Spec p = *global_pattern(n, n);
    p.causal = true;
    return Pattern(p);
  });
}

Tensor mean_of_valid(const Tensor& x, const Ints& lengths) {
  if (!lengths) return mean(x, {1});
  const Tensor total = sum(keep_valid(x, lengths), {1});
  Tensor share = zeros({x.dim(0), 1});
  for (int b = 0; b < x.dim(0); ++b)
    if (const int n = lengths[static_cast<size_t>(b)]; n > 0) share[b] = real(1) / static_cast<real>(n);
  return mul(total, share);
}

}  // namespace TESSERA_NS
}  // namespace tessera
