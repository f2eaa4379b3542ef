#pragma once
#include "tessera/nn/position/rotary.h"

namespace tessera {
inline namespace TESSERA_NS {

/// How the directions of all pairs of all heads are spread over the plane: by multiples of its golden number, a lattice that goes on to any
/// number of dimensions, or by multiples of the golden angle, which is for two.
enum class GoldenDirections { lattice, angle };

/// J. Xiong's frequencies for two axes ("On n-dimensional rotary positional embeddings", 2025), (heads, pairs): magnitudes from `low` to `high`
/// in equal ratios, directions spread evenly. Radians per cell. The first `resting` pairs of every head do not turn.
std::vector<Frequency> golden_gate_frequencies(int heads, int pairs, double low, double high, int resting = 0,
                                               GoldenDirections directions = GoldenDirections::lattice);

/// What ntk, yarn and clip make of them on a grid that is not the trained one (scaling.h), of each head by itself. Pairs that rest are no
/// slow ones.
void scale_golden_gate(std::vector<Frequency>& f, int heads, int resting, const Scaling& c, const Extent& trained,
                       const Extent& now);

/// The slowest of them unless said otherwise: an eighth of a turn over the mean side of the trained grid, the root of its cells.
double golden_gate_slowest(const Extent& trained);

}  // namespace TESSERA_NS
}  // namespace tessera
