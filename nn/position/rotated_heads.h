#pragma once
// What encodings by learned rotation matrices share: how wide their blocks are, where slots are, and queries and keys turned by the
// matrices of their slots.
#include "tessera/core/ops/permute.h"
#include "tessera/core/ops/rotate_blocks.h"
#include "tessera/core/ops/skew_exp.h"
#include "tessera/nn/position/exact_linear.h"
#include "tessera/nn/position/rotary.h"

namespace tessera {
inline namespace TESSERA_NS {

/// The width of a block: the one asked for, or, of 0, the largest of 8, 4 and 2 of which a head holds a multiple of `multiple`.
inline int block_width(int head_dim, int asked, int multiple = 1) {
  if (asked) return asked;
  for (const int b : {8, 4})
    if (head_dim % (b * multiple) == 0) return b;
  return 2;
}
/// Why heads of these models do not consist of such blocks, or "".
inline std::string needs_blocks(const Places& at, int asked, int multiple = 1) {
  for (const Site& s : at.sites)
    if (const int b = block_width(s.head_dim, asked, multiple); s.head_dim % (b * multiple))
      return fmt::format("head width {} is not a multiple of {}", s.head_dim, b * multiple);
  return "";
}

/// exp(y A_y + x A_x) for every place. at (places, 2): y, x; generators (heads, blocks, b, b, 2), of which the parts above the diagonal count
/// -> (places, heads, blocks, b, b). fp32 whatever the precision is.
inline Tensor rotations(const Tensor& at, const Tensor& generators) {
  const auto [H, m, b, c, axes] = generators.dims<5>();
  return skew_exp(exact_linear(at, generators.reshape({H * m * b * c, axes})).reshape({at.dim(0), H, m, b, c}));
}

/// The slot in its group of each of `count` tokens, -1: in none. who: [groups, n].
inline Index slot_of_token(const Index& who, int n, int count) {
  Index slot(static_cast<size_t>(count), -1);
  for (size_t i = 0; i < who.size(); ++i)
    if (who[i] >= 0) slot[static_cast<size_t>(who[i])] = static_cast<int32_t>(i % static_cast<size_t>(n));
  return slot;
}

/// Queries and keys turned by the matrices of their slots, (n, H or 1, blocks, b, b) and (m, ...).
inline Query turned(const Query& query, const Tensor& of_queries, const Tensor& of_keys) {
  const auto turn = [](const Heads& x, const Tensor& R, const Index& who, int n) {
    return heads(rotate_blocks(x, R, slot_of_token(who, n, x.tokens)), x.heads);
  };
  return query.with(turn(query.q, of_queries, query.who->q, query.who->n),
                    turn(query.k, of_keys, query.who->k, query.who->m), query.v);
}

/// Are the slots of keys those of queries?
inline bool same_slots(const Layout& now) { return now.q == now.k && now.reduce == 1 && !now.q_from; }

}  // namespace TESSERA_NS
}  // namespace tessera
