#pragma once
// The parameters, gradients and ten steps of tests/golden/optimisers.py, for the rules (twin/optimisers.cpp) and for the optimisers made of
// them (unit/optimisers.cpp).
#include <doctest/doctest.h>

#include <cmath>
#include <string>

#include "tessera/core/io/tensor_file.h"

namespace tessera {
inline namespace TESSERA_NS {

constexpr const char* golden_names[] = {"wide", "tall", "conv", "bias"};
constexpr int golden_steps = 10;

inline const io::TensorFile& optimisers_golden() {
  static const io::TensorFile file(TESSERA_SOURCE_DIR "/tests/golden/data/optimisers.safetensors");
  return file;
}

/// The gradient of parameter `which` at weights w in step t = 0, 1, ...
inline void golden_gradient(size_t which, int t, const real* w, real* g, int64_t n) {
  for (int64_t k = 0; k < n; ++k) {
    const double i = static_cast<double>(k) + 100 * static_cast<double>(which), v = static_cast<double>(w[k]);
    g[k] = static_cast<real>(0.3 * (v - std::cos(1 + i)) + 0.2 * std::sin(2 * v + t + i));
  }
}

/// Ten steps of some ten roundings each, on numbers up to 3: as exact as the reals are. Muon's products add up more of them.
inline double golden_bound() { return sizeof(real) == 8 ? 1e-6 : 2e-5; }

/// Is w what the authors have after step t?
inline void check_golden(const std::string& rows, int t, const real* w, int64_t n) {
  const Tensor expected = optimisers_golden().read(rows);
  CAPTURE(rows);
  CAPTURE(t);
  for (int64_t k = 0; k < n; ++k)
    CHECK(std::abs(static_cast<double>(w[k]) - static_cast<double>(expected[t * n + k])) <= golden_bound());
}

}  // namespace TESSERA_NS
}  // namespace tessera
