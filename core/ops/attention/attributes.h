#pragma once
// What an attention says of itself to observers. Internal to core/ops.
//
//   q.offset q.stride q.heads q.d q.tokens, the same of k and v      the views of the first three inputs
//   scale   halves (of the rotation; its tables are inputs 3 to 6, empty without)
//   groups n m who.q who.k label_q label_k causal offset no_self absent mask_value      the Pattern
//   kind first rows rho.groups rho.at      of each relative term, in the order of its table from input 7 on
//   lengths      valid keys of each sample, if said
//   p key seed step first_sample      of dropout, if it drops
#include "tessera/core/ops/attention/call.h"

namespace tessera {
inline namespace TESSERA_NS {

/// They and the memory they refer to; nothing unless somebody observes.
struct CallAttributes {
  std::vector<Attribute> all;
  Index lengths;
  operator std::span<const Attribute>() const { return all; }
};
CallAttributes attributes_of(const Call& c);

}  // namespace TESSERA_NS
}  // namespace tessera
