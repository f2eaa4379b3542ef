// The absolute encodings: golden numbers, options, and what happens on another grid.
#include <cmath>

#include "tessera/core/interpolation.h"
#include "tessera/nn/position.h"
#include "tests/twin/op_table.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

// ---- encodings ----------------------------------------------------------------------------------------------------

/// A net with one patch embedding of width C on the given grid.
Places one_spot(Grid trained, int C) {
  Places p;
  p.tokens.push_back({0, 0, 0, C, trained, "pos_embed"});
  return p;
}

/// What an encoding adds to tokens of zeros.
std::vector<double> added(const MakePosition& make, Grid trained, Grid now, int C, real start = 0) {
  Params params(3);
  const Places at = one_spot(trained, C);
  const Tensor y = make(Scope(params), at)->tokens(at.tokens[0], now, full({1, now.tokens(), C}, start), Run{});
  return {y.values().begin(), y.values().end()};
}
std::vector<double> added(const char* name, const Options& o, Grid g, int C) {
  return added(position(name, o), g, g, C);
}

void check_row(const std::vector<double>& table, int row, const std::vector<double>& golden) {
  const double tolerance = sizeof(real) == 8 ? 1e-6 : 2e-6;  // the goldens are printed to six digits
  for (size_t c = 0; c < golden.size(); ++c) {
    CAPTURE(row);
    CAPTURE(c);
    CHECK(std::abs(table[static_cast<size_t>(row) * golden.size() + c] - golden[c]) <= tolerance);
  }
}

TWIN_CASE("sinusoidal: golden numbers") {
  check_row(added("sinusoidal", {}, {1, 4, 0}, 4), 1, {0.841471, 0.540302, 0.01, 0.99995});
  const std::vector<double> p3{0.14112, -0.989992, 0.29552, 0.955336, 0.029996, 0.99955, 0.003, 0.999996};
  check_row(added("sinusoidal", {}, {2, 2, 0}, 8), 3, p3);
  SUBCASE("halves hold the same numbers in another order") {
    check_row(added("sinusoidal", {{"layout", "halves"}}, {2, 2, 0}, 8), 3,
              {p3[0], p3[2], p3[4], p3[6], p3[1], p3[3], p3[5], p3[7]});
  }
  SUBCASE("denominator C/2-1: the last frequency is 1/T") {
    const auto t = added("sinusoidal", {{"denom", "C/2-1"}, {"layout", "halves"}}, {1, 4, 0}, 8);
    check_row(
        t, 3,
        {std::sin(3.0), std::sin(3 * std::pow(1e4, -1 / 3.)), std::sin(3 * std::pow(1e4, -2 / 3.)), std::sin(3e-4),
         std::cos(3.0), std::cos(3 * std::pow(1e4, -1 / 3.)), std::cos(3 * std::pow(1e4, -2 / 3.)), std::cos(3e-4)});
  }
  SUBCASE("class tokens get zero, or are the first positions") {
    const auto zero = added("sinusoidal", {}, {1, 3, 1}, 4),
               count = added("sinusoidal", {{"class_position", "count"}}, {1, 3, 1}, 4);
    check_row(zero, 0, {0, 0, 0, 0});
    check_row(zero, 2, {0.841471, 0.540302, 0.01, 0.99995});
    check_row(count, 0, {0, 1, 0, 1});
    check_row(count, 1, {0.841471, 0.540302, 0.01, 0.99995});
  }
  SUBCASE("scale multiplies every token by sqrt(C), and an odd width ends with zero") {
    const auto t = added(position("sinusoidal", {{"scale", true}}), {1, 2, 1}, {1, 2, 1}, 4, 3);
    check_row(t, 0, {6, 6, 6, 6});
    check_row(t, 2, {6.841471, 6.540302, 6.01, 6.99995});
    CHECK(added("sinusoidal", {}, {1, 2, 0}, 5).back() == 0);
  }
}

TWIN_CASE("sinusoidal: position p + k is position p turned by a fixed angle per frequency") {
  const int C = 12, n = 20;
  const auto t = added("sinusoidal", {}, {1, n, 0}, C);
  for (int k = 1; k < 7; ++k)
    for (int p = 0; p + k < n; ++p)
      for (int f = 0; f < C / 2; ++f) {
        const double a = k * std::pow(1e4, -2.0 * f / C);
        const auto at = [&](int row, int c) { return t[static_cast<size_t>(row * C + 2 * f + c)]; };
        CHECK(std::abs(at(p + k, 0) - (at(p, 0) * std::cos(a) + at(p, 1) * std::sin(a))) < 1e-6);
        CHECK(std::abs(at(p + k, 1) - (at(p, 1) * std::cos(a) - at(p, 0) * std::sin(a))) < 1e-6);
      }
}

TWIN_CASE("sincos2d: golden numbers and the variants") {
  const auto t = added("sincos2d", {}, {2, 2, 0}, 8);
  check_row(t, 0, {0, 0, 1, 1, 0, 0, 1, 1});
  check_row(t, 1, {0.841471, 0.0001, 0.540302, 1, 0, 0, 1, 1});
  check_row(t, 2, {0, 0, 1, 1, 0.841471, 0.0001, 0.540302, 1});
  check_row(t, 3, {0.841471, 0.0001, 0.540302, 1.0, 0.841471, 0.0001, 0.540302, 1.0});
  // With exponents t/K the frequencies of C = 8 are 1 and 0.01. Token 1 of a 2 x 2 grid is (y, x) = (0, 1).
  const double s = std::sin(1), c = std::cos(1), s2 = std::sin(0.01), c2 = std::cos(0.01);
  const auto token1 = [&](const char* variant, const std::vector<double>& golden) {
    check_row(added("sincos2d", {{"variant", variant}}, {2, 2, 0}, 8), 1, golden);
  };
  token1("mae", {s, s2, c, c2, 0, 0, 1, 1});
  token1("moco_v3", {0, 0, 1, 1, s, s2, c, c2});
  token1("timm", {0, 0, s, s2, 1, 1, c, c2});
  token1("timm_reversed", {0, 0, s, s2, 1, 1, c, c2});
  token1("timm_interleaved", {0, 0, 1, 1, s, s2, c, c2});
  token1("t2t", {0, 0, 1, 1, s, 0.0001, c, 1});
  SUBCASE("on a grid that is not square, timm's build_sincos2d_pos_embed((2, 3), 8, 100, ...)") {
    const double d = std::sin(2), e = std::cos(2), r = std::sin(0.1), q = std::cos(0.1), r2 = std::sin(0.2),
                 q2 = std::cos(0.2);
    const auto is = [](const char* variant, const std::vector<std::vector<double>>& rows) {
      const auto table = added("sincos2d", {{"variant", variant}, {"temperature", 100.0}}, {2, 3, 0}, 8);
      for (int n = 0; n < 6; ++n) check_row(table, n, rows[static_cast<size_t>(n)]);
    };
    is("timm", {{0, 0, 0, 0, 1, 1, 1, 1},
                {0, 0, s, r, 1, 1, c, q},
                {0, 0, d, r2, 1, 1, e, q2},
                {s, r, 0, 0, c, q, 1, 1},
                {s, r, s, r, c, q, c, q},
                {s, r, d, r2, c, q, e, q2}});
    is("timm_interleaved", {{0, 0, 1, 1, 0, 0, 1, 1},
                            {0, 0, 1, 1, s, r, c, q},
                            {0, 0, 1, 1, d, r2, e, q2},
                            {s, r, c, q, 0, 0, 1, 1},
                            {s, r, c, q, s, r, c, q},
                            {s, r, c, q, d, r2, e, q2}});
    is("timm_reversed", {{0, 0, 0, 0, 1, 1, 1, 1},
                         {0, 0, s, r, 1, 1, c, q},
                         {s, r, 0, 0, c, q, 1, 1},
                         {s, r, s, r, c, q, c, q},
                         {d, r2, 0, 0, e, q2, 1, 1},
                         {d, r2, s, r, e, q2, c, q}});
  }
  SUBCASE("timm's reverse_coord changes nothing on a square") {
    for (int side : {2, 5})
      CHECK(added("sincos2d", {{"variant", "timm_reversed"}}, {side, side, 1}, 12) ==
            added("sincos2d", {{"variant", "timm"}}, {side, side, 1}, 12));
  }
  SUBCASE("class tokens get zero; spare channels of t2t are zero") {
    check_row(added("sincos2d", {}, {2, 2, 1}, 8), 0, {0, 0, 0, 0, 0, 0, 0, 0});
    const auto spare = added("sincos2d", {{"variant", "t2t"}}, {1, 2, 0}, 11);
    for (size_t i = 8; i < 11; ++i) CHECK(spare[i] == 0);
  }
  SUBCASE("rescaled coordinates: twice the grid has half the step") {
    const auto half = added(position("sincos2d", {{"resolution", "rescale"}}), {2, 3, 0}, {4, 6, 0}, 8);
    check_row(half, 1, {std::sin(0.5), std::sin(0.5e-4), std::cos(0.5), 1, 0, 0, 1, 1});
    CHECK(added(position("sincos2d"), {2, 3, 0}, {4, 6, 0}, 8) == added("sincos2d", {}, {4, 6, 0}, 8));
  }
}

TWIN_CASE("learned: another grid resizes the table, class rows are kept") {
  Params params(3);
  const Grid trained{2, 3, 1}, now{4, 5, 1};
  const Places at = one_spot(trained, 4);
  const auto pos = position("learned", {{"resize", "bilinear"}})(Scope(params), at);
  const Tensor table = params.find("pos_embed")->value;
  CHECK(table.shape() == Shape{1, 7, 4});
  CHECK(params.find("pos_embed")->decay == Decay::no);
  const Tensor y = pos->tokens(at.tokens[0], now, zeros({2, 21, 4}), Run{});
  const std::vector<double> map(table.data() + 4, table.data() + 28);
  std::vector<double> want(table.data(), table.data() + 4);
  const auto resized = interpolate(map, 2, 3, 4, 5, 4, Interpolation::bilinear);
  want.insert(want.end(), resized.begin(), resized.end());
  for (size_t i = 0; i < want.size(); ++i) {
    const auto e = static_cast<int64_t>(i), sample = static_cast<int64_t>(want.size());
    CHECK(y[e] == doctest::Approx(want[i]).epsilon(1e-5));
    CHECK(y[sample + e] == y[e]);
  }
  const Tensor to = pos->resample("pos_embed", table, {trained, trained, {}, 1, false}, {now, now, {}, 1, false});
  CHECK(to.shape() == Shape{1, 21, 4});
  for (int64_t i = 0; i < to.size(); ++i) CHECK(to[i] == y[i]);
}

TWIN_CASE("learned: options") {
  Params params(3);
  const Places at = one_spot({2, 2, 1}, 4);
  position("learned", {{"class_position", false}, {"decay", true}})(Scope(params), at);
  CHECK(params.find("pos_embed")->value.shape() == Shape{1, 4, 4});
  CHECK(params.find("pos_embed")->decay == Decay::yes);
  Params frozen(3);
  const auto pos = position("frozen_random")(Scope(frozen), at);
  CHECK(frozen.count() == 0);
  CHECK(frozen.find("pos_embed")->buffer);
  CHECK_FALSE(tracked(pos->tokens(at.tokens[0], {2, 2, 1}, zeros({1, 5, 4}), Run{})));
}

std::string refusal(const std::string& name, const Options& o = {}, int C = 8) {
  try {
    added(position(name, o), {2, 2, 0}, {2, 2, 0}, C);
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

TWIN_CASE("position: names, options and compositions are checked with one clear line") {
  CHECK(refusal("lerned").find("did you mean \"learned\"") != std::string::npos);
  CHECK(refusal("learned+sincos").find("did you mean \"sincos2d\"") != std::string::npos);
  CHECK(refusal("") != "");
  CHECK(refusal("learned+") != "");
  CHECK(refusal("learned+learned").find("named twice") != std::string::npos);
  CHECK(refusal("learned", {{"stdd", 1}}).find("did you mean \"std\"") != std::string::npos);
  CHECK(refusal("learned", {{"resize", "nearest"}}).find("nearest") != std::string::npos);
  CHECK(refusal("learned+sincos2d", {{"std", 1}}).find("learned.std") != std::string::npos);
  CHECK(refusal("sincos2d", {{"variant", "mea"}}).find("did you mean \"mae\"") != std::string::npos);
  CHECK(refusal("sincos2d", {}, 6).find("multiple of 4") != std::string::npos);
  CHECK(refusal("sincos2d", {}, 4).find("too small") != std::string::npos);
  CHECK(refusal("sincos2d", {{"variant", "mae"}}, 4) == "");
  CHECK(refusal("learned+sincos2d", {{"learned.std", 1}, {"sincos2d.variant", "mae"}}) == "");
}

TWIN_CASE("position: a composition adds both, in order") {
  const Grid g{2, 3, 1};
  const auto sum = added("learned+sincos2d", {{"learned.std", 1.0}}, g, 8), a = added("learned", {{"std", 1.0}}, g, 8),
             b = added("sincos2d", {}, g, 8);
  for (size_t i = 0; i < sum.size(); ++i) CHECK(sum[i] == doctest::Approx(a[i] + b[i]).epsilon(1e-6));
  CHECK(added("none", {}, g, 8) == std::vector<double>(56, 0.0));
}

TWIN_CASE("coords: raster behind class tokens, reduced keys, windows") {
  const Coords c = coords({{4, 5, 1}, {2, 3, 1}, {}, 2, false});
  CHECK(c.q.size() == 21);
  CHECK(c.k.size() == 7);
  CHECK(c.q[0].prefix());
  CHECK((c.q[20].y == 1 && c.q[20].x == 2));
  CHECK((c.k[6].y == 1 && c.k[6].x == 2));
  const Coords w = coords({{4, 6, 0}, {4, 6, 0}, {2, 3, 1, 1}, 1, false});
  CHECK(w.q.size() == 6);
  CHECK((w.q[5].y == 1 && w.q[5].x == 2));
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
