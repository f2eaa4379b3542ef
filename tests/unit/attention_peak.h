#pragma once
// Attention under a tape that watches everything, and the memory it takes: for a test and for a bench.
#include "tessera/core/memory.h"
#include "tessera/core/ops/attention/attention.h"

namespace tessera::test {

/// The terms with every table watched by `tape`.
inline Terms watched(Tape& tape, Terms terms) {
  for (int t = 0; t < terms.count; ++t) {
    Tensor& table = terms.relative[static_cast<size_t>(t)].table;
    table = tape.watch(table);
  }
  return terms;
}

/// Peak pool bytes of forward and backward with gradients of q, k, v and every table; inputs and gradients included, what others hold
/// meanwhile (tables that are remembered) not.
/// look(tape, terms) sees the gradients before they go.
template <class Look>
int64_t attention_peak(const Tensor& qkv, const Tensor& dy, int H, const Terms& where, Look look) {
  const int N = qkv.dim(1);
  const int64_t others = Pool::total().live - (qkv.size() + dy.size()) * int64_t{sizeof(real)};
  Pool::reset_peaks();
  Tape tape;
  Grads grads;
  const Tensor x = tape.watch(qkv);
  const Terms own = watched(tape, where);
  const Tensor o =
      attention({heads(x, H, 0, 3), heads(x, H, 1, 3), heads(x, H, 2, 3), global_pattern(N, N), 0.2}, own, {});
  tape.backward(o, dy, grads);
  look(tape, own);
  return Pool::total().peak - others;
}

}  // namespace tessera::test
