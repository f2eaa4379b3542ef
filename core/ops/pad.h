#pragma once
#include "tessera/core/tape.h"

namespace tessera {

/// What stands outside of the edge: zeros; the inside mirrored without the edge itself (c b | a b c | b a); the other
/// end.
enum class Padding { zero, reflect, circular };

inline namespace TESSERA_NS {

/// `before` and `after` more positions along `dim`. Throws Error if reflect is asked for as many positions as there
/// are, or circular for more.
Tensor pad(const Tensor& x, int dim, int before, int after, Padding mode = Padding::zero);

/// Shifted along `dim`, what leaves at one end enters at the other: y[i + shift] = x[i], as torch.roll.
Tensor roll(const Tensor& x, int shift, int dim);

}  // namespace TESSERA_NS
}  // namespace tessera
