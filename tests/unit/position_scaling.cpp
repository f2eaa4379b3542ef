// Frequencies on a grid that is not the trained one, and coordinates that move in training: numbers and laws of the parts that rotary
// encodings share. What encodings make of them: tests/twin/position_scaling.cpp.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "tessera/nn/position/coords_aug.h"
#include "tessera/nn/position/scaling.h"

namespace tessera {
namespace {

using Row = std::vector<double>;

void close(const Row& got, const Row& want, double tolerance = 1e-6) {
  REQUIRE(got.size() == want.size());
  for (size_t i = 0; i < got.size(); ++i) CHECK(std::abs(got[i] - want[i]) <= tolerance);
}

Row geometric(double base, int m) {
  Row f;
  for (int t = 0; t < m; ++t) f.push_back(std::pow(base, -static_cast<double>(t) / m));
  return f;
}

/// Radians a cell.
Row scaled(const Scaling& c, const Row& f, double trained, double now) {
  ScaledAxis axis = scaled_axis(c, f, trained, now);
  for (double& frequency : axis.f) frequency *= axis.at(1);
  return axis.f;
}
Scaling mode(const char* scaling) {
  Scaling c;
  c.scaling = scaling;
  return c;
}

TEST_CASE("golden scaling: four pairs of theta 100 that know 14 cells, on 28") {
  const Row f = geometric(100, 4);
  close(f, {1, 0.316228, 0.1, 0.031623});
  close(scaled(mode("none"), f, 14, 28), f, 0);
  close(scaled(mode("interpolate"), f, 14, 28), {0.5, 0.158114, 0.05, 0.015811});
  close(scaled(mode("ntk"), f, 14, 28), {1, 0.250990, 0.062996, 0.015811});
  Scaling yarn = mode("yarn");
  close(scaled(yarn, f, 14, 28), {1, 0.199188, 0.05, 0.015811});
  yarn.ramp = "index";
  close(scaled(yarn, f, 14, 28), {1, 0.237171, 0.05, 0.015811});
  yarn.temperature = true;
  CHECK(std::abs(scaling_temperature(yarn, 2, 2) - 1.069315) < 1e-6);
  CHECK(scaling_temperature(yarn, 0.5, 1) == 1);
  CHECK(scaling_temperature(mode("yarn"), 2, 2) == 1);
  const Row tapered = scaled(mode("clip"), geometric(100, 16), 14, 14), whole = geometric(100, 16);
  Row weights;
  for (size_t t = 0; t < 16; ++t) weights.push_back(tapered[t] / whole[t]);
  close(weights, {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0.853553, 0.5, 0.146447, 0});
}

TEST_CASE("scaling: what equals what") {
  const Row f = geometric(100, 8);
  // by magnitude it is the change of the base
  const Row ntk = scaled(mode("ntk"), f, 14, 21);
  close(ntk, geometric(100 * std::pow(1.5, 8.0 / 7), 8), 1e-15);
  CHECK(ntk.front() == 1);
  CHECK(std::abs(ntk.back() - f.back() / 1.5) < 1e-15);
  // all pairs turn often enough, or none
  Scaling all = mode("yarn"), none = all;
  all.beta_slow = 1e-3, all.beta_fast = 2e-3;
  none.beta_slow = 900, none.beta_fast = 1000;
  close(scaled(all, f, 14, 21), f, 0);
  close(scaled(none, f, 14, 21), scaled(mode("interpolate"), f, 14, 21), 1e-15);
  // up to the trained size nothing but interpolation acts, and that measures in trained cells
  for (const char* name : {"ntk", "yarn"}) close(scaled(mode(name), f, 14, 7), f, 0);
  close(scaled(mode("interpolate"), {1}, 14, 7), {2}, 0);
  // YaRN's code on a language model: 64 pairs of base 10000, 4096 tokens, 8 times as many
  Scaling yarn = mode("yarn");
  yarn.ramp = "index", yarn.beta_fast = 32, yarn.beta_slow = 1;
  const Row text = scaled(yarn, geometric(10000, 64), 4096, 8 * 4096);
  const auto turns = [](double r) { return 64 * std::log(4096 / (r * 2 * std::numbers::pi)) / std::log(10000.0); };
  const double low = std::floor(turns(32)), high = std::ceil(turns(1));
  CHECK(low == 20);
  CHECK(high == 46);
  for (int t = 0; t < 64; ++t) {
    const double g = 1 - std::clamp((t - low) / (high - low), 0.0, 1.0), own = std::pow(10000.0, -t / 64.0);
    CHECK(std::abs(text[static_cast<size_t>(t)] - own * (g + (1 - g) / 8)) < 1e-15);
  }
  // the order of the frequencies is no matter
  const Row rising(f.rbegin(), f.rend());
  for (const char* name : {"ntk", "yarn", "clip"}) {
    Row back = scaled(mode(name), rising, 14, 28);
    std::ranges::reverse(back);
    close(back, scaled(mode(name), f, 14, 28), 1e-15);
  }
  Scaling hard = mode("clip");
  hard.clip = "hard";
  close(scaled(hard, geometric(100, 4), 14, 14), {1, 0.316228, 0.1, 0});
}

TEST_CASE("scaling: frequencies of both axes scale as those of one, when each meets one") {
  const Row f = geometric(100, 4);
  Row both = f;
  both.insert(both.end(), f.begin(), f.end());
  for (const char* name : {"ntk", "yarn", "clip"}) {
    Scaling c = mode(name);
    c.clip_share = 0.75;
    const MixedFactors by = scaled_mixed(c, both, {6, 6}, {9, 15});
    const Row y = scaled(c, f, 6, 9), x = scaled(c, f, 6, 15);
    for (size_t t = 0; t < 8; ++t) {
      CHECK(std::abs(by.y[t] * both[t] - y[t % 4]) < 1e-15);
      CHECK(std::abs(by.x[t] * both[t] - x[t % 4]) < 1e-15);
    }
  }
}

TEST_CASE("scaling: pairs that come alone rest by a rank of their own, an odd number of them, too") {
  const Row f{0.2, 1, 0.5};
  Scaling c = mode("clip");
  c.clip = "hard";
  CHECK(scaled_mixed(c, f, {3, 4}, {3, 4}, 1).y == Row{0, 1, 1});
  c.clip = "taper", c.clip_share = 1;
  const MixedFactors by = scaled_mixed(c, f, {3, 4}, {6, 8}, 1);
  close(by.x, {0, 1, 0.5}, 1e-15);
  close(by.y, by.x, 0);
}

TEST_CASE("scaling: frequencies that are all the same have no ramp by index") {
  Scaling yarn = mode("yarn"), index = yarn;
  index.ramp = "index";
  close(scaled(index, {0.3, 0.3}, 14, 28), scaled(yarn, {0.3, 0.3}, 14, 28), 0);
}

TEST_CASE("scaling: what it cannot do is said") {
  CHECK(scaling_refuses(mode("none"), 1).empty());
  CHECK(scaling_refuses(mode("yarn"), 1).empty());
  CHECK(scaling_refuses(mode("ntk"), 1).find("one pair") != std::string::npos);
  CHECK(scaling_refuses(mode("ntk"), 2).empty());
  CHECK(scaling_refuses(mode("clip"), 2) ==
        "clip_share 0.3125 is 1 of the 2 pairs of an axis, expected 2 to 2 of them for clip=taper");
  Scaling hard = mode("clip");
  hard.clip = "hard";
  CHECK(scaling_refuses(hard, 2).empty());
  hard.clip_share = 1;
  CHECK(scaling_refuses(hard, 2).find("expected 1 to 1") != std::string::npos);
  Scaling turned = mode("yarn");
  turned.beta_fast = 0.2;
  CHECK_THROWS_WITH_AS(check_scaling("rope", turned), doctest::Contains("beta_fast is 0.2"), Error);
  CHECK_THROWS_WITH_AS(check_scaling("rope", mode("ntk"), true), doctest::Contains("rescale"), Error);
}

TEST_CASE("random coordinates: shift, then each axis, then both; one draw a step whatever the shard") {
  const CoordsDraw fixed{0.1, -0.2, 1.2 * 1.25, 0.9 * 1.25};
  close({fixed.y(-0.5), fixed.x(-0.5), fixed.y(0.5), fixed.x(0.5)}, {-0.6, -0.7875, 0.9, 0.3375});

  CoordsAugmentation all;
  all.coords_shift = 0.3, all.coords_jitter = 1.5, all.coords_rescale = 2;
  const Run train{Mode::train, 7, 3, 0};
  const auto numbers = [](const CoordsDraw& d) { return Row{d.shift_y, d.shift_x, d.times_y, d.times_x}; };
  const auto drawn = [&](const CoordsAugmentation& c, Run run, const char* site) {
    return numbers(draw_coords(c, run, site));
  };
  const Row first = drawn(all, train, "a");
  CHECK(first == drawn(all, {Mode::train, 7, 3, 24}, "a"));  // another shard
  CHECK(first == drawn(all, train, "b"));                    // another block
  CHECK(first != drawn(all, {Mode::train, 7, 4, 0}, "a"));   // another step
  CHECK(first != drawn(all, {Mode::train, 8, 3, 0}, "a"));   // another seed
  CHECK(draw_coords(all, {Mode::eval, 7, 3, 0}, "a").still());
  CHECK(draw_coords({}, train, "a").still());
  CoordsAugmentation block = all;
  block.coords_draw = "block";
  CHECK(drawn(block, train, "a") != drawn(block, train, "b"));
  CHECK(drawn(block, train, "a") == drawn(block, {Mode::train, 7, 3, 24}, "a"));

  // in their ranges, and all over them
  double least = 9, most = 0, left = 9, right = -9;
  for (uint64_t step = 0; step < 2000; ++step) {
    const CoordsDraw d = draw_coords(all, {Mode::train, 1, step, 0}, "a");
    left = std::min(left, d.shift_x), right = std::max(right, d.shift_x);
    least = std::min(least, d.times_y), most = std::max(most, d.times_y);
    CHECK(d.times_y / d.times_x <= 1.5 * 1.5);
  }
  CHECK(left < -0.29);
  CHECK(left >= -0.3);
  CHECK(right > 0.29);
  CHECK(right <= 0.3);
  CHECK(least >= 1 / 3.0);
  CHECK(least < 0.45);
  CHECK(most <= 3.0);
  CHECK(most > 2.2);
  CHECK_THROWS_WITH_AS(check_coords("rope_axial", {0, 1, 1, "block"}), doctest::Contains("nothing is drawn"), Error);
}

}  // namespace
}  // namespace tessera
