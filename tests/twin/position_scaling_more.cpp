// Resolution scaling and random coordinates of encodings whose pairs turn in more directions, by learned matrices or behind another map, and of
// those that multiply distances by what a token says. Those of rows and columns: position_scaling.cpp.
#include <numbers>

#include "tessera/nn/position/scaling.h"
#include "tests/twin/position_bed.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

using namespace walk;

Value word(const char* s) { return std::string(s); }
Options with(Options options, const Options& more) {
  for (const auto& [key, value] : more) options[key] = value;
  return options;
}

constexpr double close = twin ? 1e-13 : 1e-5;  // angles of a few radians

/// One head of width d of a model for `trained`, called elsewhere. Parameters are redrawn.
Rotary turned(std::string_view name, const Options& options, const Layout& trained, const Layout& now, int d,
              const Run& run = {}) {
  Places at;
  at.sites = {Site{0, 0, 0, d, 1, d, 0.5, trained, "attn"}};
  Params params;
  const auto encoding = position(name, options)(Scope(params), at);
  redraw(params);
  return encoding->terms(at.sites[0], now, {}, run).rotary;
}
double apart(const Rotary& a, const Rotary& b) {
  return std::max(
      {farthest(a.cos_q, b.cos_q), farthest(a.sin_q, b.sin_q), farthest(a.cos_k, b.cos_k), farthest(a.sin_k, b.sin_k)});
}
bool same(const Rotary& a, const Rotary& b) {
  return same_bits(a.cos_q, b.cos_q) && same_bits(a.sin_q, b.sin_q) && same_bits(a.cos_k, b.cos_k) &&
         same_bits(a.sin_k, b.sin_k);
}

/// A rotation by frequencies, with options that keep every pair turning, and those that leave it unscaled.
struct Turning {
  const char* name;
  Options options, plain;
};
const std::vector<Turning>& turning() {
  static const std::vector<Turning> all{
      {"pope", {{"theta", 100.0}}, {{"scaling", word("none")}}},
      {"pope", {{"axes", word("axial")}}, {{"scaling", word("none")}}},
      {"pope", {{"axes", word("golden_gate")}, {"min_freq", 0.1}}, {{"scaling", word("none")}}},
      {"spiral", {{"theta", 100.0}}, {{"scaling", word("none")}}},
      {"spiral", {{"theta", 100.0}, {"clamp", true}}, {{"scaling", word("none")}}},
      {"spiral", {{"theta", 100.0}, {"same_theta", true}}, {{"scaling", word("none")}}},
      {"golden_gate", {{"min_freq", 0.1}}, {{"scaling", word("none")}}},
      {"golden_gate", {{"min_freq", 0.1}, {"p_zero_freqs", 0.25}}, {{"scaling", word("none")}}},
      {"cayley_string", {}, {{"scaling", word("none")}}},
      {"harope", {{"theta", 100.0}}, {{"scaling", word("none")}}}};
  return all;
}

// ---- rotations --------------------------------------------------------------------------------------------------------

TWIN_CASE(
    "scaling of directions: nothing happens on the trained grid; larger, YaRN lies between plain and interpolated") {
  const Layout trained = Layout::global({3, 4, 1}), now = Layout::global({6, 10, 1});
  const Options every{{"scaling", word("yarn")}, {"beta_fast", 1e-3 * 2}, {"beta_slow", 1e-3}},
      no{{"scaling", word("yarn")}, {"beta_fast", 1000.0}, {"beta_slow", 900.0}};
  for (const Turning& t : turning()) {
    INFO(t.name);
    const auto of = [&](const Options& more, const Layout& at) {
      return turned(t.name, with(t.options, more), trained, at, 16);
    };
    const Rotary plain = of(t.plain, trained), large = of(t.plain, now),
                 squeezed = of({{"scaling", word("interpolate")}}, now);
    for (const char* mode : {"interpolate", "ntk", "yarn"}) CHECK(same(of({{"scaling", word(mode)}}, trained), plain));
    CHECK(same(of({{"scaling", word("yarn")}, {"temperature", true}}, trained), plain));
    CHECK(apart(of(every, now), large) < close);
    CHECK(apart(of(no, now), squeezed) < close);
    CHECK(apart(large, squeezed) > 1e-3);
    CHECK(apart(of({{"scaling", word("ntk")}}, now), large) > 1e-3);
    CHECK(apart(of({{"scaling", word("ntk")}}, now), squeezed) > 1e-3);
    // smaller grids: interpolation alone acts
    const Layout small = Layout::global({2, 3, 1});
    for (const char* mode : {"ntk", "yarn"}) CHECK(same(of({{"scaling", word(mode)}}, small), of(t.plain, small)));
    CHECK_FALSE(same(of({{"scaling", word("interpolate")}}, small), of(t.plain, small)));
    // cosines and sines, those of class tokens too
    const Rotary cool = of({{"scaling", word("yarn")}}, now),
                 hot = of({{"scaling", word("yarn")}, {"temperature", true}}, now);
    const bool raster = t.options.contains("theta") && t.name == std::string_view("pope");
    const double m = 0.1 * std::log(raster ? 5 : std::sqrt(2.0 * 2.5)) + 1;
    for (const auto& [one, warmer] : {std::pair(&cool.cos_q, &hot.cos_q), std::pair(&cool.sin_q, &hot.sin_q),
                                      std::pair(&cool.cos_k, &hot.cos_k), std::pair(&cool.sin_k, &hot.sin_k)})
      for (int64_t i = 0; i < one->size(); ++i)
        CHECK(std::abs(static_cast<double>((*one)[i]) * m - static_cast<double>((*warmer)[i])) < close);
  }
}

TWIN_CASE("scaling of directions: interpolated, every second cell of twice the grid is a trained one") {
  const Layout trained = Layout::global({3, 4, 1}), now = Layout::global({6, 8, 1});
  for (const Turning& t : turning()) {
    // half of a raster index stands in another row; clamped coordinates are held to a grid with another last cell
    if ((t.name == std::string_view("pope") && t.options.contains("theta")) || t.options.contains("clamp")) continue;
    INFO(t.name);
    const Options options = with(t.options, {{"scaling", word("interpolate")}});
    const Rotary coarse = turned(t.name, options, trained, trained, 16),
                 fine = turned(t.name, options, trained, now, 16);
    const int pairs = coarse.cos_q.dim(2);
    for (int n = 0; n < 13; ++n) {
      const int of_fine = n == 0 ? 0 : 1 + (n - 1) / 4 * 2 * 8 + (n - 1) % 4 * 2;
      for (int p = 0; p < pairs; ++p)
        for (const auto& [a, b] : {std::pair(&coarse.cos_q, &fine.cos_q), std::pair(&coarse.sin_q, &fine.sin_q),
                                   std::pair(&coarse.cos_k, &fine.cos_k), std::pair(&coarse.sin_k, &fine.sin_k)})
          CHECK(std::abs(static_cast<double>((*a)[n * pairs + p] - (*b)[of_fine * pairs + p])) < close);
    }
  }
}

TWIN_CASE("scaling of directions: NTK is another base, or another slowest pair") {
  const Layout trained = Layout::global({3, 3, 1}), now = Layout::global({6, 6, 1});
  const Options ntk{{"scaling", word("ntk")}}, none{{"scaling", word("none")}};
  const auto equal = [&](const char* name, const Options& options, const Options& changed) {
    INFO(name);
    const Rotary scaled = turned(name, with(options, ntk), trained, now, 32),
                 spaced = turned(name, with(with(options, changed), none), trained, now, 32);
    CHECK(apart(scaled, spaced) < 10 * close);
    CHECK(apart(scaled, turned(name, with(options, none), trained, now, 32)) > 1e-3);
  };
  // base s^(m / (m - 1)): 32 pairs on a raster of four times the cells, 16 an axis of twice the cells
  equal("pope", {{"theta", 100.0}}, {{"theta", 100 * std::pow(4, 32 / 31.0)}});
  equal("pope", {{"axes", word("axial")}, {"theta", 100.0}}, {{"theta", 100 * std::pow(2, 16 / 15.0)}});
  equal("harope", {{"theta", 100.0}}, {{"theta", 100 * std::pow(2, 8 / 7.0)}});
  equal("spiral", {{"theta", 100.0}}, {{"theta", 100 * std::pow(2, 8 / 7.0)}});
  equal("spiral", {{"theta", 100.0}, {"rotate", 4}}, {{"theta", 100 * std::pow(2, 8 / 7.0)}});
  equal("spiral", {{"min_freq", 0.1}, {"same_theta", true}}, {{"min_freq", 0.05}});
  equal("golden_gate", {{"min_freq", 0.1}}, {{"min_freq", 0.05}});
  equal("golden_gate", {{"min_freq", 0.1}, {"p_zero_freqs", 0.5}}, {{"min_freq", 0.05}});
  equal("pope", {{"axes", word("golden_gate")}, {"min_freq", 0.1}}, {{"min_freq", 0.05}});
}

TWIN_CASE("scaling of directions: clip leaves fast pairs alone and brings the slowest to rest, on every grid") {
  const Layout trained = Layout::global({3, 4, 1});
  const Options clip{{"scaling", word("clip")}, {"clip", word("hard")}, {"clip_share", 0.5}};
  // of 16 channels: which pairs are slow
  const auto slow = [](const Turning& t, int p) {
    const std::string_view name = t.name;
    if (name == "pope") {
      if (t.options.contains("theta")) return p >= 8;
      return t.options.contains("min_freq") ? p < 8 : p % 8 >= 4;
    }
    if (name == "golden_gate") return t.options.contains("p_zero_freqs") ? p < 2 + 3 : p < 4;
    if (name == "spiral" && t.options.contains("same_theta")) return p % 2 == 1;  // two frequencies, in turns
    return p % 4 >= 2;
  };
  for (const Layout& now : {trained, Layout::global({6, 10, 1})})
    for (const Turning& t : turning()) {
      if (t.name == std::string_view("cayley_string")) continue;  // learned: slow is what |f| says
      INFO(t.name);
      const Rotary plain = turned(t.name, with(t.options, t.plain), trained, now, 16),
                   clipped = turned(t.name, with(t.options, clip), trained, now, 16);
      const int pairs = plain.cos_q.dim(2);
      for (int64_t i = 0; i < plain.cos_q.size(); ++i) {
        const bool rests = slow(t, static_cast<int>(i % pairs));
        CHECK(clipped.cos_q[i] == (rests ? real(1) : plain.cos_q[i]));
        CHECK(clipped.sin_q[i] == (rests ? real(0) : plain.sin_q[i]));
      }
    }
}

TWIN_CASE("scaling of directions: rescale is the older name") {
  const Layout trained = Layout::global({3, 4, 1}), now = Layout::global({5, 6, 1});
  const auto spiral = [&](const Options& options) { return turned("spiral", options, trained, now, 16); };
  CHECK(same(spiral({}), spiral({{"scaling", word("interpolate")}})));
  CHECK(same(spiral({{"rescale", false}}), spiral({{"scaling", word("none")}})));
  CHECK(apart(spiral({}), spiral({{"rescale", false}})) > 1e-3);
  // a sequence goes on where an image is divided finer: spiral by default, golden_gate under the older name alone
  const Layout line = Layout::sequence(6), longer = Layout::sequence(12);
  const auto at = [&](const char* name, const Options& options) { return turned(name, options, line, longer, 16); };
  const Options squeeze{{"scaling", word("interpolate")}}, none{{"scaling", word("none")}};
  CHECK(same(at("spiral", {}), at("spiral", none)));
  CHECK(same(at("golden_gate", {{"rescale", true}}), at("golden_gate", none)));
  for (const char* name : {"golden_gate", "pope", "harope"}) {
    INFO(name);
    const Rotary trained_one = turned(name, squeeze, line, line, 16), twice = at(name, squeeze);
    const int pairs = twice.cos_q.dim(2);
    for (int i = 0; i < 6; ++i)
      CHECK(std::abs(static_cast<double>(twice.cos_q[2 * i * pairs + pairs - 1] -
                                         trained_one.cos_q[i * pairs + pairs - 1])) < close);
    CHECK(same(turned(name, squeeze, longer, line, 16), turned(name, none, longer, line, 16)));  // it begins the longer
  }
  CHECK(apart(at("spiral", {{"scaling", word("ntk")}}), at("spiral", none)) > 1e-3);
}

// ---- matrices ---------------------------------------------------------------------------------------------------------

/// Queries of a model for 3 x 4 cells, called on `now`, where cell (y, x) has what is in cell (y, x) / step of 3 x 4.
Tensor shaped(const char* name, const Options& options, const Grid& now, int step) {
  const Grid trained{3, 4, 0};
  const Moved bed(name, options, trained, now);
  Tensor q({1, now.tokens(), Bed::H * Bed::d});
  for (int n = 0; n < now.tokens(); ++n) {
    const int y = n / now.w / step, x = n % now.w / step;
    for (int c = 0; c < Bed::H * Bed::d; ++c)
      q[n * Bed::H * Bed::d + c] = rounded(normal_at("cell", (y * 4 + x) * Bed::H * Bed::d + c));
  }
  const Query query{heads(q, Bed::H), heads(q, Bed::H), heads(q, Bed::H), bed.who, 0.3};
  const Heads turned_q = bed.encoding->shape(bed.places.sites[0], bed.layout, query, {q, q}, {}).q;
  CHECK(turned_q.offset == 0);
  CHECK(turned_q.stride == Bed::H * Bed::d);
  return turned_q.x;
}

TWIN_CASE("scaling of matrices: cells that divide the trained grid, and cells that go on beyond it") {
  const auto off = [](const Tensor& trained, const Tensor& larger, int step) {
    double most = 0;
    for (int n = 0; n < 12; ++n)
      for (int c = 0; c < Bed::H * Bed::d; ++c)
        most = std::max(most,
                        std::abs(static_cast<double>(trained[n * Bed::H * Bed::d + c] -
                                                     larger[(n / 4 * step * 8 + n % 4 * step) * Bed::H * Bed::d + c])));
    return most;
  };
  const Grid trained{3, 4, 0}, larger{6, 8, 0};
  const Options squeeze{{"scaling", word("interpolate")}}, none{{"scaling", word("none")}};
  for (const char* name : {"lie", "comrope_ld", "comrope_ap"}) {
    INFO(name);
    // by the words of their rows lie counts on and comrope divides
    const Options& other = name == std::string_view("lie") ? squeeze : none;
    const Options& normal = name == std::string_view("lie") ? none : squeeze;
    CHECK(same_bits(shaped(name, {}, larger, 1), shaped(name, normal, larger, 1)));
    CHECK(farthest(shaped(name, {}, larger, 1), shaped(name, other, larger, 1)) > 1e-4);
    CHECK(same_bits(shaped(name, {}, trained, 1), shaped(name, other, trained, 1)));
    CHECK(off(shaped(name, none, trained, 1), shaped(name, none, larger, 1), 1) < close);
  }
  CHECK(off(shaped("lie", squeeze, trained, 1), shaped("lie", squeeze, larger, 2), 2) < close);
  CHECK(off(shaped("lie", none, trained, 1), shaped("lie", none, larger, 2), 2) > 1e-4);
}

// ---- distances --------------------------------------------------------------------------------------------------------

TWIN_CASE("scaling of distances that tokens multiply: every second cell of twice the grid is a trained one") {
  const Grid trained{3, 4, 0}, now{6, 8, 0};
  for (const auto& [row, more] : {std::pair<const char*, Options>{"content_alibi", {}},
                                  {"content_alibi", {{"metric", word("l1")}}},
                                  {"pape", {{"parabolas", 3}}},
                                  {"pape_ri", {}},
                                  {"wavelet", {}}}) {
    const char* name = row;
    INFO(name);
    const Options options = with(more, {{"scaling", word("interpolate")}});
    const Terms was = Moved(name, options, trained, trained).terms(), is = Moved(name, options, trained, now).terms(),
                plain = Moved(name, more, trained, trained).terms();
    REQUIRE(was.count == is.count);
    for (int t = 0; t < was.count; ++t) {
      const Relative &a = was.relative[static_cast<size_t>(t)], &b = is.relative[static_cast<size_t>(t)];
      CHECK(same_bits(a.table, plain.relative[static_cast<size_t>(t)].table));
      const int H = a.table.dim(0), width = a.table.dim(2);
      for (int i = 0; i < 12; ++i)
        for (int j = 0; j < 12; ++j) {
          const auto fine = [](int n) { return n / 4 * 2 * 8 + n % 4 * 2; };
          const int ra = a.rho->at[static_cast<size_t>(i * 12 + j)],
                    rb = b.rho->at[static_cast<size_t>(fine(i) * 48 + fine(j))];
          for (int h = 0; h < H; ++h)
            for (int c = 0; c < width; ++c)
              CHECK(std::abs(static_cast<double>(a.table[(h * a.table.dim(1) + ra) * width + c] -
                                                 b.table[(h * b.table.dim(1) + rb) * width + c])) < close);
        }
    }
  }
  // along the raster: by the number of cells
  const Terms line =
                  Moved("wavelet", {{"axes", word("raster")}, {"scaling", word("interpolate")}}, trained, now).terms(),
              short_one = Moved("wavelet", {{"axes", word("raster")}}, trained, trained).terms();
  const Tensor &fine = line.relative[0].table, &coarse = short_one.relative[0].table;  // rows -47..47, -11..11
  for (int o = -11; o <= 11; ++o)
    for (int c = 0; c < Bed::d; ++c)
      CHECK(std::abs(static_cast<double>(fine[(4 * o + 47) * Bed::d + c] - coarse[(o + 11) * Bed::d + c])) < close);
  const Tensor slopes =
      Moved("content_alibi", {{"metric", word("raster")}, {"scaling", word("interpolate")}}, trained, now)
          .terms()
          .relative[0]
          .table;
  for (int r = 0; r < 48; ++r) CHECK(std::abs(static_cast<double>(slopes[r]) + r / 4.0) < close);
  // a class token's cell is one before the first, of the call: the authors count cells from 1
  const Relative parabola =
                     Moved("pape_ri", {{"scaling", word("interpolate")}}, {3, 4, 1}, {6, 8, 1}).terms().relative[0],
                 unscaled = Moved("pape_ri", {}, {3, 4, 1}, {6, 8, 1}).terms().relative[0];
  const auto to_class = static_cast<size_t>(parabola.rho->m);  // the first cell's query, the class token's key
  const int r = parabola.rho->at[to_class];
  CHECK(std::abs(static_cast<double>(parabola.table[r] - unscaled.table[r] / 4)) < close);
}

// ---- random coordinates -----------------------------------------------------------------------------------------------

TWIN_CASE("random coordinates of polar ones: evaluation sees none, and a shift moves all patches alike") {
  const Layout l = Layout::global({3, 5, 1});
  const Run training{Mode::train, 5, 9, 0};
  const Options all{{"coords_shift", 0.3}, {"coords_jitter", 1.5}, {"coords_rescale", 2.0}};
  for (const Options& axes : {Options{{"axes", word("axial")}}, Options{{"axes", word("golden_gate")}}}) {
    const auto of = [&](const Options& more, const Run& run) { return turned("pope", with(axes, more), l, l, 8, run); };
    const Rotary plain = of({}, {});
    CHECK(same(plain, of({}, training)));
    CHECK(same(plain, of(all, {})));
    CHECK(apart(plain, of(all, training)) > 1e-2);
    CHECK(same(of(all, training), of(all, {Mode::train, 5, 9, 16})));
    const Rotary shifted = of({{"coords_shift", 0.3}}, training);
    const int pairs = plain.cos_q.dim(2);
    const auto angle = [&](const Rotary& r, int n, int c) {
      return std::atan2(static_cast<double>(r.sin_q[n * pairs + c]), static_cast<double>(r.cos_q[n * pairs + c]));
    };
    const auto moved = [&](int n, int c) {
      return std::remainder(angle(shifted, n, c) - angle(plain, n, c), 2 * std::numbers::pi);
    };
    for (int c = 0; c < pairs; ++c) {
      CHECK(moved(0, c) == 0);
      for (int n = 2; n < 16; ++n)
        CHECK(std::abs(std::remainder(moved(n, c) - moved(1, c), 2 * std::numbers::pi)) < close);
    }
    CHECK(std::abs(moved(1, 0)) > 1e-3);
  }
}

TWIN_CASE("random coordinates of matrices: evaluation sees none; commuting ones tell no shift between patches") {
  const Layout l = Layout::global({3, 4, 0});
  const Options all{{"coords_shift", 0.3}, {"coords_jitter", 1.5}, {"coords_rescale", 2.0}};
  for (const char* name : {"lie", "comrope_ld", "comrope_ap"}) {
    INFO(name);
    const auto weights = [&](const Options& options, const Run& run) {
      const Bed bed(name, options, l);
      return attention_weights(bed.encoding->shape(bed.places.sites[0], l, bed.query(), bed.tokens(), run), {});
    };
    const Run training{Mode::train, 5, 9, 0};
    const Tensor plain = weights({}, {});
    CHECK(same_bits(plain, weights({}, training)));
    CHECK(same_bits(plain, weights(all, {})));
    CHECK(same_bits(weights(all, training), weights(all, {Mode::train, 5, 9, 16})));
    CHECK(farthest(plain, weights(all, training)) > 1e-5);
    const double moved = farthest(plain, weights({{"coords_shift", 0.5}}, training));
    if (name == std::string_view("lie")) {
      CHECK(moved > 1e-5);
    } else {
      CHECK(moved < rounding);
    }
  }
}

TWIN_CASE("random coordinates of a spiral on the grid: the grid moves with its cells") {
  const Layout l = Layout::global({4, 4, 1});
  const Run training{Mode::train, 5, 9, 0};
  const Options clamped{{"rotate", 2}, {"clamp", true}};
  const Rotary plain = turned("spiral", clamped, l, l, 16),
               shifted = turned("spiral", with(clamped, {{"coords_shift", 0.3}}), l, l, 16, training);
  const int pairs = plain.cos_q.dim(2);
  const auto moved = [&](int n, int t) {
    const auto angle = [&](const Rotary& r) {
      return std::atan2(static_cast<double>(r.sin_q[n * pairs + t]), static_cast<double>(r.cos_q[n * pairs + t]));
    };
    return angle(shifted) - angle(plain);
  };
  for (int t = 0; t < pairs; ++t)
    for (int n = 2; n < 17; ++n)
      CHECK(std::abs(std::remainder(moved(n, t) - moved(1, t), 2 * std::numbers::pi)) < close);
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
