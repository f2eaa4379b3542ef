// One step of gradient descent on a linear layer, with an installed tessera.
#include <cstdio>

#include "core/tensor.h"
#include "tessera/core/ops/linear.h"
#include "tessera/nn/params.h"
#include "tessera/nn/position.h"

int main() {
  using namespace tessera;
  Params params(1);
  const Tensor W = Scope(params).param("fc.weight", {1, 2}, constant(0.5));
  const Tensor x = full({1, 2}, 1);
  Tape tape;
  Grads grads;
  const Tensor y = linear(x, W);
  tape.backward(y, grads);
  std::printf("%g %g %d\n", static_cast<double>(y[0]), static_cast<double>(grads.of(W)[1]),
              OwnTensor().rows * (positions().size() > 1));
}
