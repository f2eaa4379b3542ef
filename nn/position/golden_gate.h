#pragma once
#include "tessera/nn/position/rotary.h"

namespace tessera {
inline namespace TESSERA_NS {

/// J. Xiong's frequencies for two axes ("On n-dimensional rotary positional embeddings", 2025), (heads, pairs): magnitudes from `low` to `high`
/// in equal ratios, directions spread evenly over all pairs of all heads by multiples of the plane's golden number. Radians per cell. The
/// first `resting` pairs of every head do not turn.
std::vector<Frequency> golden_gate_frequencies(int heads, int pairs, double low, double high, int resting = 0);

/// The slowest of them unless said otherwise: an eighth of a turn over the mean side of the trained grid, the root of its cells.
double golden_gate_slowest(const Extent& trained);

}  // namespace TESSERA_NS
}  // namespace tessera
