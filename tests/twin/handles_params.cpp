// Parameters know their Params, and a weight that is written is what the next product reads.
#include <algorithm>
#include <vector>

#include "tessera/core/ops.h"
#include "tests/twin/handles.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

// ---- two Params ----------------------------------------------------------------------------------------------------

TWIN_CASE("handles: two Params on one tape have gradients of their own, of the same seed and names or not") {
  Params one(1), two(1), three(1);
  const Tensor a = one_weight(one, 3), b = one_weight(two, 4);
  const Tensor wide = Scope(three).param("w", {5}, constant(2));
  Grads g;
  {
    Tape tape;
    tape.backward(add(mul(square(a), b), sum(wide)), g);
  }
  CHECK(g.of(a)[0] == 2 * 3 * 4);
  CHECK(g.of(b)[0] == 9);
  CHECK(doubles(g.of(wide)) == std::vector<double>(5, 1));
  g.next_step();
  CHECK(!g.has(a));
  CHECK(!g.has(b));
  {
    Tape tape;
    tape.backward(scale(b, 2), g);  // the generator's step: nothing arrives at the discriminator
  }
  CHECK(!g.has(a));
  CHECK_THROWS_WITH_AS(g.of(a), "[grads] no gradient arrived at w", Error);
  CHECK(g.of(b)[0] == 2);
}

TWIN_CASE("handles: a parameter outlives its Params and stays itself") {
  Tensor dead;
  {
    Params params(1);
    dead = one_weight(params, 3);
  }
  Params params(1);
  const Tensor w = one_weight(params, 5);
  Grads g;
  Tape tape;
  tape.backward(mul(dead, w), g);
  CHECK(g.of(dead)[0] == 5);
  CHECK(g.of(w)[0] == 3);
}

TWIN_CASE("handles: gradients add up by parameter, a copy has its own memory, sizes and strangers are refused") {
  Params one(1), two(1);
  const Tensor a = one_weight(one, 3), b = one_weight(two, 4), plain = full({1}, 1);
  const auto walk = [&](const Tensor& loss_of, Grads& g) {
    Tape tape;
    tape.backward(scale(loss_of, 2), g);
  };
  Grads x, y;
  walk(a, x), walk(b, y), walk(a, y);  // the two sets of y stand in the other order
  x.plus(y);
  CHECK(x.of(a)[0] == 4);
  CHECK(x.of(b)[0] == 2);
  Grads copy = x;
  walk(a, copy);
  CHECK(copy.of(a)[0] == 6);
  CHECK(x.of(a)[0] == 4);
  CHECK_THROWS_WITH_AS(x.of(plain), doctest::Contains("no parameter"), Error);
  CHECK_THROWS_WITH_AS(x.into(plain), doctest::Contains("no parameter"), Error);
  CHECK_THROWS_WITH_AS(x.of(Tensor()), doctest::Contains("no parameter"), Error);
  CHECK(!x.has(plain));
  CHECK_THROWS_WITH_AS(x.add(a, zeros({2})), doctest::Contains("(2,) for w (1,)"), Error);
  CHECK_THROWS_WITH_AS(x.into(id(*a.leaf()), {7}), doctest::Contains("(7,)"), Error);
}

// ---- writing a weight ----------------------------------------------------------------------------------------------

/// What is linear in its weight, written in one way after several forward passes: the next one has to see it, without commit().
template <class Forward>
void written_in_every_way(const Shape& shape, const Forward& forward) {
  using Write = void (*)(Params&, const Tensor& w, real v);
  const Write writes[] = {
      [](Params&, const Tensor& w, real v) {
        for (int64_t i = 0; i < w.size(); ++i) w[i] = v;
      },
      [](Params&, const Tensor& w, real v) {
        for (real& x : w.values()) x = v;
      },
      [](Params&, const Tensor& w, real v) { std::fill_n(w.data(), w.size(), v); },
      [](Params&, const Tensor& w, real v) { std::fill_n(w.detach().reshape({-1}).data(), w.size(), v); },
      [](Params& p, const Tensor&, real v) { std::ranges::fill(p.entries()[0].value.values(), v); },
      [](Params& p, const Tensor&, real v) { std::ranges::fill(p.find("w")->value.rewrite(), v); },
      [](Params&, const Tensor& w, real v) { w.exchange_values(full(w.shape(), v)); },
  };
  for (const Write write : writes) {
    Params params(1);
    const Tensor w = Scope(params).param("w", shape, constant(1));
    const double one = forward(w);
    for (const int v : {2, 10}) {
      forward(w);
      write(params, w, static_cast<real>(v));
      for (int i = 0; i < 2; ++i) CHECK(forward(w) == doctest::Approx(one * v).epsilon(1e-6));
    }
  }
  Params params(1);
  const Tensor w = Scope(params).param("w", shape, constant(1));
  real* const kept = w.data();  // from before every pass, written through after it
  const std::span<real> span = w.values();
  const double one = forward(w);
  std::fill_n(kept, w.size(), real(6));
  CHECK(forward(w) == doctest::Approx(one * 6).epsilon(1e-6));
  std::ranges::fill(span, real(7));
  CHECK(forward(w) == doctest::Approx(one * 7).epsilon(1e-6));
}

TWIN_CASE("handles: a weight that is written is what the next product reads, without commit()") {
  const Tensor x = full({4, 7}, real(0.5)), image = full({2, 6, 6, 2}, real(0.5));
  written_in_every_way({5, 7}, [&](const Tensor& w) { return static_cast<double>(sum(linear(x, w, {}))[0]); });
  written_in_every_way({3, 2, 3, 3},
                       [&](const Tensor& w) { return static_cast<double>(sum(conv2d(image, w, {}, {}))[0]); });
  written_in_every_way({5, 7}, [&](const Tensor& w) {  // as the backward product reads it
    Grads g;
    Tape tape;
    const Tensor in = tape.watch(x);
    tape.backward(linear(in, w, {}), g);
    const NoGrad values;
    return static_cast<double>(sum(tape.grad(in))[0]);
  });
}

TWIN_CASE("handles: panels are kept until a pointer is lent, and again after commit()") {
  Params params(1);
  const Tensor w = Scope(params).param("w", {5, 7}, constant(1)), x = full({4, 7}, 1);
  const auto value = [&] { return static_cast<double>(linear(x, w, {})[0]); };
  CHECK(value() == 7);
  CHECK(!w.leaf()->lent);
  CHECK(w.read()[0] == 1);
  CHECK(!w.leaf()->lent);
  CHECK(w.leaf()->packed.load() != nullptr);
  for (real& v : w.rewrite()) v = 2;
  CHECK(value() == 14);
  CHECK(!w.leaf()->lent);
  w[0] = 3;
  CHECK(w.leaf()->lent);
  CHECK(value() == 15);
  params.commit();
  CHECK(!w.leaf()->lent);
  CHECK(value() == 15);
  const Tensor other = full({5, 7}, 4);
  w.exchange_values(other);
  CHECK(value() == 28);
  CHECK(other.read()[0] == 3);
  CHECK_THROWS_AS(w.exchange_values(zeros({5, 6})), Error);
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
