// Encodings that are no rows of the registry, because a row or two together already are them: xPos, FoPE, circulant and other commuting
// generators. And rows that are each other under a change of tables, widths or draws.
#include <functional>
#include <numbers>

#include "tessera/nn/position/coords_aug.h"
#include "tests/twin/position_bed.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

using namespace walk;

constexpr int C = Bed::H * Bed::d;

/// The weights of a bed, positions in queries and keys included.
Tensor weights(const Bed& bed) {
  return attention_weights(bed.encoding->shape(bed.places.sites[0], bed.layout, bed.query(), bed.tokens(), {}),
                           bed.terms());
}
double largest(const Tensor& a, const std::function<double(int64_t)>& want) {
  double most = 0;
  for (int64_t i = 0; i < a.size(); ++i) most = std::max(most, std::abs(static_cast<double>(a[i]) - want(i)));
  return most;
}

// ---- xPos -------------------------------------------------------------------------------------------------------------

/// How much of a pair of channels is left after `unit` tokens.
double zeta(int64_t pair, int d) { return (2 * static_cast<double>(pair) + 0.4 * d) / (1.4 * d); }

TWIN_CASE("golden attention: xPos as a gate beside rotation") {
  Params params;
  Places at;
  const Layout l = Layout::global({2, 2, 0});
  at.sites = {Site{0, 0, 0, 4, 1, 4, 0.5, l, "attn"}};
  const auto encoding = position("rope+huang3")(Scope(params), at);
  const Tensor& gate = params.find("attn.position.weight")->value;
  REQUIRE(gate.shape() == Shape{7, 4});
  for (int64_t i = 0; i < gate.size(); ++i)
    gate[i] = static_cast<real>(std::pow(zeta(i % 4 / 2, 4), static_cast<double>(std::abs(i / 4 - 3)) / 2));
  params.commit();
  Tensor q({1, 4, 4}), k(q.shape());
  for (int i = 0; i < 4; ++i)
    for (int c = 0; c < 4; ++c) {
      q[4 * i + c] = static_cast<real>(std::sin(0.3 * (i + 1) * (c + 1)));
      k[4 * i + c] = static_cast<real>(std::cos(0.2 * (i + 1) * (c + 2)));
    }
  const Tensor w = attention_weights({heads(q, 1), heads(k, 1), heads(k, 1), global_pattern(4, 4), 0.5},
                                     encoding->terms(at.sites[0], l, {}, {}));
  // the last token looks back alone, where this is xPos; the first one looks ahead, where xPos would grow
  const double L[][4] = {{0.893772, -0.039791, -0.445026, -0.327313}, {-0.320006, 0.067957, 0.448899, 0.283803}};
  for (const int row : {0, 1})
    for (int j = 1; j < 4; ++j) {
      const auto* of = w.data() + int64_t{row} * 12;
      CHECK(std::abs(std::log(static_cast<double>(of[j]) / static_cast<double>(of[0])) - (L[row][j] - L[row][0])) <=
            (twin ? 2e-6 : 4e-5));
    }
}

TWIN_CASE("property: a gate of zeta^|i - j| beside rotation is xPos as far as queries look back") {
  const Grid g{3, 4, 0};
  const int N = g.tokens(), d = Bed::d;
  const double unit = 5;
  Bed gated("rope+huang3", {}, g), turned("rope", {}, g);
  gated.set("attn.position.weight", [&](int64_t i) {
    return std::pow(zeta(i % d / 2, d), static_cast<double>(std::abs(i / d - (N - 1))) / unit);
  });
  // xPos: what turns a query shrinks with its place, what turns a key grows
  Terms xpos = turned.terms();
  Rotary& r = xpos.rotary;
  for (Tensor* table : {&r.cos_q, &r.sin_q, &r.cos_k, &r.sin_k}) {
    const bool keys = table == &r.cos_k || table == &r.sin_k;
    *table = table->copy();
    for (int64_t i = 0; i < table->size(); ++i) {
      const double grows = std::pow(zeta(i % (d / 2), d), static_cast<double>(i / (d / 2)) / unit);
      (*table)[i] = static_cast<real>(static_cast<double>((*table)[i]) * (keys ? 1 / grows : grows));
    }
  }
  CHECK(farthest(gated.weights(), attention_weights(turned.query(), xpos)) > 1e-2);
  Pattern::Spec causal = *gated.who;
  causal.causal = true;
  gated.who = causal, turned.who = causal;
  CHECK(farthest(gated.weights(), attention_weights(turned.query(), xpos)) < tight);
  CHECK(farthest(gated.output(), attention(turned.query(), xpos, {})) < tight_in_double);
  CHECK(farthest(gated.weights(), turned.weights()) > 1e-2);
}

// ---- FoPE -------------------------------------------------------------------------------------------------------------

/// Cosines and sines of N places that are sums over all frequencies, one for each; the pairs that are left over: 1 and `pad`.
Rotary fourier(int N, int pairs, const std::vector<double>& frequencies,
               const std::function<double(size_t from, int to)>& coefficient, double pad) {
  Rotary r;
  r.cos_q = Tensor({1, N, pairs}), r.sin_q = Tensor({1, N, pairs});
  for (int n = 0; n < N; ++n)
    for (int t = 0; t < pairs; ++t) {
      const bool kept = t < static_cast<int>(frequencies.size());
      double c = kept ? 0 : 1, s = kept ? 0 : pad;
      for (size_t from = 0; kept && from < frequencies.size(); ++from) {
        c += coefficient(from, t) * std::cos(n * frequencies[from]);
        s += coefficient(from, t) * std::sin(n * frequencies[from]);
      }
      r.cos_q[n * pairs + t] = static_cast<real>(c), r.sin_q[n * pairs + t] = static_cast<real>(s);
    }
  r.cos_k = r.cos_q, r.sin_k = r.sin_q;
  return r;
}

/// How far the scores of equal tokens on a line are from being of their offset alone.
double not_relative(const Rotary& r) {
  const int N = r.cos_q.dim(1), pairs = r.cos_q.dim(2);
  const auto score = [&](int i, int j) {
    double s = 0;
    for (int t = 0; t < pairs; ++t)
      s += static_cast<double>(r.cos_q[i * pairs + t] * r.cos_k[j * pairs + t] +
                               r.sin_q[i * pairs + t] * r.sin_k[j * pairs + t]);
    return s;
  };
  double most = 0;
  for (int i = 1; i < N; ++i)
    for (int j = 1; j < N; ++j) most = std::max(most, std::abs(score(i, j) - score(i - 1, j - 1)));
  return most;
}

TWIN_CASE("property: FoPE whose coefficients are the identity is clipped rotation, any others see where they are") {
  const Grid line{1, 40, 0};
  const int pairs = Bed::d / 2;
  std::vector<double> kept;  // those that turn once on the line
  for (int t = 0; t < pairs; ++t)
    if (const double f = std::pow(100.0, -2.0 * t / Bed::d); f >= 2 * std::numbers::pi / line.w) kept.push_back(f);
  REQUIRE(kept.size() == 2);
  const auto identity = [](size_t from, int to) { return static_cast<int>(from) == to ? 1.0 : 0.0; };
  const Rotary fope = fourier(line.w, pairs, kept, identity, 0), shipped = fourier(line.w, pairs, kept, identity, 1);
  Bed clipped("rope", {{"base", 100.0}, {"scaling", "clip"}, {"clip", "hard"}, {"clip_share", 0.5}}, line);
  const Rotary ours = clipped.terms().rotary;
  for (const auto& [a, b] : {std::pair(fope.cos_q, ours.cos_q), std::pair(fope.sin_k, ours.sin_k)})
    CHECK(farthest(a, b) < (twin ? 1e-14 : 1e-6));
  const auto under = [&](const Rotary& r) {
    Terms terms;
    terms.rotary = r;
    return attention_weights(clipped.query(), terms);
  };
  CHECK(farthest(under(fope), clipped.weights()) < tight);
  CHECK(farthest(clipped.weights(), Bed("rope", {{"base", 100.0}}, line).weights()) > 1e-3);
  // the published code pads sines with 1, too: by 45 degrees for queries and keys alike, and as much longer, they weigh twice
  const Tensor doubled = under(shipped);
  CHECK(farthest(doubled, clipped.weights()) > 1e-2);
  for (int64_t i = 0; i < clipped.q.size(); ++i)
    if (i % Bed::d >= 2 * static_cast<int>(kept.size())) clipped.q[i] *= 2;
  CHECK(farthest(doubled, clipped.weights()) < tight);

  CHECK(not_relative(fope) < (twin ? 1e-13 : 2e-5));
  CHECK(not_relative(fourier(
            line.w, pairs, kept, [&](size_t from, int to) { return identity(from, to) + (to == 0 ? 0.3 : -0.2); }, 0)) >
        0.1);
}

// ---- generators that commute ------------------------------------------------------------------------------------------

/// Generators of blocks of b channels, rows and columns of the grid, of which block m has `times(m)`.
struct Generators {
  int b;
  std::function<double(bool column, int r, int c)> entry;
  static double times(int64_t block) { return 1 + 0.25 * static_cast<double>(block); }
};

/// Lie rotations of these generators are mixed rotation behind Q (b x b, two columns a plane), which turns plane p by radians(column, p)
/// from the first row or column to the last.
void check_mixed(const Generators& A, const std::function<double(int r, int c)>& Q,
                 const std::function<double(bool column, int plane)>& radians) {
  const Grid g{3, 4, 1};
  const int b = A.b, blocks = Bed::d / b, pairs = Bed::d / 2;
  for (int r = 0; r < b; ++r)
    for (int c = 0; c < b; ++c) {
      double product = 0;
      for (int i = 0; i < b; ++i) product += Q(i, r) * Q(i, c);
      REQUIRE(std::abs(product - (r == c)) < 1e-14);
    }
  Bed lie("lie", {{"generator_dim", b}}, g), mixed("rope_mixed", {}, g);
  lie.set("attn.position.generator_raw_params", [&](int64_t i) {
    const int64_t block = i / (b * b) % (Bed::H * blocks);
    return A.times(block) * A.entry(i >= int64_t{Bed::H} * blocks * b * b, static_cast<int>(i / b % b),
                                    static_cast<int>(i % b));  // of which what stands above the diagonal counts
  });
  mixed.set("attn.position.freqs", [&](int64_t i) {  // columns, then rows; heads; pairs
    const bool column = i < Bed::H * pairs;
    const int64_t pair = i % pairs, head = i / pairs % Bed::H;
    return -radians(column, static_cast<int>(pair % (b / 2))) * A.times(head * blocks + pair / (b / 2)) /
           ((column ? g.w : g.h) - 1);
  });
  for (const auto& [to, from] : {std::pair(&mixed.q, &lie.q), std::pair(&mixed.k, &lie.k)})
    for (int64_t i = 0; i < to->size(); i += b)
      for (int c = 0; c < b; ++c) {
        double sum = 0;
        for (int r = 0; r < b; ++r) sum += Q(r, c) * static_cast<double>((*from)[i + r]);
        (*to)[i + c] = static_cast<real>(sum);
      }
  CHECK(farthest(weights(lie), mixed.weights()) < (twin ? 1e-13 : 2e-4));
  CHECK(farthest(weights(lie), Bed("none", {}, g).weights()) > 1e-2);
}

TWIN_CASE("property: Lie rotations whose generators commute are mixed rotary embedding in the basis that they share") {
  for (const int b : {4, 8}) {
    // columns of Q: a product of plane rotations
    std::vector<double> Q(static_cast<size_t>(b * b));
    const auto at = [&](int r, int c) -> double& { return Q[static_cast<size_t>(r * b + c)]; };
    for (int i = 0; i < b; ++i) at(i, i) = 1;
    for (int r = 0; r < b; ++r)
      for (int c = r + 1; c < b; ++c)
        for (int i = 0; i < b; ++i) {
          const double angle = 0.7 * r + 1.3 * c, x = at(i, r), y = at(i, c);
          at(i, r) = std::cos(angle) * x - std::sin(angle) * y, at(i, c) = std::sin(angle) * x + std::cos(angle) * y;
        }
    // neither multiples of each other nor of planes of their own
    const auto radians = [](bool column, int plane) { return column ? 1.1 - 0.8 * plane : 0.7 + 0.4 * plane * plane; };
    const Generators A{b, [&](bool column, int r, int c) {
                         double s = 0;
                         for (int p = 0; p < b / 2; ++p)
                           s +=
                               radians(column, p) * (at(r, 2 * p) * at(c, 2 * p + 1) - at(r, 2 * p + 1) * at(c, 2 * p));
                         return s;
                       }};
    check_mixed(A, at, radians);
  }
}

TWIN_CASE(
    "property: circulant generators commute: mixed rotary embedding in the Fourier basis, one plane of which rests") {
  const int b = 8;
  const auto circulant = [](bool column, int k) { return 0.4 * std::cos((column ? 1.1 : 1.7) * k + 0.5); };  // row 0
  const auto skew = [&](bool column, int k) { return circulant(column, k) - circulant(column, (b - k) % b); };
  const auto wave = [](int plane, int k) { return 2 * std::numbers::pi * plane * k / b; };
  const Generators A{b, [&](bool column, int r, int c) { return skew(column, (c - r + b) % b); }};
  // mean and alternating sum, whose eigenvalue is 0, then cosines and sines
  const auto Q = [&](int r, int c) {
    if (c < 2) return (c == 1 && r % 2 ? -1 : 1) / std::sqrt(b);
    return std::sqrt(2.0 / b) * (c % 2 ? std::sin(wave(c / 2, r)) : std::cos(wave(c / 2, r)));
  };
  check_mixed(A, Q, [&](bool column, int plane) {
    double s = 0;
    for (int k = 1; k < b && plane > 0; ++k) s += skew(column, k) * std::sin(wave(plane, k));
    return s;
  });
}

// ---- rows that are each other -----------------------------------------------------------------------------------------

TWIN_CASE("property: axial tables beside each other are summed ones, each zero on the other's half") {
  for (const Grid g : {Grid{3, 4, 0}, Grid{3, 4, 1}})
    for (const bool values : {false, true}) {
      const Bed beside("shaw", {{"max_distance", 2}, {"axes", "concat"}, {"values", values}}, g);
      Bed summed("axial_sum", {{"max_distance", 2}, {"values", values}}, g);
      for (const auto& e : summed.params.entries()) {
        const Tensor& half = beside[e.name];
        const int first = e.name.ends_with("_y") ? Bed::d / 2 : 0;
        REQUIRE(half.size() * 2 == e.value.size());
        summed.set(e.name, [&](int64_t i) {
          const int64_t c = i % Bed::d - first;
          return c < 0 || c >= Bed::d / 2 ? 0.0 : static_cast<double>(half[i / Bed::d * (Bed::d / 2) + c]);
        });
      }
      CHECK(farthest(beside.weights(), summed.weights()) < tight);
      CHECK(farthest(beside.output(), summed.output()) < tight);
      CHECK(farthest(beside.output(), beside.plain()) > 1e-3);
    }
}

TWIN_CASE("property: polar coordinates are rotation by halves of softplus in twice the channels, half of them zero") {
  for (const Grid g : {Grid{3, 4, 0}, Grid{3, 4, 1}}) {
    Bed polar("pope", {{"scale", "head"}}, g);
    polar.set("attn.position.learned_bias", [](int64_t) { return 0; });
    const int N = g.tokens(), d = Bed::d;
    Places wide;
    wide.sites = {Site{0, 0, 0, 2 * C, Bed::H, 2 * d, 0.3, polar.layout, "attn"}};
    Params none;
    const auto rope = position("rope", {{"layout", "halves"}})(Scope(none), wide);
    const auto padded = [&](const Tensor& x) {
      Tensor y = zeros({2, N, 2 * C});
      for (int64_t i = 0; i < x.size(); ++i)
        y[i / d * 2 * d + i % d] = static_cast<real>(std::log1p(std::exp(static_cast<double>(x[i]))));
      return heads(y, Bed::H);
    };
    const Query query{padded(polar.q), padded(polar.k), heads(polar.v, Bed::H), polar.who, 0.3};
    const Terms turned = rope->terms(wide.sites[0], polar.layout, {}, {});
    CHECK(farthest(weights(polar), attention_weights(query, turned)) < tight);
    CHECK(farthest(polar.output(), attention(query, turned, {})) < tight_in_double);
  }
}

TWIN_CASE("property: wavelets of the plane are Ricker's of both offsets, shifted to both sides") {
  const Grid g{3, 4, 1};
  const Bed bed("wavelet", {}, g);
  const auto psi = [](double t) { return (1 - t * t) * std::exp(-t * t / 2); };
  CHECK(farthest(bed.weights(), bed.by_hand([&](int b, int h, int i, int j) {
          double s = 0;
          for (int c = 0; c < Bed::d && i > 0 && j > 0; ++c) {  // columns, then rows; widths 1, 1, 2, 2 of each
            const int offset = c < 4 ? (i - 1) % g.w - (j - 1) % g.w : (i - 1) / g.w - (j - 1) / g.w;
            s += 0.3 * bed.query(b, h, i, c) * psi((offset - (c % 2 - 0.5)) / (c % 4 < 2 ? 1 : 2));
          }
          return s;
        })) < tight);
}

/// One head of width d on a grid.
Rotary rotary_of(const Options& options, const Layout& l, int d, const Run& run = {}, const char* path = "attn") {
  Places at;
  at.sites = {Site{0, 0, 0, d, 1, d, 0.5, l, path}};
  Params params;
  return position("rope_axial", options)(Scope(params), at)->terms(at.sites[0], l, {}, run).rotary;
}

TWIN_CASE("random coordinates: one draw for all blocks, as in timm, and one for each, as in dinov3, act alike") {
  const Grid g{3, 5, 1};
  const Layout l = Layout::global(g);
  const Run training{Mode::train, 5, 9, 0};
  const int d = 8, pairs = d / 2;
  CoordsAugmentation all;
  all.coords_shift = 0.3, all.coords_jitter = 1.5, all.coords_rescale = 2;
  const auto drawn = [&](const char* how, const char* block) {
    all.coords_draw = how;
    const CoordsDraw draw = draw_coords(all, training, block);
    const Rotary r = rotary_of({{"variant", "dinov3"},
                                {"coords_shift", all.coords_shift},
                                {"coords_jitter", all.coords_jitter},
                                {"coords_rescale", all.coords_rescale},
                                {"coords_draw", how}},
                               l, d, training, block);
    // what both sources do to the centre of a cell, given the draw: move, then stretch; rows in the first half of the pairs
    const auto angle = [&](int64_t i) {
      const auto n = static_cast<int>(i / pairs) - g.prefix, t = static_cast<int>(i % pairs);
      if (n < 0) return 0.0;
      const bool column = t >= pairs / 2;
      const double c = column ? 2 * (n % g.w + 0.5) / g.w - 1 : 2 * (n / g.w + 0.5) / g.h - 1;
      const double moved = column ? (c + draw.shift_x) * draw.times_x : (c + draw.shift_y) * draw.times_y;
      return 2 * std::numbers::pi * moved / std::pow(100.0, 4.0 * (t % (pairs / 2)) / d);
    };
    CHECK(r.halves);
    CHECK(largest(r.cos_q, [&](int64_t i) { return std::cos(angle(i)); }) < (twin ? 1e-13 : 1e-6));
    CHECK(largest(r.sin_k, [&](int64_t i) { return std::sin(angle(i)); }) < (twin ? 1e-13 : 1e-6));
    return r.cos_q;
  };
  CHECK(same_bits(drawn("forward", "blocks.0.attn"), drawn("forward", "blocks.1.attn")));
  CHECK(farthest(drawn("block", "blocks.0.attn"), drawn("block", "blocks.1.attn")) > 1e-3);
}

TWIN_CASE("property: the first pair of DINOv3 says nothing on two cells a side, where a head of width 4 has no other") {
  const auto spread = [](const Rotary& r) {  // of patches
    double most = 0;
    for (const Tensor& table : {r.cos_q, r.sin_q})
      most = std::max(most, largest(table, [&](int64_t i) { return static_cast<double>(table[i % table.dim(2)]); }));
    return most;
  };
  const Options dino{{"variant", "dinov3"}};
  CHECK(spread(rotary_of(dino, Layout::global({2, 2, 0}), 4)) < (twin ? 1e-14 : 1e-6));
  CHECK(spread(rotary_of(dino, Layout::global({2, 2, 0}), 8)) > 0.1);
  CHECK(spread(rotary_of(dino, Layout::global({3, 3, 0}), 4)) > 0.1);
}

TWIN_CASE("property: with start=1 cells count from 1, which a class token alone can tell") {
  const Grid g{3, 4, 1};
  const int d = 8, pairs = d / 2;
  const Rotary r = rotary_of({{"start", 1}}, Layout::global(g), d);
  const auto angle = [&](int64_t i) {
    const auto n = static_cast<int>(i / pairs) - 1, t = static_cast<int>(i % pairs);
    if (n < 0) return 0.0;
    return (1 + (t < pairs / 2 ? n % g.w : n / g.w)) * std::pow(100.0, -4.0 * (t % (pairs / 2)) / d);
  };
  CHECK(largest(r.cos_q, [&](int64_t i) { return std::cos(angle(i)); }) < (twin ? 1e-14 : 1e-6));
  CHECK(largest(r.sin_k, [&](int64_t i) { return std::sin(angle(i)); }) < (twin ? 1e-14 : 1e-6));
  const Tensor here = Bed("rope_axial", {}, g).weights(), there = Bed("rope_axial", {{"start", 1}}, g).weights();
  const int N = g.tokens();
  double patches = 0, classes = 0;
  for (int64_t map = 0; map < 4; ++map)
    for (int64_t i = 1; i < N; ++i)
      for (int64_t j = 0; j < N; ++j) {  // beside the score of the first patch
        const auto s = [&](const Tensor& w) {
          const int64_t row = (map * N + i) * N;
          return std::log(static_cast<double>(w[row + j]) / static_cast<double>(w[row + 1]));
        };
        double& most = j ? patches : classes;
        most = std::max(most, std::abs(s(here) - s(there)));
      }
  CHECK(patches < (twin ? 1e-13 : 2e-4));
  CHECK(classes > 1e-2);
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
