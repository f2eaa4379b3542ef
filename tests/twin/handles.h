#pragma once
// What the tests of handles share.
#include <vector>

#include "tessera/nn/params.h"
#include "tests/twin/twin.h"

namespace tessera {
inline namespace TESSERA_NS {

inline std::vector<double> doubles(const Tensor& t) {
  const auto v = t.read();
  return {v.begin(), v.end()};
}

inline Tensor one_weight(Params& params, double value, const char* name = "w") {
  return Scope(params).param(name, {1}, constant(value));
}

}  // namespace TESSERA_NS
}  // namespace tessera
