// What the tape promises.
#include <cmath>

#include "core/ops/layernorm.h"
#include "core/ops/linear.h"
#include "nn/params.h"
#include "tests/twin/twin.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

TWIN_CASE("tape: two shards in one lane accumulate, shared dy is not corrupted") {
  Params params(1);
  const Scope s(params);
  Tensor W = s.param("fc.weight", {3, 4}, normal(1)), b = s.param("fc.bias", {3}, normal(1));
  Tensor x({5, 4});
  for (int64_t i = 0; i < x.size(); ++i) x[i] = static_cast<real>(std::sin(double(i)));
  const auto run = [&](Grads& g) {
    Tape tape;
    const Tensor y = layernorm(linear(x, W, b), {}, {}, 1e-5);
    tape.backward(y, full(y.shape(), 1), g);
  };
  Grads once, twice;
  run(once), run(twice), run(twice);
  for (int64_t i = 0; i < W.size(); ++i) CHECK(twice.of(W)[i] == doctest::Approx(2 * once.of(W)[i]));
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
