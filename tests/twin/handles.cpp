// A handle used where it does not belong is an Error, never a number: tensors of other tapes, tapes that were walked, gradients
// asked of the wrong tape.
#include "tests/twin/handles.h"

#include <memory>
#include <thread>
#include <vector>

#include "tessera/core/ops.h"
#include "tessera/core/parallel.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

/// An output of a tape that has ended: w^2.
Tensor of_an_ended_tape(const Tensor& w) {
  const Tape tape;
  return square(w);
}

const char* const elsewhere = "was recorded on a tape that has ended";
const char* const what_to_do = "detach() it to use its values, or compute it again under this tape";

TWIN_CASE(
    "handles: what an ended tape recorded is refused by every op of a new one, with the op, the place and the way "
    "out") {
  Params params(1);
  const Tensor w = one_weight(params, 3), v = one_weight(params, 4, "v");
  const Tensor old = of_an_ended_tape(w);
  const Tape tape;
  const Tensor y = mul(v, v);  // a slot where the old one has its own
  const Crumb block("blocks.3"), layer("mlp");
  CHECK_THROWS_WITH_AS(mul(y, old), doctest::Contains("[mul blocks.3.mlp]"), Error);
  CHECK_THROWS_WITH_AS(mul(y, old), doctest::Contains(elsewhere), Error);
  CHECK_THROWS_WITH_AS(mul(y, old), doctest::Contains(what_to_do), Error);
  const Tensor copy = old, again = copy.reshape({1, 1}).reshape({1});
  for (const Tensor* x : {&old, &copy, &again}) {
    CHECK_THROWS_AS(square(*x), Error);
    CHECK_THROWS_AS(add(*x, y), Error);
    CHECK_THROWS_AS(linear(x->reshape({1, 1}), v.reshape({1, 1}), {}), Error);
    CHECK_THROWS_AS(linear_gelu(x->reshape({1, 1}), v.reshape({1, 1}), {}), Error);
    CHECK_THROWS_AS(concat({*x, y}, 0), Error);
    CHECK_THROWS_AS(x->rows(0, 1), Error);
  }
  CHECK(tape.nodes() == 1);
}

TWIN_CASE("handles: watch(), backward() and grad() refuse what their tape did not record") {
  Params params(1);
  const Tensor w = one_weight(params, 3), old = of_an_ended_tape(w);
  Grads g;
  Tape tape;
  const Tensor y = square(w), x = tape.watch(full({1}, 2)), z = mul(x, y), plain = full({1}, 5);
  CHECK_THROWS_WITH_AS(tape.watch(old), doctest::Contains(elsewhere), Error);
  CHECK_THROWS_WITH_AS(tape.watch(Tensor()), doctest::Contains("empty"), Error);
  CHECK_THROWS_WITH_AS(tape.backward(old, g), doctest::Contains(elsewhere), Error);
  CHECK_THROWS_WITH_AS(tape.backward({{z}, {old}}, g), doctest::Contains(elsewhere), Error);
  {
    Tape inner;
    CHECK_THROWS_WITH_AS(inner.backward(z, g), doctest::Contains("which is alive too"), Error);
    CHECK_THROWS_WITH_AS(inner.watch(z), doctest::Contains("which is alive too"), Error);
    CHECK_THROWS_WITH_AS(inner.grad(x), doctest::Contains("which is alive too"), Error);
  }
  CHECK_THROWS_WITH_AS(tape.grad(plain), doctest::Contains("tape.watch(x)"), Error);
  CHECK_THROWS_WITH_AS(tape.grad(w), doctest::Contains("tape.watch(x)"), Error);
  CHECK_THROWS_WITH_AS(tape.grad(Tensor()), doctest::Contains("tape.watch(x)"), Error);
  CHECK_THROWS_WITH_AS(tape.grad(old), doctest::Contains(elsewhere), Error);
  CHECK_THROWS_WITH_AS(tape.grad(y), doctest::Contains("was not watched"), Error);
  tape.backward(z, g);  // none of the refused calls has done harm
  CHECK(tape.grad(x)[0] == 9);
  CHECK(g.of(w)[0] == 12);
  CHECK_THROWS_WITH_AS(tape.grad(y), doctest::Contains("was not watched"), Error);
  CHECK_THROWS_WITH_AS(tape.watch(plain), doctest::Contains("has walked this tape"), Error);
}

TWIN_CASE("handles: an inner tape refuses what the outer one records, and the other way round") {
  Params params(1);
  const Tensor w = one_weight(params, 3);
  Grads g, inner_g;
  Tape outer;
  const Tensor y = square(w);
  Tensor z;
  {
    Tape inner;
    CHECK_THROWS_WITH_AS(square(y), doctest::Contains("which is alive too"), Error);
    z = scale(mul(w, y.detach()), 2);
    inner.backward(z, inner_g);
  }
  CHECK(inner_g.of(w)[0] == 18);
  CHECK_THROWS_WITH_AS(add(y, z), doctest::Contains(elsewhere), Error);
  outer.backward(mul(y, z.detach()), g);
  CHECK(g.of(w)[0] == 6 * 54);
}

TWIN_CASE("handles: a tensor of another thread's tape is refused under this one's, and a value where there is none") {
  Params params(1);
  const Tensor w = one_weight(params, 3);
  const Tape tape;
  const Tensor y = square(w);
  bool refused = false;
  double value = 0;
  std::thread([&] {
    value = static_cast<double>(scale(y, 2)[0]);
    const Tensor x = w;
    const Tape other;
    square(x);
    try {
      square(y);
    } catch (const Error&) {
      refused = true;
    }
  }).join();
  CHECK(refused);
  CHECK(value == 18);
}

TWIN_CASE("handles: without a tape, what was recorded is a value") {
  Params params(1);
  const Tensor w = one_weight(params, 3), old = of_an_ended_tape(w);
  const Tensor y = add(scale(old, 2), old.rows(0, 1));
  CHECK(y[0] == 27);
  CHECK(!tracked(y));
  Grads g;
  {
    Tape tape;
    tape.backward(mul(w, y), g);  // a plain value, computed without a tape
  }
  CHECK(g.of(w)[0] == 27);
  const Tensor view = old.rows(0, 1);  // but a view of it still is what it was
  const Tape tape;
  CHECK_THROWS_WITH_AS(mul(w, view), doctest::Contains("recorded on"), Error);
}

TWIN_CASE("handles: a memory bank of detached outputs is constants") {
  Params params(1);
  const Tensor w = one_weight(params, 3);
  std::vector<Tensor> bank, wrong;
  for (int i = 0; i < 3; ++i) {
    Grads g;
    Tape tape;
    const Tensor y = scale(w, i + 1);
    wrong.push_back(y), bank.push_back(y.detach());
    tape.backward(y, g);
  }
  Grads g;
  Tape tape;
  Tensor sum = square(w);
  CHECK_THROWS_AS(add(sum, wrong[0]), Error);
  for (const Tensor& b : bank) sum = add(sum, b);
  tape.backward(sum, g);
  CHECK(g.of(w)[0] == 6);
}

TWIN_CASE("handles: detach() stops the gradient of a parameter, too, through reshape and rows") {
  Params params(1);
  const Tensor w = Scope(params).param("w", {2, 1}, constant(3));
  CHECK(tracked(w));
  CHECK(!tracked(w.detach()));
  CHECK(!tracked(w.detach().reshape({1, 2})));
  CHECK_THROWS_AS(w.rows(0, 1), Error);
  Grads g;
  Tape tape;
  tape.backward(mul(w, add(w.detach(), w.detach().rows(0, 1))), g);
  CHECK(doubles(g.of(w)) == std::vector<double>{6, 6});
}

TWIN_CASE("handles: a tape is walked once") {
  Params params(1);
  const Tensor w = one_weight(params, 3);
  Grads g;
  Tape tape;
  const Tensor a = square(w), b = scale(w, 5);
  tape.backward(a, g);
  CHECK_THROWS_WITH_AS(tape.backward(a, g), doctest::Contains("backward({{a}, {b, 0.5}}, grads)"), Error);
  CHECK_THROWS_WITH_AS(tape.backward(b, g), doctest::Contains("has been walked"), Error);
  CHECK_THROWS_WITH_AS(tape.backward(b, full({1}, 1), g), doctest::Contains("has been walked"), Error);
  CHECK_THROWS_WITH_AS(tape.backward({{a}, {b}}, g), doctest::Contains("has been walked"), Error);
  CHECK_THROWS_WITH_AS(square(w), doctest::Contains("has walked this tape"), Error);
  CHECK_THROWS_WITH_AS(square(a), doctest::Contains("has walked this tape"), Error);
  CHECK(square(full({1}, 3))[0] == 9);  // of plain values there is nothing to record
  {
    const NoGrad values;
    CHECK(square(a)[0] == 81);
  }
  CHECK(g.of(w)[0] == 6);  // and all that left the gradient alone
}

TWIN_CASE("handles: a walk that throws has consumed its tape as well") {
  Params params(1);
  const Tensor w = one_weight(params, 3);
  Grads g;
  Tape tape;
  const Tensor y = square(w),
               z = record("broken", y.copy(), {&y}, [](const Tensor&, Back&) { fail("test", "broken"); });
  CHECK_THROWS_WITH_AS(tape.backward(z, g), "[test] broken", Error);
  CHECK_THROWS_WITH_AS(tape.backward(y, g), doctest::Contains("has been walked"), Error);
}

TWIN_CASE("handles: several losses in one walk are their weighted sum") {
  Params params(1);
  const Tensor w = Scope(params).param("w", {3}, normal(1));
  const Tensor dy = tensor({3}, std::vector<double>{1, -2, 0.5});
  const auto a = [&] { return sum(square(w)); };
  const auto b = [&] { return sum(sigmoid(mul(w, w))); };
  const auto y = [&] { return exp(w); };
  Grads apart, together, weighted, empty;
  {
    Tape tape;
    tape.backward(a(), apart);
  }
  {
    Tape tape;
    tape.backward(b(), apart, real(0.5));
  }
  {
    Tape tape;
    tape.backward(y(), dy, apart);
  }
  Tape tape;
  const Tensor shared = tape.watch(full({3}, 2));
  tape.backward({{a()}, {b(), 0.5}, {y(), dy}, {shared, 3}, {shared}}, together);
  for (int64_t i = 0; i < 3; ++i) {
    CHECK(together.of(w)[i] == doctest::Approx(static_cast<double>(apart.of(w)[i])).epsilon(1e-6));
    CHECK(tape.grad(shared)[i] == 4);
  }
  Tape next;
  CHECK_THROWS_WITH_AS(next.backward(std::span<const Tape::Loss>(), empty), doctest::Contains("no loss"), Error);
  CHECK_THROWS_AS(next.backward({{square(w), zeros({2})}}, empty), Error);
  CHECK_THROWS_AS(next.backward({{square(w)}, {zeros({3})}}, empty), Error);
  next.backward({{square(w)}}, weighted);  // refused calls have not consumed it
  for (int64_t i = 0; i < 3; ++i) CHECK(weighted.of(w)[i] == 2 * w[i]);
}

TWIN_CASE("handles: several losses against central differences") {
  if (sizeof(real) == sizeof(float)) return;  // the noise of float differences is checked nowhere; its twin is exact
  Params params(1);
  const Tensor w = Scope(params).param("w", {4}, normal(1));
  const auto value = [&] { return add(sum(square(w)), scale(sum(exp(w)), 0.3)); };
  Grads g;
  {
    Tape tape;
    tape.backward({{sum(square(w))}, {sum(exp(w)), 0.3}}, g);
  }
  const double h = 1e-5;
  for (int64_t i = 0; i < w.size(); ++i) {
    const real at = w[i];
    w[i] = static_cast<real>(static_cast<double>(at) + h);
    const double up = static_cast<double>(value()[0]);
    w[i] = static_cast<real>(static_cast<double>(at) - h);
    const double down = static_cast<double>(value()[0]);
    w[i] = at;
    CHECK(static_cast<double>(g.of(w)[i]) == doctest::Approx((up - down) / (2 * h)).epsilon(1e-6));
  }
}

TWIN_CASE("handles: watching an op's output or a parameter leaves the gradient that flows on") {
  Params params(1);
  const Tensor w = one_weight(params, 3);
  Grads g;
  Tape tape;
  const Tensor v = tape.watch(w), h = tape.watch(square(v));
  tape.backward(add(mul(h, h), h), g);
  CHECK(tape.grad(h)[0] == 2 * 9 + 1);
  CHECK(tape.grad(v)[0] == 19 * 6);
  CHECK(g.of(w)[0] == 19 * 6);
}

TWIN_CASE("handles: under NoGrad nothing is recorded, a tape inside of it is") {
  Params params(1);
  const Tensor w = one_weight(params, 3);
  Grads g, inner_g;
  Tape tape;
  const Tensor y = square(w);
  Tensor target;
  {
    const NoGrad values;
    target = add(scale(y, 2), y.rows(0, 1));
    CHECK(!tracked(target));
    CHECK(tape.nodes() == 1);
    {
      Tape inner;
      inner.backward(scale(w, 7), inner_g);
    }
    CHECK(context().tape == nullptr);
    const NoGrad twice;
    CHECK(!tracked(square(w)));
  }
  CHECK(target[0] == 27);
  tape.backward(mul(y, target), g);  // a constant: the target network's output
  CHECK(g.of(w)[0] == 27 * 6);
  CHECK(inner_g.of(w)[0] == 7);
}

TWIN_CASE("handles: tapes that end in another order than they began, or inside of a NoGrad, leave none behind") {
  Params params(1);
  const Tensor w = one_weight(params, 3);
  auto a = std::make_unique<Tape>(), b = std::make_unique<Tape>(), c = std::make_unique<Tape>();
  b.reset();
  CHECK(context().tape == c.get());
  a.reset();
  CHECK(context().tape == c.get());
  c.reset();
  CHECK(context().tape == nullptr);
  auto d = std::make_unique<Tape>();
  {
    const NoGrad values;
    d.reset();
  }
  CHECK(context().tape == nullptr);
  CHECK(!tracked(square(w)));
}

TWIN_CASE("handles: ops that a pullback calls are values, and a tensor it was not told of is refused") {
  Params params(1);
  const Tensor w = one_weight(params, 3), old = of_an_ended_tape(w);
  Grads g;
  {
    Tape tape;
    const Tensor x = square(w);
    const Tensor y = record("cube", mul(x, x).detach(), {&x}, [x](const Tensor& dy, Back& back) {
      back.add(x, mul(dy, scale(x, 2)));  // x is recorded; this product must not be
    });
    tape.backward(y, g);
  }
  CHECK(g.of(w)[0] == 2 * 9 * 6);
  Tape tape;
  const Tensor x = square(w);
  const Tensor y = record("wrong", x.copy(), {&x}, [old](const Tensor& dy, Back& back) { back.add(old, dy); });
  CHECK_THROWS_WITH_AS(tape.backward(y, g), doctest::Contains("recorded on"), Error);
}

TWIN_CASE("handles: inside of a shard a tape from outside records on no thread") {
  Params params(1);
  const Tensor w = one_weight(params, 3);
  const Tape tape;
  std::vector<char> recorded(8);
  parallel::shards(8, [&](int i) { recorded[static_cast<size_t>(i)] = tracked(square(w)); });
  CHECK(recorded == std::vector<char>(8));
  CHECK(tape.nodes() == 0);
  CHECK(tracked(square(w)));
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
