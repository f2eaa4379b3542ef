#pragma once
// Attention: who looks at whom (Pattern), where they are (Terms), how a score becomes a weight (softmax).
//
//   s_ij = scale (sum_c q'_ic k'_jc prod_gates w[rho_ij, c] + sum_terms q_i . Q[rho_ij] + sum_terms k_j . K[rho_ij]) + sum_terms b[rho_ij]
//   p_ij = dropout(softmax_j(s_ij)) over the pairs that may see each other
//   o_i  = sum_j p_ij (v_j + sum_terms V[rho_ij])
//
// q', k' are q, k after rotation where there is one; query and key terms use the raw q and k, or side projections u of their own (and
// then stand outside of scale if they say so); the bias stands outside of scale. With rotary.values, v_j is turned as k_j is and o_i
// back as q_i was turned: o_i = R_i^T sum_j p_ij R_j v_j.
#include <array>
#include <memory>
#include <span>
#include <vector>

#include "tessera/core/run.h"
#include "tessera/core/tape.h"

namespace tessera {

// ---- what is free of `real`: values that are checked when they are made, never change and cost a counter to copy ------------------

/// Who looks at whom: groups of token indices, without a batch. Made from a Spec, which `->` reads.
class Pattern {
 public:
  enum class Absent { masked, zero_key };
  struct Spec {
    int groups = 0, n = 0, m = 0;  ///< groups of n queries and m keys
    Index q = {}, k = {};          ///< [groups, n] and [groups, m] token indices; -1 = no token. No query token twice
    Index label_q = {}, label_k = {};  ///< region labels, or empty: a pair of different labels is masked
    bool causal = false;               ///< a query sees keys whose token index is not above its own (plus `offset`)
    int offset = 0;                    ///< causal with a memory of `offset` keys in front: key <= query + offset
    bool no_self = false;              ///< a token does not see itself (LSA)
    Absent absent = Absent::masked;    ///< what a key of index -1 is: nothing, or a zero key and value
    float mask_value = 0;  ///< 0: masked pairs are skipped; else (-100) added to their logits, as Swin's code does
  };
  /// Of no groups: what a Query may not have.
  Pattern() = default;
  /// Throws Error if the lists are not of these sizes, a query token stands twice, or an index is below -1.
  Pattern(Spec spec);  // NOLINT: implicit, a Spec is a Pattern once it is checked

  const Spec& operator*() const { return *facts_; }
  const Spec* operator->() const { return facts_.get(); }
  explicit operator bool() const { return facts_ != nullptr; }
  /// One more than the largest token index.
  int queries() const { return facts_->queries; }
  int keys() const { return facts_->keys; }
  /// Does each of so many tokens stand in exactly one place?
  bool every_query_once(int tokens) const { return facts_->query_places == tokens && facts_->queries == tokens; }
  bool every_key_once(int tokens) const { return facts_->keys_once && facts_->keys == tokens; }
  /// One group, in which slot i is token q[0] + i.
  bool queries_in_order() const { return facts_->in_order; }

 private:
  struct Facts : Spec {
    int queries = 0, keys = 0, query_places = -1;
    bool keys_once = false, in_order = false;
  };
  std::shared_ptr<const Facts> facts_;
};

/// Rows [low, high) of a table.
struct Band {
  int32_t low = 0, high = 0;
};

/// A relative term's index: rho [n, m] -> row of its table; -1 = the pair adds nothing (a gate: factor 1).
class RelativeIndex {
 public:
  struct Spec {
    int n = 0, m = 0, rows = 0;
    Index at = {};   ///< [groups, n, m]
    int groups = 1;  ///< more than 1: an index for each group of the pattern, for keys that differ by group
  };
  RelativeIndex() = default;
  /// Throws Error if there are not groups x n x m entries, or one is no row and not -1.
  RelativeIndex(Spec spec);  // NOLINT: implicit, as Pattern

  const Spec& operator*() const { return *facts_; }
  const Spec* operator->() const { return facts_.get(); }
  explicit operator bool() const { return facts_ != nullptr; }
  /// The rows that the pairs of one query touch, none: {0, 0}.
  Band band(int group, int query) const {
    return facts_->bands[static_cast<size_t>(group) * static_cast<size_t>(facts_->n) + static_cast<size_t>(query)];
  }
  /// Every pair has row 0 of one.
  bool single() const { return facts_->single; }

 private:
  struct Facts : Spec {
    std::vector<Band> bands;
    bool single = false;
  };
  std::shared_ptr<const Facts> facts_;
};

/// Which pairs a head may see, beside what the Pattern says of all heads; a bit each.
class HeadMask {
 public:
  HeadMask() = default;  ///< every pair
  /// sees [heads (1 or H), n, m]. Throws Error on another size.
  HeadMask(int heads, int n, int m, const std::vector<bool>& sees);

  explicit operator bool() const { return facts_ != nullptr; }
  int heads() const { return facts_->heads; }
  int n() const { return facts_->n; }
  int m() const { return facts_->m; }
  bool sees(int head, int i, int j) const {
    const int64_t row = (facts_->heads == 1 ? 0 : int64_t{head} * facts_->n) + i;
    return facts_->bits[static_cast<size_t>(row * facts_->words + j / 64)] >> (j % 64) & 1;
  }

 private:
  struct Facts {
    int heads, n, m;
    int64_t words;  ///< a row begins on a word
    std::vector<uint64_t> bits;
  };
  std::shared_ptr<const Facts> facts_;
};

/// Every one of n queries sees every one of m keys. From a Memo.
Pattern global_pattern(int n, int m);
/// Query i of n sees the keys up to its own, i + memory, of memory + n. From a Memo.
Pattern causal_pattern(int n, int memory = 0);

/// Bytes they hold, for the Memos they live in.
size_t bytes_of(const Pattern& p);
size_t bytes_of(const RelativeIndex& rho);
size_t bytes_of(const HeadMask& mask);

inline namespace TESSERA_NS {

/// A row view of H heads of width d in (B, tokens, stride) memory: head h of token t is at x[b, t, offset + h d ...].
/// Packed qkv is three views of one tensor.
struct Heads {
  Tensor x;
  int offset = 0, stride = 0, heads = 0, d = 0, tokens = 0;
  explicit operator bool() const { return static_cast<bool>(x); }
};
/// All of x (B, tokens, H d) as heads.
Heads heads(const Tensor& x, int H);
/// Part `part` of `parts` equal ones of a packed projection x (B, tokens, parts H d): qkv = heads(x, H, 0, 3), (x, H, 1, 3), ...
Heads heads(const Tensor& x, int H, int part, int parts);

/// One relative term. table [1 or H, rows, width]; width is 1 for bias, 1 or d for gate, at most d - first for the others.
struct Relative {
  enum Kind { bias, query, key, value, gate } kind = bias;
  Tensor table;
  int first = 0;  ///< first channel of the head that the table's columns meet
  RelativeIndex rho;
  /// A query or key term of a projection of its own instead of q or k: u_i . Q[rho_ij] with heads as wide as the table, as many as q has,
  /// of the query's or the key's tokens. Costs the products and gathers of a term, no zero channels.
  Heads side = {};
  bool outside = false;  ///< of a side term: it stands beside the bias, outside of scale
};

/// Angles as cosines and sines: [1 or H, n, d/2] for queries and [1 or H, m, d/2] for keys; empty = no rotation.
struct Rotary {
  Tensor cos_q, sin_q, cos_k, sin_k;
  bool halves = false;  ///< pairs (t, t + d/2) instead of (2t, 2t + 1)
  bool values = false;  ///< values travel as seen from the query (GTA): as wide as q, and without value terms
};

inline size_t bytes_of(const Rotary& r) {
  return bytes_of(r.cos_q) + bytes_of(r.sin_q) + bytes_of(r.cos_k) + bytes_of(r.sin_k);
}

/// Where they are: at most one rotation, twelve relative terms and a mask per head, inline.
struct Terms {
  static constexpr int most = 12;
  Rotary rotary;
  std::array<Relative, most> relative;
  int count = 0;
  HeadMask visible;
  Terms& add(Relative r);
  /// All of o's terms after ours; throws Error on two rotations, two masks or too many terms.
  Terms& append(const Terms& o);
};

struct DropoutSpec {
  double p = 0;
  Key key;
};

/// One attention call but for where its tokens are: checked when it is made.
class Query {
 public:
  /// lengths: valid key tokens per sample (B), or empty; read until the call returns. Throws Error "[attention] ..." if sizes do not fit,
  /// the pattern holds a token that q or k has not, or dropout is not in [0, 1).
  Query(Heads q, Heads k, Heads v, Pattern who, double scale, const DropoutSpec& dropout = {},
        std::span<const int32_t> lengths = {});

  Heads q, k, v;
  Pattern who;
  double scale;
  DropoutSpec dropout;
  std::span<const int32_t> lengths;

  /// The same with other heads, of another width perhaps.
  Query with(Heads q2, Heads k2, Heads v2) const {
    return {std::move(q2), std::move(k2), std::move(v2), who, scale, dropout, lengths};
  }
  Query with(Pattern other, double other_scale) const {
    return {q, k, v, std::move(other), other_scale, dropout, lengths};
  }
};

/// The fused attention of all models. Returns (B, q.tokens, H v.d). Gradients reach q, k, v, side projections and every table and angle.
/// A query that may see nothing gives output 0 and gradient 0. Nothing of size n x m is kept between forward and backward.
Tensor attention(const Query& query, const Terms& where, const Run& run);

/// The same from small ops' definitions, readable and slow, for tests, export and pictures: identical value and gradients.
Tensor plain_attention(const Query& query, const Terms& where, const Run& run);

/// The weights p_ij (before dropout) of that attention: (B, groups, H, n, m), untracked. For pictures and measures.
Tensor attention_weights(const Query& query, const Terms& where);

}  // namespace TESSERA_NS
}  // namespace tessera
