// Objects of the library that outlive what they came from: outputs and inputs; operators and print.
#include <doctest/doctest.h>
#include <tessera/tessera.h>

#include <sstream>

#include "tessera/models/vit.h"

using namespace tessera;

TEST_CASE("handles: a model's logits outlive its output") {
  Params params(1);
  const vit::Vit model(Scope(params), {.img_size = 8, .embed_dim = 16, .depth = 1, .num_heads = 2},
                       position("learned"));
  const Tensor x = full({2, 8, 8, 3}, 0.5F);
  const Tensor expected = model.forward({}, x).logits.copy();
  const Tensor& y = model.forward({}, x);
  const Tensor other = full({2, 10}, 77);  // would take the memory of a dead one
  REQUIRE(y.shape() == Shape{2, 10});
  for (int64_t i = 0; i < y.size(); ++i) CHECK(y[i] == expected[i]);
}

TEST_CASE("handles: an input keeps its lengths") {
  Input in(zeros({2, 3, 4}));
  in.lengths = std::vector<int32_t>{3, 2};
  const Input copy = in;
  in.lengths = Index(2, 0);
  CHECK(copy.lengths == Index{3, 2});
}

TEST_CASE("operators are the ops of arithmetic, gradients included") {
  Grads none;
  Tape tape;
  const Tensor a = tape.watch(tensor({2, 2}, std::vector<double>{1, 2, 3, 4}));
  const Tensor b = tape.watch(tensor({2}, std::vector<double>{10, 20}));
  const Tensor y = (a + b) * a - b / a + (2 * a - 1) + (1 - a * 3) + -a / 2 + (a - 2) + (0.5 + b);
  const double A[] = {1, 2, 3, 4}, B[] = {10, 20, 10, 20};
  for (int i = 0; i < 4; ++i) {
    const double x = A[i], z = B[i];
    const double want = (x + z) * x - z / x + (2 * x - 1) + (1 - x * 3) - x / 2 + (x - 2) + (0.5 + z);
    CHECK(static_cast<double>(y[i]) == doctest::Approx(want).epsilon(1e-6));
  }
  tape.backward(y, none);
  for (int i = 0; i < 4; ++i)
    CHECK(static_cast<double>(tape.grad(a)[i]) ==
          doctest::Approx(2 * A[i] + B[i] + B[i] / (A[i] * A[i]) + 2 - 3 - 0.5 + 1).epsilon(1e-6));
  CHECK(static_cast<double>(tape.grad(b)[0]) == doctest::Approx(1 - 1 + 1 + 3 - 1.0 / 3 + 1).epsilon(1e-6));
  CHECK_THROWS_WITH_AS(zeros({2}) + zeros({3}), doctest::Contains("[add]"), Error);
}

TEST_CASE("a tensor prints its shape and values, long dimensions without their middle") {
  CHECK(str(tensor({2, 3}, std::vector<double>{1, 2, 3, 4, 5.25, -6})) == "(2, 3) [[1, 2, 3], [4, 5.25, -6]]");
  CHECK(str(Tensor()) == "(empty)");
  CHECK(str(zeros({2, 0})) == "(2, 0) [[], []]");
  Tensor x({100});
  for (int i = 0; i < 100; ++i) x[i] = static_cast<real>(i);
  CHECK(str(x) == "(100,) [0, 1, 2, ..., 97, 98, 99]");
  CHECK(str(full({}, 3)) == "() 3");
  std::ostringstream to;
  to << full({1}, std::numeric_limits<real>::quiet_NaN());
  CHECK(to.str() == "(1,) [nan]");
  CHECK(fmt::format("{}", full({2}, 1)) == "(2,) [1, 1]");
}
