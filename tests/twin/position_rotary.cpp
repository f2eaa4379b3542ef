// What rotary encodings of other directions, and values that turn, equal exactly: each other, and formulas by hand; and where that ends.
#include <functional>
#include <numbers>

#include "tests/twin/position_bed.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

using namespace walk;

/// A rotation of one attention of `heads` of width d on a grid.
Rotary rotary_of(std::string_view name, const Options& options, const Grid& g, int H, int d,
                 const std::function<void(Params&)>& fill = {}) {
  Params params(3);
  Places at;
  at.sites = {Site{0, 0, 0, H * d, H, d, 0.3, Layout::global(g), "attn"}};
  const auto encoding = position(name, options)(Scope(params), at);
  if (fill) fill(params);
  params.commit();
  return encoding->terms(at.sites[0], at.sites[0].trained, {}, {}).rotary;
}
/// The largest difference of two rotations; one head of one serves all of the other.
double apart(const Rotary& a, const Rotary& b) {
  const auto of = [](const Tensor& x, const Tensor& y) {
    REQUIRE(x.size() % y.size() == 0);
    double most = 0;
    for (int64_t i = 0; i < x.size(); ++i)
      most = std::max(most, std::abs(static_cast<double>(x[i]) - static_cast<double>(y[i % y.size()])));
    return most;
  };
  return std::max({of(a.cos_q, b.cos_q), of(a.sin_q, b.sin_q), of(a.cos_k, b.cos_k), of(a.sin_k, b.sin_k)});
}
void put(Params& params, const char* name, const std::function<double(int64_t)>& f) {
  REQUIRE_MESSAGE(params.find(name), name);
  const Tensor& t = params.find(name)->value;
  for (int64_t i = 0; i < t.size(); ++i) t[i] = static_cast<real>(f(i));
}
const double angle_rounding = twin ? 1e-14 : 2e-6;  // frequencies of mixed rotation are parameters, which are real

// ---- directions -----------------------------------------------------------------------------------------------------

TWIN_CASE("property: spiral of one direction is axial, rows first") {
  for (const Grid g : {Grid{3, 5, 0}, Grid{3, 5, 1}}) {
    const Rotary axial = rotary_of("rope_axial", {{"variant", std::string("timm_language")}}, g, 2, 16);
    CHECK(apart(rotary_of("spiral", {{"rotate", 1}, {"max_freq", 1.0}}, g, 2, 16), axial) < angle_rounding);
    CHECK(apart(rotary_of("spiral", {{"rotate", 2}, {"max_freq", 1.0}}, g, 2, 16), axial) > 1e-2);
    // heads too narrow for two directions have one
    CHECK(apart(rotary_of("spiral", {{"max_freq", 1.0}}, g, 2, 8),
                rotary_of("rope_axial", {{"variant", std::string("timm_language")}}, g, 2, 8)) < angle_rounding);
  }
}

TWIN_CASE("property: spiral, golden gate and polar are mixed rotations of their frequencies") {
  const int H = 2, d = 32, pairs = d / 2;
  for (const Grid g : {Grid{3, 4, 0}, Grid{3, 4, 1}}) {
    const auto mixed = [&](const std::function<double(int64_t, int64_t, bool)>& f) {
      return rotary_of("rope_mixed", {}, g, H, d, [&](Params& p) {
        put(p, "attn.position.freqs", [&](int64_t i) {  // [x, y], heads, pairs
          return f(i / pairs % H, i % pairs, i < H * pairs);
        });
      });
    };
    const double pi = std::numbers::pi;
    const auto spiral = [&](int64_t, int64_t pair, bool x) {
      const auto t = static_cast<double>(pair % 8);
      const double f = 1.5 * std::pow(1e4, -t / 8), phi = pi / 8 * std::fmod(std::floor(t / 2), 4);
      const bool second = pair >= 8;
      return f * (x ? (second ? std::cos(phi) : std::sin(phi)) : second ? -std::sin(phi) : std::cos(phi));
    };
    CHECK(apart(mixed(spiral), rotary_of("spiral", {{"rotate", 4}}, g, H, d)) < angle_rounding);

    // below pi radians a cell, the angles of the first cells are the frequencies
    const Rotary gate = rotary_of("golden_gate", {}, g, H, d);
    const auto at = [&](const Tensor& t, int64_t h, int64_t cell, int64_t pair) {
      return static_cast<double>(t[(h * g.tokens() + g.prefix + cell) * pairs + pair]);
    };
    const auto gates = [&](int64_t h, int64_t pair, bool x) {
      const int64_t cell = x ? 1 : g.w;
      return std::atan2(at(gate.sin_q, h, cell, pair), at(gate.cos_q, h, cell, pair));
    };
    CHECK(gate.halves);
    CHECK(apart(mixed(gates), gate) < (twin ? 1e-13 : 1e-5));

    const auto a = [](int64_t h, int64_t pair) { return 0.1 + 0.05 * static_cast<double>(h + pair); };
    const auto al = [](int64_t h, int64_t pair) { return 0.7 * static_cast<double>(3 * h + pair); };
    const Rotary polar = rotary_of("polar", {}, g, H, d, [&](Params& p) {
      put(p, "attn.position.magnitude", [&](int64_t i) { return a(i / pairs, i % pairs); });
      put(p, "attn.position.direction", [&](int64_t i) { return al(i / pairs, i % pairs); });
    });
    CHECK(apart(mixed([&](int64_t h, int64_t pair, bool x) {
                  return a(h, pair) * (x ? std::cos(al(h, pair)) : std::sin(al(h, pair)));
                }),
                polar) < angle_rounding);
  }
  // without random turns both start at the axial frequencies
  CHECK(apart(rotary_of("polar", {{"rotate", false}}, {3, 4, 0}, H, d),
              rotary_of("rope_mixed", {{"rotate", false}}, {3, 4, 0}, H, d)) < 1e-5);
}

/// How far scores of equal tokens are from being of their offset alone.
double not_relative(const Rotary& r, const Grid& g) {
  const int pairs = r.cos_q.dim(2);
  const auto score = [&](int i, int j) {
    double s = 0;
    for (int64_t t = 0; t < pairs; ++t)
      s += static_cast<double>(r.cos_q[i * pairs + t] * r.cos_k[j * pairs + t] +
                               r.sin_q[i * pairs + t] * r.sin_k[j * pairs + t]);
    return s;
  };
  double most = 0;
  for (int i = 0; i < g.tokens(); ++i)
    for (int j = 0; j < g.tokens(); ++j)
      if (i % g.w && j % g.w) most = std::max(most, std::abs(score(i, j) - score(i - 1, j - 1)));
  return most;
}

TWIN_CASE("property: a spiral clamped to the grid, as in the authors' code, is relative only inside") {
  const Grid g{7, 7, 0};
  CHECK(not_relative(rotary_of("spiral", {{"rotate", 4}}, g, 1, 32), g) < (twin ? 1e-13 : 2e-3));
  CHECK(not_relative(rotary_of("spiral", {{"rotate", 4}, {"clamp", true}}, g, 1, 32), g) > 0.1);
  // at the middle of the sides nothing is clamped: there both differ by one angle of each pair
  const Rotary free = rotary_of("spiral", {{"rotate", 2}}, g, 1, 16),
               clamped = rotary_of("spiral", {{"rotate", 2}, {"clamp", true}}, g, 1, 16);
  const auto angle = [](const Rotary& r, int64_t n, int64_t t) {
    return std::atan2(static_cast<double>(r.sin_q[n * 8 + t]), static_cast<double>(r.cos_q[n * 8 + t]));
  };
  for (int64_t t = 0; t < 8; ++t)
    for (const int64_t n : {3, 21, 27, 45, 17}) {
      const double off = angle(free, n, t) - angle(clamped, n, t) - (angle(free, 24, t) - angle(clamped, 24, t));
      CHECK(std::abs(std::remainder(off, 2 * std::numbers::pi)) < (twin ? 1e-13 : 1e-5));
    }
}

TWIN_CASE("property: what a direction needs is said") {
  const auto says = [](const char* name, const Options& options, std::initializer_list<const char*> words) {
    const std::string why = refusal(benches()[1], name, options);
    CAPTURE(why);
    for (const char* w : words) CHECK(why.find(w) != std::string::npos);
    CHECK(why.find('\n') == std::string::npos);
  };
  says("spiral", {{"rotate", 2}}, {"head width 8 is not a multiple of 16", "rotate=2"});
  says("spiral", {{"same_theta", true}}, {"same_theta needs more than one direction", "width 8"});
  says("spiral", {{"rotate", 1}, {"clamp", true}}, {"clamp needs rotate=2"});
  says("spiral", {{"min_freq", 0.1}, {"theta", 100.0}}, {"theta", "min_freq"});
  says("golden_gate", {{"p_zero_freqs", 0.9}}, {"leaves none of 4 pairs"});
  says("wavelet", {{"scales", 3}}, {"4 channels an axis", "3 scales"});
}

// ---- values that travel ---------------------------------------------------------------------------------------------

const std::vector<std::pair<const char*, Options>>& turners() {
  static const std::vector<std::pair<const char*, Options>> all{{"gta", {}},
                                                                {"rope_axial", {{"values", true}}},
                                                                {"rope_mixed", {{"values", true}}},
                                                                {"polar", {{"values", true}}},
                                                                {"spiral", {{"values", true}}},
                                                                {"golden_gate", {{"values", true}}}};
  return all;
}

TWIN_CASE("property: values travel by the rotation between their places, and without it nothing turns them") {
  const Grid g{3, 4, 0};
  for (const auto& [encoding, options] : turners()) {
    const char* name = encoding;  // clang before 16 captures no structured binding
    INFO(name);
    const Bed bed(name, options, g);
    const Rotary r = bed.terms().rotary;
    REQUIRE(r.values);
    const Tensor w = bed.weights(), o = bed.output();
    const int N = g.tokens(), d = Bed::d, pairs = d / 2, H = r.cos_q.dim(0);
    double off = 0;
    for (int b = 0; b < 2; ++b)
      for (int h = 0; h < Bed::H; ++h)
        for (int i = 0; i < N; ++i)
          for (int t = 0; t < pairs; ++t) {
            const int first = r.halves ? t : 2 * t, second = r.halves ? t + pairs : 2 * t + 1;
            const auto angle = [&](int n) {
              const int64_t at = (int64_t{H == 1 ? 0 : h} * N + n) * pairs + t;
              return std::atan2(static_cast<double>(r.sin_q[at]), static_cast<double>(r.cos_q[at]));
            };
            double x = 0, y = 0;
            for (int j = 0; j < N; ++j) {
              const double p = static_cast<double>(w[((int64_t{b} * Bed::H + h) * N + i) * N + j]);
              const double c = std::cos(angle(j) - angle(i)), s = std::sin(angle(j) - angle(i));
              const double u = Bed::at(bed.v, b, h, j, first), v = Bed::at(bed.v, b, h, j, second);
              x += p * (c * u - s * v), y += p * (s * u + c * v);
            }
            off = std::max({off, std::abs(x - Bed::at(o, b, h, i, first)), std::abs(y - Bed::at(o, b, h, i, second))});
          }
    CHECK(off < rounding);
    // the same without: plain values under the same weights
    Options still = options;
    still.insert_or_assign("values", Value(false));
    const Bed plain(name, still, g);
    CHECK_FALSE(plain.terms().rotary.values);
    CHECK(same_bits(plain.weights(), w));
    CHECK(farthest(plain.output(), o) > 1e-3);
  }
}

TWIN_CASE("property: patches do not see where a grid begins when values travel, a class token does") {
  for (const int prefix : {0, 1}) {
    const Grid g{3, 4, prefix};
    const Options here{{"values", true}}, there{{"values", true}, {"start", 5}};
    const Bed a("rope_axial", here, g), b("rope_axial", there, g);
    const double off = farthest(a.output(), b.output());
    if (prefix == 0) CHECK(off < (twin ? 1e-13 : 2e-4));
    if (prefix == 1) CHECK(off > 1e-3);
  }
}

TWIN_CASE("property: gta is axial rotation with rows and columns in turns") {
  const Grid g{3, 4, 1};
  const Rotary turns = rotary_of("gta", {}, g, 2, 16),
               axial = rotary_of("rope_axial", {{"variant", std::string("timm_language")}}, g, 2, 16);
  for (int n = 0; n < g.tokens(); ++n)
    for (int t = 0; t < 8; ++t) CHECK(turns.cos_q[n * 8 + t] == axial.cos_q[n * 8 + t % 2 * 4 + t / 2]);
}

TWIN_CASE("property: values that turn and terms on values exclude each other, and linear attention turns none") {
  const auto why = [](const char* name, const Options& options) { return refusal(benches()[1], name, options); };
  const std::string mix = why("gta+shaw_kv", {});
  CHECK(mix.find("gta turns the values and would turn what shaw_kv adds to them") != std::string::npos);
  CHECK(why("rope_axial+irpe", {{"rope_axial.values", true}, {"irpe.on", "qkv"}}).find("irpe adds") !=
        std::string::npos);
  CHECK(why("rope_axial+irpe", {{"rope_axial.values", true}}).empty());  // on keys
  CHECK(why("rope_axial+shaw_kv", {}).empty());
  CHECK(why("gta+relative_position_bias", {}).empty());
  Places at;
  at.sites = {Site{0, 0, 0, 16, 2, 8, 0, Layout::global({3, 4, 0}), "attn"}};
  for (const auto& [name, options] : turners()) {
    CHECK_THROWS_WITH_AS(check_position(name, options, at), doctest::Contains("only softmax does"), Error);
    Options still = options;
    still.insert_or_assign("values", Value(false));
    check_position(name, still, at);
  }
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
