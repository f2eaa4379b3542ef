#pragma once
// A probe between a model and its position encoding: the weights of every attention, the encoding taken out or told other places, tokens in
// another order. It stands where the model sees its encoding, so it works for every model and every encoding, of tables and of formulas.
#include <functional>

#include "tessera/nn/position.h"

namespace tessera::lab {

/// What the encoding is told of a map of h x w cells.
enum class Told {
  true_ones,
  none,        ///< the encoding does nothing, as if it were `none`
  transposed,  ///< of cell (y, x) that it is (x, y); h = w
  reversed     ///< of cell (y, x) that it is (h - 1 - y, w - 1 - x)
};
/// Why a model with these places cannot be told that, one sentence, or "".
std::string cannot_tell(Told what, const Places& at);

/// In which order tokens come out of the first patch embedding; class tokens stay in front.
enum class TokenOrder { kept, same_for_all, each_its_own };

/// Changed between forward passes only; read by all threads.
struct Probe {
  Told told = Told::true_ones;
  TokenOrder order = TokenOrder::kept;
  uint64_t seed = 0;  ///< of the orders; sample i of each_its_own draws from (seed, Run::first + i)
  /// Is given the weights (B, queries, H, keys), tokens in order with class tokens in front, of each self-attention with softmax in the order
  /// in which they run; after dropout's absence, before the values. By several threads at once. Needs true_ones.
  std::function<void(const Site&, const Layout& now, const Tensor& weights)> saw;
};

/// `make` under the probe, which must outlive the model. Values are those of `make` alone, to the bit, while the probe is as it was made.
MakePosition probed(MakePosition make, const Probe& probe);

/// A random order of 0..n-1, for TokenOrder and tiles.
Index shuffled(int n, rng::Stream stream);

}  // namespace tessera::lab
