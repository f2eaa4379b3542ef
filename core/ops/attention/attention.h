#pragma once
// Attention: who looks at whom (Pattern), where they are (Terms), how a score becomes a weight (softmax).
//
//   s_ij = scale (sum_c q'_ic k'_jc prod_gates w[rho_ij, c] + sum_terms q_i . Q[rho_ij] + sum_terms k_j . K[rho_ij]) + sum_terms b[rho_ij]
//   p_ij = dropout(softmax_j(s_ij)) over the pairs that may see each other
//   o_i  = sum_j p_ij (v_j + sum_terms V[rho_ij])
//
// q', k' are q, k after rotation where there is one; query and key terms use the raw q and k; the bias stands outside of scale.
#include <array>
#include <span>

#include "tessera/core/run.h"
#include "tessera/core/tape.h"

namespace tessera {

/// Who looks at whom: groups of token indices, free of `real` and of the batch. Lives in a Memo; never changes.
struct Pattern {
  int groups = 0, n = 0, m = 0;  ///< groups of n queries and m keys
  Index q, k;              ///< [groups, n] and [groups, m] token indices; -1 = no token. Every query token exactly once
  Index label_q, label_k;  ///< region labels, or empty: a pair of different labels is masked
  bool causal = false;     ///< a query sees keys whose token index is not above its own (plus `offset`)
  int offset = 0;          ///< causal with a memory of `offset` keys in front: key <= query + offset
  bool no_self = false;    ///< a token does not see itself (LSA)
  enum class Absent {
    masked,
    zero_key
  } absent = Absent::masked;  ///< what a key of index -1 is: nothing, or a zero key and value
  float mask_value = 0;       ///< 0: masked pairs are skipped; else (-100) added to their logits, as Swin's code does
};

/// A relative term's index: rho [n, m] -> row of its table; -1 = the pair adds nothing (a gate: factor 1).
/// `groups` > 1: one [n, m] index per group, for keys that differ by group.
struct RelativeIndex {
  int n = 0, m = 0, rows = 0;
  Index at;
  int groups = 1;
};

inline namespace TESSERA_NS {

/// One relative term. table [1 or H, rows, width]; width is 1 for bias, 1 or d for gate, at most d - first for the others.
struct Relative {
  enum Kind { bias, query, key, value, gate } kind = bias;
  Tensor table;
  int first = 0;                       ///< first channel of the head that the table's columns meet
  const RelativeIndex* rho = nullptr;  ///< from a Memo
};

/// Angles as cosines and sines: [1 or H, n, d/2] for queries and [1 or H, m, d/2] for keys; empty = no rotation.
struct Rotary {
  Tensor cos_q, sin_q, cos_k, sin_k;
  bool halves = false;  ///< pairs (t, t + d/2) instead of (2t, 2t + 1)
};

/// Where they are: at most one rotation and twelve relative terms, inline.
struct Terms {
  static constexpr int most = 12;
  Rotary rotary;
  std::array<Relative, most> relative;
  int count = 0;
  Terms& add(Relative r);
  /// All of o's terms behind ours; throws Error on two rotations or too many terms.
  Terms& append(const Terms& o);
};

struct DropoutSpec {
  double p = 0;
  Key key;
};

/// A row view of H heads of width d in (B, tokens, stride) memory: head h of token t is at x[b, t, offset + h d ...].
/// Packed qkv is three views of one tensor.
struct Heads {
  Tensor x;
  int offset = 0, stride = 0, heads = 0, d = 0, tokens = 0;
};
/// All of x (B, tokens, H d) as heads.
Heads heads(const Tensor& x, int H);
/// Part `part` of `parts` equal ones of a packed projection x (B, tokens, parts H d): qkv = heads(x, H, 0, 3), (x, H, 1, 3), ...
Heads heads(const Tensor& x, int H, int part, int parts);

/// The fused attention of all models. Returns (B, q.tokens, H d). Gradients reach q, k, v and every table and angle.
/// lengths: valid key tokens per sample (B), or empty. A query that may see nothing gives output 0 and gradient 0.
/// Nothing of size n x m is kept between forward and backward.
Tensor attention(const Heads& q, const Heads& k, const Heads& v, const Pattern& who, const Terms& where, double scale,
                 const DropoutSpec& dropout, std::span<const int32_t> lengths, const Run& run);

/// The same from small ops' definitions, readable and slow, for tests, export and pictures: identical value and gradients.
Tensor plain_attention(const Heads& q, const Heads& k, const Heads& v, const Pattern& who, const Terms& where,
                       double scale, const DropoutSpec& dropout, std::span<const int32_t> lengths, const Run& run);

/// The weights p_ij (before dropout) of that attention: (B, groups, H, n, m), untracked. For pictures and measures.
Tensor attention_weights(const Heads& q, const Heads& k, const Pattern& who, const Terms& where, double scale,
                         std::span<const int32_t> lengths);

}  // namespace TESSERA_NS

/// Every one of n queries sees every one of m keys. From a Memo.
const Pattern& global_pattern(int n, int m);

}  // namespace tessera
