#pragma once
// What the two attentions share: one checked call, who sees whom, and which weights are dropped. Internal to core/ops.
#include <algorithm>

#include "tessera/core/ops/attention/attention.h"
#include "tessera/core/precision.h"

namespace tessera {

/// The random bits of one pair, for dropout. `row` names (seed, step, sample, key, head, query token). A 32-bit mixer in two
/// keyed rounds, because it is drawn once per pair and vectorises (its multipliers are those of Wellons' low-bias
/// search).
inline uint32_t pair_bits(uint64_t row, int32_t key_token) {
  uint32_t x = static_cast<uint32_t>(row) + static_cast<uint32_t>(key_token) * 0x9e3779b9u;
  x = (x ^ (x >> 16)) * 0x7feb352du;
  x ^= static_cast<uint32_t>(row >> 32);
  x = (x ^ (x >> 15)) * 0x846ca68bu;
  return x ^ (x >> 16);
}

inline namespace TESSERA_NS {

/// One call, checked, with everything its backward needs. Pattern and RelativeIndex are held by value: they live as long as this.
struct Call {
  Heads q, k, v;
  Pattern who;
  Terms where;
  real scale;
  DropoutSpec dropout;
  Run run;
  Tensor lengths;  ///< (B) token counts, or empty
  /// Products in bf16? The process's precision when the call was made; the double twin rounds nothing.
  bool bf16 = sizeof(real) == sizeof(float) && precision() == Precision::bf16;

  /// Throws Error "[attention] ..." if the terms do not fit the query.
  Call(const Query& query, const Terms& where, const Run& run);

  int batch() const { return q.x.dim(0); }
  bool drops() const { return run.training() && dropout.p > 0; }
  int length(int b) const { return lengths ? static_cast<int>(lengths[b]) : k.tokens; }
  /// Are absent keys zero keys and values? So are those beyond a sample's length then: a sample has the same keys in any company.
  bool zero_keys() const { return who->absent == Pattern::Absent::zero_key; }
  bool rotates() const { return static_cast<bool>(where.rotary.cos_q); }

  /// How query slot i of group g sees key slot j, in sample b and head h.
  enum class Sight { none, full, penalised };
  Sight sight(int b, int g, int h, int i, int j) const {
    const Pattern::Spec& p = *who;
    const auto qi = static_cast<size_t>(g) * static_cast<size_t>(p.n) + static_cast<size_t>(i);
    const auto kj = static_cast<size_t>(g) * static_cast<size_t>(p.m) + static_cast<size_t>(j);
    const int tq = p.q[qi], tk = p.k[kj];
    if (tq < 0 || ((tk < 0 || tk >= length(b)) && !zero_keys())) return Sight::none;
    if (where.visible && !where.visible.sees(h, i, j)) return Sight::none;
    const bool masked = (!p.label_q.empty() && p.label_q[qi] != p.label_k[kj]) || (p.causal && tk > tq + p.offset) ||
                        (p.no_self && tk == tq);
    return !masked ? Sight::full : p.mask_value != 0 ? Sight::penalised : Sight::none;
  }

  /// Names the dropout of one query: see pair_bits(). An absent key that counts (zero_key) goes by k.tokens + its slot.
  uint64_t row(int b, int h, int query_token) const {
    return stream(run, dropout.key, b).bits((static_cast<uint64_t>(h) << 32) | static_cast<uint32_t>(query_token));
  }
  uint32_t threshold() const { return static_cast<uint32_t>(std::min(dropout.p * 0x1p32, 4294967295.0)); }
  real kept() const { return static_cast<real>(1 / (1 - dropout.p)); }

  /// All tensors a gradient may flow to: q, k, v, four of the rotation, the tables and side projections.
  using List = std::array<const Tensor*, 7 + 2 * Terms::most>;
  std::span<const Tensor* const> inputs(List& to) const {
    size_t n = 0;
    for (const Tensor* t :
         {&q.x, &k.x, &v.x, &where.rotary.cos_q, &where.rotary.sin_q, &where.rotary.cos_k, &where.rotary.sin_k})
      to[n++] = t;
    for (int t = 0; t < where.count; ++t) {
      const Relative& r = where.relative[static_cast<size_t>(t)];
      to[n++] = &r.table;
      if (r.side) to[n++] = &r.side.x;
    }
    return {to.data(), n};
  }
  double macs() const;
};

/// Is the gradient of these two handles the same buffer?
inline bool same_gradient(const Tensor& a, const Tensor& b) { return a.same_gradient(b); }

}  // namespace TESSERA_NS
}  // namespace tessera
