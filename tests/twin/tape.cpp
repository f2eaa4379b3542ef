// What the tape promises.
#include <cmath>
#include <string>
#include <vector>

#include "tessera/core/memory.h"
#include "tessera/core/ops/activation.h"
#include "tessera/core/ops/arithmetic.h"
#include "tessera/core/ops/layernorm.h"
#include "tessera/core/ops/linear.h"
#include "tessera/nn/params.h"
#include "tests/twin/twin.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

Tensor ramp(const Shape& s) {
  Tensor x(s);
  for (int64_t i = 0; i < x.size(); ++i) x[i] = static_cast<real>(std::sin(static_cast<double>(i)));
  return x;
}
std::vector<double> doubles(const Tensor& t) { return {t.data(), t.data() + t.size()}; }

/// y0 = 2 x, y1 = 3 x, and a note of which gradients arrived.
std::pair<Tensor, Tensor> two_and_three(const Tensor& x, std::string& arrived) {
  Tensor y0(x.shape()), y1(x.shape());
  for (int64_t i = 0; i < x.size(); ++i) y0[i] = 2 * x[i], y1[i] = 3 * x[i];
  return record("two_and_three", y0, y1, {&x}, [x, &arrived](const Tensor& d0, const Tensor& d1, Back& back) {
    arrived = std::string(d0 ? "first " : "") + (d1 ? "second" : "");
    Tensor dx = zeros(x.shape());
    for (int64_t i = 0; i < x.size(); ++i) dx[i] = (d0 ? 2 * d0[i] : 0) + (d1 ? 3 * d1[i] : 0);
    back.add(x, dx);
  });
}

struct Names : Observer {
  std::vector<std::string> seen;
  std::vector<uint64_t> number, pulled_number;
  void saw(const Seen& s) override {
    seen.push_back(
        fmt::format("{} {} {} {} {}", s.op.name, s.path, s.inputs.size(), s.outputs[0]->shape().str(), s.op.macs));
    number.push_back(s.number);
  }
  void pulled(uint64_t n, const char* op, std::span<const Tensor> dy) override {
    seen.push_back(fmt::format("{}", op));
    for (const Tensor& d : dy) seen.back() += d ? fmt::format(" {}", d[0]) : " none";
    pulled_number.push_back(n);
  }
};

TWIN_CASE("tape: two shards in one lane accumulate, shared dy is not corrupted") {
  Params params(1);
  const Scope s(params);
  Tensor W = s.param("fc.weight", {3, 4}, normal(1)), b = s.param("fc.bias", {3}, normal(1));
  const Tensor x = ramp({5, 4});
  const auto run = [&](Grads& g) {
    Tape tape;
    const Tensor y = layernorm(linear(x, W, b), {}, {}, 1e-5);
    tape.backward(y, full(y.shape(), 1), g);
  };
  Grads once, twice;
  run(once), run(twice), run(twice);
  for (int64_t i = 0; i < W.size(); ++i) CHECK(twice.of(W)[i] == doctest::Approx(2 * once.of(W)[i]));
}

TWIN_CASE("tape: next_step() forgets the values and overwrites them, NaN or not") {
  Params params(1);
  const Tensor w = Scope(params).param("w", {3}, constant(2));
  Grads g;
  const auto run = [&] {
    Tape tape;
    const Tensor y = square(w);
    tape.backward(y, g);
  };
  run(), run();
  CHECK(doubles(g.of(w)) == std::vector<double>{8, 8, 8});
  for (real& v : g.of(w).values()) v = std::numeric_limits<real>::quiet_NaN();
  g.next_step();
  CHECK(!g.has(w));
  CHECK_THROWS_WITH_AS(g.of(w), "[grads] no gradient arrived at w", Error);
  run();
  CHECK(doubles(g.of(w)) == std::vector<double>{4, 4, 4});
}

TWIN_CASE("tape: frozen parameters and buffers get no gradient, nor do their ops get a node") {
  Params params(1);
  const Scope s(params);
  const Tensor W = s.param("fc.weight", {3, 4}, normal(1)), b = s.param("fc.bias", {3}, normal(1));
  const Tensor table = s.buffer("table", {3}, normal(1));
  const Tensor x = ramp({5, 4});
  params.freeze("fc.weight");
  Grads g;
  {
    Tape tape;
    const Tensor y = mul(linear(x, W, b), table);
    tape.backward(y, g);
  }
  CHECK(g.has(b));
  CHECK(!g.has(W));
  CHECK(!g.has(table));
  params.freeze("fc");
  Tape tape;
  const Tensor y = mul(linear(x, W, b), table);
  CHECK(tape.nodes() == 0);
  CHECK(!tracked(y));
  CHECK_THROWS_WITH_AS(tape.backward(y, g),
                       "[backward] the loss depends on no tracked tensor: no trainable parameter, or no tape was alive",
                       Error);
}

TWIN_CASE("tape: the two sides of a sum share dy; what is added to one does not reach the other") {
  Tape tape;
  Grads none;
  const Tensor a = tape.watch(ramp({4})), b = tape.watch(ramp({4}));
  // dy goes to a and b without a copy; then square(a) adds to a's gradient in place
  const Tensor squares = square(a);
  const Tensor y = add(add(a, b), squares);
  tape.backward(y, none);
  for (int64_t i = 0; i < 4; ++i) {
    CHECK(tape.grad(b)[i] == 1);
    CHECK(tape.grad(a)[i] == doctest::Approx(static_cast<double>(1 + 2 * a[i])));
  }
}

TWIN_CASE("tape: a sum that is used again below, in every order of arrival") {
  // s = a + b, and s, a and b are used in later ops too: d/da (s^2 + 3 a + s b) and so on
  Grads none;
  Tape tape;
  const Tensor a = tape.watch(full({3}, 2)), b = tape.watch(full({3}, 5));
  const Tensor s = add(a, b);
  const Tensor y = add(add(square(s), scale(a, 3)), mul(s, b));
  tape.backward(y, none);
  CHECK(doubles(tape.grad(a)) == std::vector<double>(3, 2 * 7 + 3 + 5));
  CHECK(doubles(tape.grad(b)) == std::vector<double>(3, 2 * 7 + 5 + 7));
}

TWIN_CASE("tape: of two outputs either may be without a gradient") {
  Grads none;
  for (const bool first : {false, true})
    for (const bool second : {false, true}) {
      std::string arrived = "nothing";
      Tape tape;
      const Tensor x = tape.watch(full({2}, 1));
      const auto [y0, y1] = two_and_three(x, arrived);
      const Tensor used = first && second ? add(y0, y1) : first ? scale(y0, 1) : second ? scale(y1, 1) : scale(x, 1);
      tape.backward(used, none);
      CHECK(arrived == (first && second ? "first second" : first ? "first " : second ? "second" : "nothing"));
      CHECK(tape.grad(x)[0] == (first || second ? 2 * first + 3 * second : 1));
    }
}

TWIN_CASE("tape: watch() gives the gradient of what is no parameter, reshaped or not") {
  Grads none;
  Tape tape;
  const Tensor plain = ramp({6});
  const Tensor x = tape.watch(plain), unused = tape.watch(plain);
  CHECK(!tracked(plain));
  CHECK(tracked(x));
  const Tensor y = square(x.reshape({2, 3}));
  tape.backward(y, full({2, 3}, 2), none);
  CHECK(tape.grad(x).shape() == x.shape());
  for (int64_t i = 0; i < 6; ++i) CHECK(tape.grad(x)[i] == 4 * plain[i]);
  CHECK(!tape.grad(unused));
  CHECK(tape.nodes() == 0);  // what the ops saved is free
}

TWIN_CASE("tape: detach() ends the gradient") {
  Grads none;
  Tape tape;
  const Tensor x = tape.watch(full({1}, 3));
  tape.backward(mul(x, square(x).detach()), none);
  CHECK(tape.grad(x)[0] == 9);
}

TWIN_CASE("tape: an inner tape records its own ops and gives the outer one back") {
  Params params(1);
  const Tensor w = Scope(params).param("w", {2}, constant(3));
  Grads outer_grads, inner_grads;
  Tape outer;
  const Tensor y = square(w);
  {
    Tape inner;
    CHECK(context().tape == &inner);
    const Tensor z = scale(w, 5);
    CHECK(inner.nodes() == 1);
    CHECK(outer.nodes() == 1);
    inner.backward(z, inner_grads);
  }
  CHECK(context().tape == &outer);
  outer.backward(scale(y, 1), outer_grads);
  CHECK(inner_grads.of(w)[0] == 5);
  CHECK(outer_grads.of(w)[0] == 6);
}

TWIN_CASE("tape: without a tape nothing is tracked") {
  Params params(1);
  const Tensor w = Scope(params).param("w", {2}, constant(3));
  CHECK(!tracked(square(w)));
  CHECK(context().tape == nullptr);
}

TWIN_CASE("tape: an exception in the middle of a forward pass leaves no tape behind") {
  Params params(1);
  const Tensor w = Scope(params).param("w", {2}, constant(3));
  const auto broken = [&] {
    Tape tape;
    const Tensor y = square(w);
    add(y, zeros({3}));
  };
  CHECK_THROWS_AS(broken(), Error);
  CHECK(context().tape == nullptr);
  Tape next;
  CHECK(next.nodes() == 0);
}

TWIN_CASE("tape: the observer sees every op, tracked or not, with its place and its work") {
  Names names;
  const Tensor x = zeros({2, 3}), W = zeros({4, 3});
  {
    Observing here(names);
    Crumb block("blocks.0"), layer("mlp");
    relu(linear(x, W));
    Tape tape;
    neg(tape.watch(x));
  }
  relu(x);  // nobody looks any more
  CHECK(names.seen == std::vector<std::string>{"linear blocks.0.mlp 3 (2, 4) 24", "relu blocks.0.mlp 1 (2, 4) 0",
                                               "neg blocks.0.mlp 1 (2, 3) 0"});
}

TWIN_CASE("tape: the observer sees all outputs, and gradients on their way back, under the numbers of their ops") {
  Names names;
  Grads none;
  std::string arrived;
  Tape tape;
  const Tensor x = tape.watch(full({1}, 2));
  const Tensor before = neg(x);  // seen by nobody
  {
    const Observing here(names);
    const auto [y0, y1] = two_and_three(before, arrived);
    const Tensor z = square(y1);
    CHECK(names.seen.size() == 2);
    tape.backward(z, none, 5);
  }
  CHECK(names.seen[0] == "two_and_three  1 (1,) 0");
  CHECK(std::vector(names.seen.begin() + 2, names.seen.end()) ==
        std::vector<std::string>{"square 5", "two_and_three none -60", "neg -180", "watch 180"});
  CHECK(names.pulled_number == std::vector<uint64_t>{names.number[1], names.number[0], 0, 0});
  struct Outputs final : Observer {
    size_t count = 0;
    void saw(const Seen& s) override { count += s.outputs.size(); }
  } outputs;
  const Observing here(outputs);
  two_and_three(ramp({1}), arrived);
  CHECK(outputs.count == 2);
}

TWIN_CASE("tape: a value is known by its storage and offset, through reshape() and rows()") {
  struct Keep final : Observer {
    std::vector<Tensor> in, out;
    void saw(const Seen& s) override { in.push_back(*s.inputs[0]), out.push_back(*s.outputs[0]); }
  } keep;
  const Observing here(keep);
  const Tensor x = ramp({4, 6}), y = square(x);
  neg(y.reshape({3, 8})), neg(y.rows(1, 3)), neg(y.rows(0, 2));
  for (size_t i = 1; i < 4; ++i) CHECK(keep.in[i].storage() == keep.out[0].storage());
  CHECK((keep.in[1].offset() == 0 && keep.in[1].shape() == Shape{3, 8}));
  CHECK((keep.in[2].offset() == 6 && keep.in[2].shape() == Shape{2, 6}));
  CHECK(keep.in[3].offset() == 0);
  for (const Tensor& t : keep.out) CHECK(t.offset() == 0);
}

TWIN_CASE("tape: a gradient that nobody wants costs no memory") {
  Params params(1);
  const Tensor W = Scope(params).param("fc.weight", {2, 4096}, normal(1));
  const Tensor x = ramp({64, 4096});
  const auto bytes = x.size() * static_cast<int64_t>(sizeof(real));
  Grads g;
  const auto peak = [&](bool wanted) {
    Tape tape;
    const Tensor in = wanted ? tape.watch(x) : x;
    const Tensor y = linear(in, W);
    Pool::reset_peaks();
    const int64_t before = Pool::mine().stats().live;
    tape.backward(y, g);
    return Pool::mine().stats().peak - before;
  };
  peak(false);  // the lane's gradient is allocated here; the rest is the product's scratch
  CHECK(peak(true) - peak(false) >= bytes);
}

TWIN_CASE("tape: an input whose values no pullback reads is free after the forward pass") {
  const Shape s{64, 4096};
  const auto bytes = s.size() * static_cast<int64_t>(sizeof(real));
  Tape tape;
  const Tensor x = tape.watch(ramp(s));
  const int64_t before = Pool::mine().stats().live;
  const Tensor y = sigmoid(add(x, x));  // saves y only: the sum is gone
  CHECK(Pool::mine().stats().live - before < bytes * 5 / 4);
  Grads none;
  tape.backward(y, none);
  const double v = static_cast<double>(y[7]);
  CHECK(static_cast<double>(tape.grad(x)[7]) == doctest::Approx(2 * v * (1 - v)));
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
