#pragma once
// What locality self-attention (model.lsa) asks of an encoding. Its learned factor stands before all logits, scale (q.k + terms), and reaches
// them through the queries: q.k, query terms and gates have it, what an encoding adds inside of scale without them has not. Free of `real`.
#include "tessera/nn/position.h"

namespace tessera {

/// Why an encoding whose logits hold what queries do not carry (said by `what`) cannot run in a model with a learned scale; "" in others.
inline std::string refuses_learned_scale(const Places& at, const char* what) {
  for (const Site& s : at.sites)
    if (s.no_self)
      return fmt::format(
          "model.lsa learns a factor of all logits, which reaches them through the queries, but {}; leave one of them "
          "out",
          what);
  return "";
}

}  // namespace tessera
