// Rotary encodings of other directions, values that turn, bases and wavelets against numbers: of their authors' code, which
// tests/golden/directions.py wrote, and of an independent oracle on the smallest attention (see position_goldens.cpp).
#include <array>
#include <cmath>
#include <functional>

#include "tessera/core/io/tensor_file.h"
#include "tessera/nn/position.h"
#include "tests/twin/twin.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

using Row = std::vector<double>;
const double tolerance =
    sizeof(real) == 8 ? 1e-6 : 2e-5;  // numbers of six decimals, or of sources that compute in float32

/// An encoding on one attention of one grid.
struct One {
  Params params;
  Places places;
  Layout now;
  std::unique_ptr<PositionEncoding> encoding;

  One(std::string_view name, const Options& options, const Grid& g, int heads, int d, double scale = 0.5)
      : now(Layout::global(g)) {
    places.sites = {Site{0, 0, 0, heads * d, heads, d, scale, now, "attn"}};
    encoding = position(name, options)(Scope(params), places);
  }
  const Site& site() const { return places.sites[0]; }
  One& set(std::string_view parameter, const std::function<double(int64_t)>& f) {
    REQUIRE_MESSAGE(params.find(parameter), parameter);
    const Tensor& t = params.find(parameter)->value;
    for (int64_t i = 0; i < t.size(); ++i) t[i] = static_cast<real>(f(i));
    params.commit();
    return *this;
  }
  One& set(std::string_view parameter, const Row& values) {
    REQUIRE(params.find(parameter)->value.size() == static_cast<int64_t>(values.size()));
    return set(parameter, [&](int64_t i) { return values[static_cast<size_t>(i)]; });
  }
  Rotary rotary() const { return encoding->terms(site(), now, {}, {}).rotary; }
  /// Pair by pair, the cosine and sine of the angle of token n are those of these numbers.
  void turns(int n, const Row& angles, int head = 0) const {
    const Rotary r = rotary();
    REQUIRE(r.cos_q.dim(2) == static_cast<int>(angles.size()));
    for (size_t t = 0; t < angles.size(); ++t) {
      const auto at = (int64_t{head} * r.cos_q.dim(1) + n) * r.cos_q.dim(2) + static_cast<int64_t>(t);
      CHECK(std::abs(static_cast<double>(r.cos_q[at]) - std::cos(angles[t])) <= tolerance);
      CHECK(std::abs(static_cast<double>(r.sin_k[at]) - std::sin(angles[t])) <= tolerance);
    }
  }

  /// q[i][c] = sin(0.3 (i+1)(c+1)), k = cos(0.2 (i+1)(c+2)), v = ((4i + c) mod 5)/5 - 0.4 of four tokens of one head.
  Query query() const {
    const int d = site().head_dim;
    const auto input = [&](double (*f)(int, int)) {
      Tensor t({1, 4, d});
      for (int i = 0; i < 4; ++i)
        for (int c = 0; c < d; ++c) t[i * d + c] = static_cast<real>(f(i, c));
      return heads(t, 1);
    };
    return {input([](int i, int c) { return std::sin(0.3 * (i + 1) * (c + 1)); }),
            input([](int i, int c) { return std::cos(0.2 * (i + 1) * (c + 2)); }),
            input([](int i, int c) { return (4 * i + c) % 5 / 5.0 - 0.4; }), global_pattern(4, 4), site().scale};
  }
  /// Rows 0 and 3 of the logits, up to a constant per row that softmax cannot see.
  const One& logits(const Row& L0, const Row& L3) const {
    const Query shaped = encoding->shape(site(), now, query(), {}, {});
    const Tensor w = attention_weights(shaped, encoding->terms(site(), now, {}, {}));
    for (const auto& [i, L] : {std::pair(0, &L0), std::pair(3, &L3)})
      for (int j = 1; j < 4 && !L->empty(); ++j)
        CHECK(std::abs(std::log(static_cast<double>(w[4 * i + j]) / static_cast<double>(w[4 * i])) -
                       ((*L)[static_cast<size_t>(j)] - (*L)[0])) <= 2 * tolerance);
    return *this;
  }
  void outputs(const Row& O0, const Row& O3) const {
    const Tensor o = encoding->attend(site(), now, query(), {}, {});
    for (const auto& [i, O] : {std::pair(0, &O0), std::pair(3, &O3)})
      for (int c = 0; c < 4; ++c)
        CHECK(std::abs(static_cast<double>(o[i * 4 + c]) - (*O)[static_cast<size_t>(c)]) <= tolerance);
  }
};

const Grid square{2, 2, 0};
/// Z[r][c] of a 4 x 4 matrix
double Z(int64_t i) { return 0.5 * std::sin(0.7 * static_cast<double>(i + 1)); }

// ---- of an oracle ---------------------------------------------------------------------------------------------------

TWIN_CASE("golden attention: spiral and golden gate") {
  const One spiral("spiral", {{"rotate", 2}}, square, 1, 16, 0.25);
  spiral.turns(1, {0, 0, 0.010607, 0.001061, 1.5, 0.15, 0.010607, 0.001061});    // fx
  spiral.turns(2, {1.5, 0.15, 0.010607, 0.001061, 0, 0, -0.010607, -0.001061});  // fy
  spiral.logits({1.455072, -1.630733, 0.294621, -0.185754}, {-0.025347, -0.191753, 0.595003, 0.018155});
  One("none", {}, square, 1, 16, 0.25).logits({}, {0.318149, 0.044322, 0.382482, 0.018155});

  const One gate("golden_gate", {{"min_freq", 0.2}, {"max_freq", 20.0}}, square, 1, 8);
  gate.turns(2, {0.193796, 0.020981, -3.238927, -19.242654});  // fy
  gate.turns(1, {0.049429, -0.928081, 2.841779, -5.451629});   // fx
}

TWIN_CASE("golden attention: polar frequencies are a (cos al, sin al)") {
  One polar("polar", {}, square, 1, 4);
  polar.set("attn.position.magnitude", Row{1, 0.3}).set("attn.position.direction", Row{0.4, 2.1});
  polar.turns(1, {0.921061, -0.151454});
  polar.turns(2, {0.389418, 0.258963});
}

TWIN_CASE("golden attention: values travel with the rotation") {
  One("gta", {}, square, 1, 4)
      .logits({0.893772, 0.219986, -0.641561, -0.581952}, {0.407128, 0.399381, 0.321971, 0.283803})
      .outputs({-0.145250, -0.151711, -0.007618, 0.050503}, {-0.084403, 0.059091, -0.007802, -0.009397});
}

TWIN_CASE("golden attention: bases before rotation") {
  One harope("harope", {}, square, 1, 4);
  harope.set("attn.position.A_u", [](int64_t i) { return 0.6 * Z(i); })
      .set("attn.position.A_v", [](int64_t i) { return 0.2 * std::cos(0.5 * static_cast<double>(i + 1)); })
      .set("attn.position.sigma", Row{0.5, 0.2, 1, 0.8})
      .logits({0.893772, 0.284296, -0.657516, -0.474395}, {0.454339, 0.460592, 0.218449, 0.283803});
  Row above;
  for (int r = 0; r < 4; ++r)
    for (int c = r + 1; c < 4; ++c) above.push_back(0.3 * (Z(4 * r + c) - Z(4 * c + r)));
  One cayley("cayley_string", {}, square, 1, 4);
  cayley.set("attn.position.S", above)
      .set("attn.position.freqs", Row{0.8, -0.3, 0.2, 0.7})
      .logits({0.893772, 0.099238, -0.570074, -0.570376}, {0.266090, 0.640878, 0.444470, 0.283803});
}

TWIN_CASE("golden attention: wavelets of the raster") {
  One("wavelet", {{"axes", "raster"}, {"scales", 2}}, square, 1, 4)
      .logits({1.741641, 0.144485, -1.034968, -1.270805}, {0.195960, 0.141921, 0.441589, 0.198895});
}

// ---- of the authors' code -------------------------------------------------------------------------------------------

const io::TensorFile& authors() {
  static const io::TensorFile file(TESSERA_SOURCE_DIR "/tests/golden/data/directions.safetensors");
  return file;
}
double apart(const Tensor& a, const Tensor& b) {
  REQUIRE(a.size() == b.size());
  double most = 0;
  for (int64_t i = 0; i < a.size(); ++i)
    most = std::max(most, std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
  return most;
}

TWIN_CASE("golden spiral: the authors' turned and clamped maps of angles") {
  for (const int R : {2, 4})
    for (const bool same : {false, true}) {
      const One clamped("spiral", {{"rotate", R}, {"same_theta", same}, {"clamp", true}}, {5, 5, 0}, 2, 16 * R);
      const Tensor want = authors().read(fmt::format("spiral.{}.{}", R, same ? "same" : "own"));
      const Rotary r = clamped.rotary();
      Tensor got(want.shape());
      std::copy_n(r.cos_q.data(), r.cos_q.size(), got.data());
      std::copy_n(r.sin_q.data(), r.sin_q.size(), got.data() + r.cos_q.size());
      CHECK(apart(got, want) <= tolerance);
    }
}

TWIN_CASE("golden gate: frequencies of vit-pytorch") {
  const One gate("golden_gate", {{"min_freq", 0.1}, {"p_zero_freqs", 0.25}}, square, 3, 16);
  const Tensor f = authors().read("golden_gate");  // (heads, pairs, [y, x])
  for (int h = 0; h < 3; ++h)
    for (int axis = 0; axis < 2; ++axis) {
      Row angles;
      for (int t = 0; t < 8; ++t) angles.push_back(static_cast<double>(f[(h * 8 + t) * 2 + axis]));
      gate.turns(axis == 0 ? 2 : 1, angles, h);
    }
}

TWIN_CASE("golden gate: directions=angle are those of the author's code for pictures") {
  // archibox, UniformRoPE: 2 heads of width 8, frequencies 0.5 to 4
  const One gate("golden_gate", {{"min_freq", 0.5}, {"max_freq", 4.0}, {"directions", std::string("angle")}}, square, 2,
                 8);
  gate.turns(2, {0.5, -0.362375, -1.474738, 3.587131});  // fy
  gate.turns(1, {0, -0.932032, 1.350981, 1.769884});     // fx
  gate.turns(2, {0.043713, -0.960145, 1.216878, 2.076715}, 1);
  gate.turns(1, {-0.498086, 0.279504, 1.587202, -3.418663}, 1);
}

void same_output(One& ours, const std::string& name) {
  const Tensor qkv = authors().read(name + ".qkv");
  const Query query(heads(qkv, 2, 0, 3), heads(qkv, 2, 1, 3), heads(qkv, 2, 2, 3), global_pattern(12, 12),
                    ours.site().scale);
  CHECK(apart(ours.encoding->attend(ours.site(), ours.now, query, {}, {}), authors().read(name + ".o")) <= tolerance);
}

TWIN_CASE("golden GTA: the authors' attention") {
  One gta("gta", {}, {3, 4, 0}, 2, 8, 1 / std::sqrt(8.0));
  same_output(gta, "gta");
}

TWIN_CASE("golden HARoPE: the authors' attention") {
  One harope("harope", {}, {3, 4, 0}, 2, 8, 1 / std::sqrt(8.0));
  for (const char* name : {"A_u", "A_v", "sigma"}) {
    const Tensor value = authors().read(fmt::format("harope.{}", name));
    harope.set(fmt::format("attn.position.{}", name), [&](int64_t i) { return static_cast<double>(value[i]); });
  }
  same_output(harope, "harope");
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
