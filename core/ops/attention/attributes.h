#pragma once
// What an attention says of itself to observers. Internal to core/ops.
//
//   q.offset q.stride q.heads q.d q.tokens, the same of k and v      the views of the first three inputs
//   scale   halves values (of the rotation; its tables are inputs 3 to 6, empty without)
//   groups n m who.q who.k label_q label_k causal offset no_self absent mask_value      the Pattern
//   kind first rows rho.groups rho.at side outside      of each relative term; its table is the next input from 7 on, and where `side` is the
//       width of its side projection (0: none) that follows, read as q or k with side.offset and side.stride
//   visible visible.heads      the mask per head [heads, n, m], if there is one
//   lengths      valid keys of each sample, if said
//   p key seed step first_sample      of dropout, if it drops
#include "tessera/core/ops/attention/call.h"

namespace tessera {
inline namespace TESSERA_NS {

/// They and the memory they refer to; nothing unless somebody observes.
struct CallAttributes {
  std::vector<Attribute> all;
  Index lengths, visible;
  operator std::span<const Attribute>() const { return all; }
};
CallAttributes attributes_of(const Call& c);

}  // namespace TESSERA_NS
}  // namespace tessera
