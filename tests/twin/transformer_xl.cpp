// Segments with a memory: to a causal model with relative positions they are one text.
#include "tessera/models/transformer_xl.h"

#include <algorithm>
#include <cmath>

#include "tests/twin/twin.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

using transformer_xl::Config;
using transformer_xl::TransformerXl;

Config small(int memory, bool norm_first = false) {
  Config c;
  c.vocab_size = 11, c.d_model = 24, c.nhead = 3, c.num_layers = 3, c.dim_feedforward = 32, c.dropout = 0;
  c.mem_len = memory, c.norm_first = norm_first, c.max_length = 24;
  return c;
}

struct Net {
  Params params{1};
  TransformerXl net;
  Net(const std::string& encoding, const Config& c) : net(Scope(params), c, position(encoding)) {
    double i = 0;
    for (const auto& e : params.entries())
      for (real& v : e.value.values()) v += static_cast<real>(0.2 * std::sin(1.7 * ++i));
    params.commit();
  }
};

/// Two texts of so many tokens.
Ints text(int T) {
  Ints n(2, T);
  for (int i = 0; i < 2 * T; ++i) n.data()[i] = (i * i * 3 + 5 * i + i / T) % 11;
  return n;
}
Ints columns(const Ints& x, int from, int to) {
  Ints y(x.count(), to - from);
  for (int b = 0; b < x.count(); ++b)
    std::copy(x.data() + b * x.width() + from, x.data() + b * x.width() + to, y.data() + b * (to - from));
  return y;
}

/// Logits of all segments, each given what the one before left, next to those of the whole text; the largest difference in the last.
double apart(const Net& segments, const Net& whole, std::vector<int> lengths) {
  int T = 0;
  for (const int n : lengths) T += n;
  const Ints all = text(T);
  Input in;
  in.tokens = all;
  const Tensor together = whole.net.forward(Run{}, in).logits;
  double most = 0;
  int from = 0;
  in.state.clear();
  for (const int n : lengths) {
    in.tokens = columns(all, from, from + n);
    const Output out = segments.net.forward(Run{}, in);
    most = 0;
    for (int b = 0; b < 2; ++b)
      for (int i = 0; i < n * 11; ++i)
        most = std::max(most, std::abs(static_cast<double>(out.logits[b * n * 11 + i]) -
                                       static_cast<double>(together[(b * T + from) * 11 + i])));
    in.state = out.state, from += n;
  }
  return most;
}

TWIN_CASE(
    "transformer_xl: segments with a memory of all before them are the whole text, under every relative encoding") {
  const double allowed = sizeof(real) == 8 ? 1e-12 : 1e-5;
  int ran = 0;
  for (const auto& row : positions()) {
    CAPTURE(std::string(row.name));
    const bool relative =
        std::ranges::none_of(row.hooks, [](const auto& h) { return h == "tokens" || h == "between"; });
    if (!relative || row.name == std::string("sasa")) continue;
    for (const bool norm_first : {false, true}) {
      const Net net(row.name, small(24, norm_first));
      CHECK(apart(net, net, {8, 8}) <= allowed);
      CHECK(apart(net, net, {5, 9, 3}) <= allowed);
    }
    ++ran;
  }
  CHECK(ran >= 25);
}

TWIN_CASE("transformer_xl: without a memory, with too short a one, or with absolute positions segments are no text") {
  const Net whole("transformer_xl", small(24)), none("transformer_xl", small(0)), brief("transformer_xl", small(3));
  CHECK(apart(none, whole, {8, 8}) > 1e-3);
  CHECK(apart(brief, whole, {8, 8}) > 1e-3);
  CHECK(apart(whole, whole, {8, 8}) <= 1e-5);
  const Net absolute("sinusoidal", small(24));
  CHECK(apart(absolute, absolute, {8, 8}) > 1e-3);
}

TWIN_CASE("transformer_xl: the memory is of the given length, of every layer, and no gradient goes into it") {
  const Net net("transformer_xl", small(6));
  Input in;
  in.tokens = text(4);
  Tape tape;
  Grads grads;
  Output out = net.net.forward(Run{.mode = Mode::train}, in);
  REQUIRE(out.state.size() == 3);
  CHECK(out.state[0].shape() == Shape{2, 4, 24});
  in.state = out.state;
  out = net.net.forward(Run{.mode = Mode::train}, in);
  for (const Tensor& m : out.state) {
    CHECK(m.shape() == Shape{2, 6, 24});
    CHECK_FALSE(tracked(m));
  }
  tape.backward(out.logits, full(out.logits.shape(), 1), grads);
  for (const auto& e : net.params.entries()) CHECK_MESSAGE(grads.has(e.value), e.name);
  in.lengths = Ints{4, 2};
  CHECK_THROWS_WITH_AS(net.net.forward(Run{}, in), doctest::Contains("has no padding"), Error);
  in.lengths = {}, in.state.pop_back();
  CHECK_THROWS_WITH_AS(net.net.forward(Run{}, in), doctest::Contains("a memory of 2 layers"), Error);
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
