#pragma once
// Attention without softmax, so that the keys can be summed before a query asks: O(N d^2) instead of O(N^2 d).
#include "tessera/core/ops/attention/attention.h"

namespace tessera {

/// How alike a query and a key are, sim(q, k) = f(q) . f(k), which never is negative.
enum class Similarity {
  elu,    ///< f(x) = elu(x) + 1 on every channel (Katharopoulos et al. 2020, arXiv 2006.16236); no factor d^-1/2
  taylor  ///< f(x) = (x / |x|, 1): the first two terms of e^(q.k) at normalised q and k, 1 + cos(q, k)
};
constexpr const char* name(Similarity s) { return s == Similarity::elu ? "elu" : "taylor"; }

inline namespace TESSERA_NS {

struct LinearAttention {
  Similarity similarity = Similarity::elu;
  bool causal = false;  ///< a query sees the keys up to its own token; as many keys as queries
  double eps = 1e-6;  ///< elu: added to the denominator; taylor: the least length of q and k, and the least denominator
  /// Turns f(q) and f(k) in the numerator alone, since turned features are not positive and a denominator of them may be 0 (rotation: Su et al. 2021).
  Rotary rotary = {};
};

/// o_i = sum_j sim(q_i, k_j) v_j / sum_j sim(q_i, k_j).  Views q (B, n, H, d), k (B, m, H, d), v (B, m, H, dv) -> (B, n, H dv).
/// lengths: valid keys of each sample (B), or empty; those beyond are not read. A query that may see no key gets 0. Gradients reach q, k, v
/// and the angles. Throws Error if sizes do not fit, eps is not positive, or the rotation turns values.
Tensor linear_attention(const Heads& q, const Heads& k, const Heads& v, const LinearAttention& how = {},
                        std::span<const int32_t> lengths = {});

}  // namespace TESSERA_NS
}  // namespace tessera
