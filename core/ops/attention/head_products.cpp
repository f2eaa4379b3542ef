// The products of one head, in fp32 and in bf16, and the operands they want: in bf16 pairs along the rows of A and across those of B
// (core/kernels/attention_bf16.h). In bf16 q, scale k, v, the weights, do and the gradients of the scores are rounded, after rotation,
// dropout and gates; scores, softmax, all sums and what relative terms multiply stay in fp32.
#include "tessera/core/ops/attention/head.h"

namespace tessera {
inline namespace TESSERA_NS {

void HeadWorker::lay_out_pairs(Arena& a) {
  if (!p.bf16) return;
  const int64_t pairs_of_rows = (p.rows + 1) / 2, pairs_of_keys = (p.m + 1) / 2;
  pairs.q = a.take<uint32_t>(p.rows * p.dh), pairs.kt = a.take<uint32_t>((p.d + 1) / 2 * p.mp);
  pairs.s = a.take<uint32_t>(p.rows * p.mh);
  if (!backward_) {
    pairs.v_across = a.take<uint32_t>(pairs_of_keys * p.dvp);
    return;
  }
  pairs.o = a.take<uint32_t>(p.rows * p.dvh), pairs.vt = a.take<uint32_t>((p.dv + 1) / 2 * p.mp);
  pairs.q_across = a.take<uint32_t>(pairs_of_rows * p.dp), pairs.o_across = a.take<uint32_t>(pairs_of_rows * p.dvp);
  pairs.s_across = a.take<uint32_t>(pairs_of_rows * p.mp), pairs.k_across = a.take<uint32_t>(pairs_of_keys * p.dp);
}

/// Keys as the products want them, from rows of `from`.
void HeadWorker::pack_keys(Source from) {
  if (!p.bf16) return k.transpose_rows(from.x, from.stride, from.at, p.m, p.d, c.scale, kt, p.mp, from.ahead);
  k.bf16_transposed(from.x, from.stride, from.at, p.m, p.d, c.scale, pairs.kt, p.mp, from.ahead);
  if (backward_) k.bf16_across(from.x, from.stride, from.at, p.m, p.d, pairs.k_across, p.dp, 0);
}

void HeadWorker::pack_values(Source from) {
  if (p.bf16) {
    if (backward_) return k.bf16_transposed(from.x, from.stride, from.at, p.m, p.dv, 1, pairs.vt, p.mp, from.ahead);
    return k.bf16_across(from.x, from.stride, from.at, p.m, p.dv, pairs.v_across, p.dvp, from.ahead);
  }
  if (backward_) return k.transpose_rows(from.x, from.stride, from.at, p.m, p.dv, 1, vt, p.mp, from.ahead);
  if (from.x != v) k.gather_rows(from.x, from.stride, from.at, p.m, p.dv, v, p.dvp, from.ahead);
}

void HeadWorker::pack_queries(Source from, int64_t count) {
  if (!p.bf16) return;
  k.bf16_along(from.x, from.stride, from.at, count, p.d, pairs.q, p.dh, from.ahead);
  if (backward_) k.bf16_across(from.x, from.stride, from.at, count, p.d, pairs.q_across, p.dp, 0);
}

void HeadWorker::pack_outputs(Source from, int64_t count) {
  if (!p.bf16) return;
  k.bf16_along(from.x, from.stride, from.at, count, p.dv, pairs.o, p.dvh, from.ahead);
  k.bf16_across(from.x, from.stride, from.at, count, p.dv, pairs.o_across, p.dvp, 0);
}

/// s = scale q k^T
void HeadWorker::multiply_keys(const Block& at) {
  if (!p.bf16) return k.product(at.count, p.m, p.d, q_rows, ldq, kt, p.mp, s, p.mp, false);
  k.bf16_product(at.count, p.m, (p.d + 1) / 2, pairs.q, p.dh, pairs.kt, p.mp, s, p.mp, false);
}

/// s as the next product reads it
void HeadWorker::round_weights(const Block& at) {
  if (p.bf16) k.bf16_along(s, p.mp, nullptr, at.count, p.m, pairs.s, p.mh, 0);
}

/// o = s v
void HeadWorker::multiply_values(const Block& at) {
  if (!p.bf16) return k.product(at.count, p.dv, p.m, s, p.mp, v, p.dvp, o, p.dvp, false);
  k.bf16_product(at.count, p.dv, (p.m + 1) / 2, pairs.s, p.mh, pairs.v_across, p.dvp, o, p.dvp, false);
}

/// ds = do v^T, or +=
void HeadWorker::weights_backward(const Block& at, bool add) {
  if (!p.bf16) return k.product(at.count, p.m, p.dv, o, p.dvp, vt, p.mp, ds, p.mp, add);
  k.bf16_product(at.count, p.m, (p.dv + 1) / 2, pairs.o, p.dvh, pairs.vt, p.mp, ds, p.mp, add);
}

/// s as the next product reads it
void HeadWorker::round_weights_backward(const Block& at) {
  if (p.bf16) k.bf16_across(s, p.mp, nullptr, at.count, p.m, pairs.s_across, p.mp, 0);
}

/// dv = s^T do, or += from the second block on
void HeadWorker::values_product_backward(const Block& at) {
  const bool add = at.index > 0;
  if (!p.bf16) return k.product_tn(p.m, p.dv, at.count, s, p.mp, o, p.dvp, dv, p.dvp, add);
  k.bf16_product_tn(p.m, p.dv, (at.count + 1) / 2, pairs.s_across, p.mp, pairs.o_across, p.dvp, dv, p.dvp, add);
}

/// dq = d k, dk = d^T q, or += from the second block on
void HeadWorker::scores_backward(const Block& at, const real* d) {
  const bool add = at.index > 0;
  if (!p.bf16) {
    k.product(at.count, p.d, p.m, d, p.mp, key, p.dp, dq, p.dp, false);
    return k.product_tn(p.m, p.d, at.count, d, p.mp, q, p.dp, dk, p.dp, add);
  }
  k.bf16_along(d, p.mp, nullptr, at.count, p.m, pairs.s, p.mh, 0);
  k.bf16_across(d, p.mp, nullptr, at.count, p.m, pairs.s_across, p.mp, 0);
  k.bf16_product(at.count, p.d, (p.m + 1) / 2, pairs.s, p.mh, pairs.k_across, p.dp, dq, p.dp, false);
  k.bf16_product_tn(p.m, p.d, (at.count + 1) / 2, pairs.s_across, p.mp, pairs.q_across, p.dp, dk, p.dp, add);
}

}  // namespace TESSERA_NS
}  // namespace tessera
