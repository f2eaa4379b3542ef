// Resolution scaling and random coordinates in the encodings that have them: goldens, and what equals what.
#include <numbers>

#include "tessera/nn/position/coords_aug.h"
#include "tessera/nn/position/scaling.h"
#include "tests/twin/position_bed.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

using namespace walk;

Value word(const char* s) { return std::string(s); }

/// Rows 0 and 3 of the logits of the small attention of position_goldens.cpp, up to a constant per row.
void golden_logits(const Rotary& rotary, const std::array<double, 4>& L0, const std::array<double, 4>& L3) {
  Tensor q({1, 4, 4}), k({1, 4, 4});
  for (int i = 0; i < 4; ++i)
    for (int c = 0; c < 4; ++c) {
      q[4 * i + c] = static_cast<real>(std::sin(0.3 * (i + 1) * (c + 1)));
      k[4 * i + c] = static_cast<real>(std::cos(0.2 * (i + 1) * (c + 2)));
    }
  Terms terms;
  terms.rotary = rotary;
  const Tensor w = attention_weights({heads(q, 1), heads(k, 1), heads(k, 1), global_pattern(4, 4), 0.5}, terms);
  for (const auto& [i, L] : {std::pair(0, &L0), std::pair(3, &L3)})
    for (int j = 1; j < 4; ++j)
      CHECK(std::abs(std::log(static_cast<double>(w[4 * i + j] / w[4 * i])) -
                     ((*L)[static_cast<size_t>(j)] - (*L)[0])) < (twin ? 2e-6 : 4e-5));
}

TWIN_CASE("golden scaling: 2 x 2 cells that were trained as one") {
  const auto made = [](const Options& options) {
    Places at;
    at.sites = {Site{0, 0, 0, 4, 1, 4, 0.5, Layout::global({1, 1, 0}), "attn"}};
    Params params;
    return position("rope_axial", options)(Scope(params), at)
        ->terms(at.sites[0], Layout::global({2, 2, 0}), {}, {})
        .rotary;
  };
  golden_logits(made({{"scaling", word("interpolate")}}), {0.893772, 0.043383, -0.647790, -0.848954},
                {0.394170, 0.671801, 0.627674, 0.283803});
  // all pairs kept, so that the temperature acts alone
  const Rotary hot = made({{"scaling", word("yarn")}, {"beta_fast", 0.1}, {"beta_slow", 0.01}, {"temperature", true}});
  golden_logits(hot, {0.893772 * 1.143434, 0.025986 * 1.143434, -0.378806 * 1.143434, -0.581952 * 1.143434},
                {0.465524, 0.717828, 0.587678, 0.324509});
}

TWIN_CASE("scaling: interpolate is what rescale was, to the bit") {
  const Grid trained{3, 4, 1}, now{5, 6, 1};
  for (const char* name :
       {"rope", "rope_axial", "rope_mixed", "alibi", "alibi_2d", "golden_gate", "forget", "forget_profiles"}) {
    INFO(name);
    const Tensor a = Moved(name, {{"rescale", true}}, trained, now).weights(),
                 b = Moved(name, {{"scaling", word("interpolate")}}, trained, now).weights();
    CHECK(same_bits(a, b));
    CHECK(farthest(a, Moved(name, {}, trained, now).weights()) > 1e-3);
  }
  CHECK(same_bits(Moved("sincos2d", {{"resolution", word("rescale")}}, trained, now).added(),
                  Moved("sincos2d", {{"scaling", word("interpolate")}}, trained, now).added()));
}

TWIN_CASE("scaling: on the trained grid all is as without; larger, YaRN lies between plain and interpolated") {
  const Grid trained{3, 4, 1}, now{6, 10, 1};
  const Options every{{"scaling", word("yarn")}, {"beta_fast", 1e-3 * 2}, {"beta_slow", 1e-3}},
      no{{"scaling", word("yarn")}, {"beta_fast", 1000.0}, {"beta_slow", 900.0}};
  for (const char* name : {"rope", "rope_axial", "rope_mixed"}) {
    INFO(name);
    const auto weights = [&](const Options& more, const Grid& at) {
      Options options =
          name == std::string_view("rope") ? Options{{"base", 100.0}} : Options{};  // no pair all but rests
      options.insert(more.begin(), more.end());
      return Moved(name, options, trained, at).weights();
    };
    const Tensor plain = weights({}, trained), large = weights({}, now),
                 squeezed = weights({{"scaling", word("interpolate")}}, now);
    for (const char* mode : {"interpolate", "ntk", "yarn"})
      CHECK(same_bits(weights({{"scaling", word(mode)}}, trained), plain));
    CHECK(same_bits(weights(every, now), large));
    CHECK(farthest(weights(no, now), squeezed) < tight);
    CHECK(farthest(large, squeezed) > 1e-3);
  }
}

TWIN_CASE("scaling: mixed frequencies that each meet one axis scale as axial ones do") {
  const Grid trained{4, 4, 1}, now{6, 9, 1};
  for (const auto& [mode, more] : {std::pair<const char*, Options>{"ntk", {}},
                                   {"yarn", {{"temperature", true}}},
                                   {"clip", {{"clip_share", 1.0}}},
                                   {"clip", {{"clip", word("hard")}, {"clip_share", 0.5}}},
                                   {"interpolate", {}}}) {
    INFO(mode);
    Options options = more;
    options["scaling"] = word(mode);
    Moved mixed("rope_mixed", options, trained, now), axial("rope_axial", options, trained, now);
    const Tensor& f = mixed.fresh.find("attn.position.freqs")->value;
    for (int64_t i = 0; i < f.size(); ++i) {  // (axis, head, pair): fx = (f | 0), fy = (0 | f)
      const auto axis = i / Bed::d, t = i % (Bed::d / 2);
      f[i] = static_cast<real>(
          (t < Bed::d / 4) == (axis == 0) ? std::pow(100.0, -4.0 * static_cast<double>(t % (Bed::d / 4)) / Bed::d) : 0);
    }
    CHECK(farthest(mixed.weights(), axial.weights()) < tight);
    CHECK(farthest(axial.weights(), Moved("rope_axial", {}, trained, now).weights()) > 1e-4);
  }
}

TWIN_CASE("scaling: a temperature of the tables is one of the scores") {
  const Grid trained{3, 4, 1}, now{6, 8, 1};
  const Options yarn{{"scaling", word("yarn")}}, hot{{"scaling", word("yarn")}, {"temperature", true}};
  const double m = 0.1 * std::log(2.0) + 1;
  for (const char* name : {"rope_axial", "rope_mixed"}) {
    const Moved cool(name, yarn, trained, now);
    CHECK(farthest(Moved(name, hot, trained, now).weights(), attention_weights(cool.query(0.3 * m * m), cool.terms())) <
          tight);
  }
}

TWIN_CASE("scaling: distances in trained cells") {
  // twice the grid: every second cell stands where a trained one did
  const Grid trained{3, 4, 0}, now{6, 8, 0};
  const Options squeeze{{"scaling", word("interpolate")}};
  for (const auto& [row, more] : {std::pair<const char*, Options>{"alibi_2d", {}},
                                  {"kerple_log", {{"metric", word("euclidean")}}},
                                  {"kerple_power", {{"metric", word("euclidean")}}},
                                  {"t5_axial", {}},
                                  {"lookhere", {}}}) {
    const char* name = row;
    INFO(name);
    Options options = more;
    options["scaling"] = word("interpolate");
    const Moved small(name, options, trained, trained), large(name, options, trained, now);
    const Terms was = small.terms(), is = large.terms();
    for (int t = 0; t < was.count; ++t) {
      const Relative &a = was.relative[static_cast<size_t>(t)], &b = is.relative[static_cast<size_t>(t)];
      for (int i = 0; i < 12; ++i)
        for (int j = 0; j < 12; ++j) {
          const auto fine = [](int n) { return n / 4 * 2 * 8 + n % 4 * 2; };
          const int ra = a.rho->at[static_cast<size_t>(i * 12 + j)],
                    rb = b.rho->at[static_cast<size_t>(fine(i) * 48 + fine(j))];
          for (int h = 0; h < Bed::H; ++h) {
            const real coarse = a.table[h * a.table.dim(1) + ra], fine_one = b.table[h * b.table.dim(1) + rb];
            CHECK((coarse == fine_one || std::abs(coarse - fine_one) < (twin ? 1e-14 : 1e-6)));
          }
        }
    }
  }
  // Transformer-XL's sinusoids of an offset: those of half of it on twice the grid
  const Moved xl("transformer_xl_axial", squeeze, trained, now), small("transformer_xl_axial", {}, trained, trained);
  const Tensor fine = xl.terms().relative[0].table, coarse = small.terms().relative[0].table;  // rows -5..5, -2..2
  for (int h = 0; h < Bed::H; ++h)
    for (int o = -2; o <= 2; ++o)
      for (int c = 0; c < Bed::d; ++c)
        CHECK(std::abs(static_cast<double>(fine[(h * 11 + 2 * o + 5) * Bed::d + c] -
                                           coarse[(h * 5 + o + 2) * Bed::d + c])) < (twin ? 1e-14 : 1e-6));
  for (const char* mode : {"ntk", "yarn"})
    CHECK(farthest(Moved("transformer_xl", {{"scaling", word(mode)}}, trained, now).weights(),
                   Moved("transformer_xl", {}, trained, now).weights()) > 1e-6);
  // GPSA: halves of offsets, quarters of their squares
  const Moved gates("gpsa", squeeze, trained, now);
  Moved halved("gpsa", {}, trained, now);
  const Tensor& w = halved.fresh.find("attn.pos_proj.weight")->value;
  for (int64_t i = 0; i < w.size(); ++i) w[i] /= i % 3 == 2 ? 4 : 2;
  CHECK(farthest(gates.output(), halved.output()) < rounding);
  // FIRE: c times distance, over c times the largest one of the trained grid
  const Moved fire("fire", squeeze, trained, now), plain("fire", {}, trained, now);
  CHECK(farthest(fire.weights(), plain.weights()) > 1e-7);
  // log_cpb: every window spans [-8, 8]
  const Moved cpb("log_cpb", {{"hidden", 5}, {"scaling", word("interpolate")}}, trained, now),
      there("log_cpb", {{"hidden", 5}}, now, now);
  CHECK(same_bits(cpb.weights(), there.weights()));
}

// ---- coordinates of DINOv3 --------------------------------------------------------------------------------------------

/// Radians by which pair t of token n turns, in (-pi, pi].
double angle(const Rotary& r, int n, int t) {
  const int pairs = r.cos_q.dim(2);
  return std::atan2(static_cast<double>(r.sin_q[n * pairs + t]), static_cast<double>(r.cos_q[n * pairs + t]));
}
double apart(double a, double b) { return std::abs(std::remainder(a - b, 2 * std::numbers::pi)); }

/// One head of width d on a grid.
Rotary rotary_of(std::string_view name, const Options& options, const Layout& l, int d, const Run& run = {},
                 const char* path = "attn") {
  Places at;
  at.sites = {Site{0, 0, 0, d, 1, d, 0.5, l, path}};
  Params params;
  return position(name, options)(Scope(params), at)->terms(at.sites[0], l, {}, run).rotary;
}

TWIN_CASE("golden coordinates: DINOv3's three normalisations, its angles and periods") {
  const double close = twin ? 4e-6 : 2e-5;  // six decimals of a coordinate, times 2 pi
  const Layout l = Layout::global({2, 3, 0});
  using Cells = std::vector<std::array<double, 2>>;
  for (const auto& [how, want] :
       {std::pair<const char*, Cells>{"separate", {{-0.5, -0.666667}, {-0.5, 0.666667}, {0.5, 0.666667}}},
        {"max", {{-0.666667, -0.666667}, {-0.666667, 0.666667}, {0, 0.666667}}},
        {"min", {{-0.5, -0.5}, {-0.5, 1.5}, {0.5, 1.5}}}}) {
    const Rotary r = rotary_of("rope_axial", {{"variant", word("dinov3")}, {"normalize", word(how)}}, l, 4);
    int i = 0;
    for (const int n : {0, 2, 5}) {
      for (int axis = 0; axis < 2; ++axis)
        CHECK(apart(angle(r, n, axis), 2 * std::numbers::pi * want[static_cast<size_t>(i)][static_cast<size_t>(axis)]) <
              close);
      ++i;
    }
  }
  const Rotary eight = rotary_of("rope_axial", {{"variant", word("dinov3")}, {"normalize", word("max")}}, l, 8);
  const double want[] = {0, 0, 4.188790, 0.418879};
  for (int t = 0; t < 4; ++t) CHECK(apart(angle(eight, 5, t), want[t]) < close);
  // periods from 0.5 to 8 over three pairs: 0.5, 2, 8
  const Rotary periods =
      rotary_of("rope_axial", {{"variant", word("dinov3")}, {"min_period", 0.5}, {"max_period", 8.0}}, l, 12);
  for (int t = 0; t < 3; ++t)
    CHECK(apart(angle(periods, 0, t), 2 * std::numbers::pi * -0.5 / (0.5 * std::pow(4, t))) < close);
}

TWIN_CASE("golden coordinates: shifted, jittered and rescaled as DINOv3 does") {
  const CoordsDraw draw{0.1, -0.2, 1.2 * 1.25, 0.9 * 1.25};
  Rotary r;
  r.halves = true, r.cos_q = Tensor({1, 4, 2}), r.sin_q = Tensor({1, 4, 2});
  for (int i = 0; i < 4; ++i) {
    const double y = draw.y(i / 2 - 0.5), x = draw.x(i % 2 - 0.5);
    for (int t = 0; t < 2; ++t) {
      const double a = 2 * std::numbers::pi * (t ? x : y);
      r.cos_q[2 * i + t] = static_cast<real>(std::cos(a)), r.sin_q[2 * i + t] = static_cast<real>(std::sin(a));
    }
  }
  r.cos_k = r.cos_q, r.sin_k = r.sin_q;
  golden_logits(r, {0.893772, 0.229198, -0.290232, -0.079791}, {0.151440, -0.001485, 0.309993, 0.283803});
}

TWIN_CASE("coordinates: cells in [-1, 1] are axial cells of 4 pi / n radians, up to a constant of the pair") {
  const Layout l = Layout::global({3, 5, 0});
  const Rotary r = rotary_of("rope_axial", {{"variant", word("dinov3")}}, l, 8);
  for (int i = 0; i < 15; ++i)
    for (int j = 0; j < 15; ++j)
      for (int t = 0; t < 4; ++t) {
        const double cells = t < 2 ? (i / 5 - j / 5) / 3.0 : (i % 5 - j % 5) / 5.0;
        CHECK(apart(angle(r, i, t) - angle(r, j, t), 4 * std::numbers::pi * cells * std::pow(100.0, -(t % 2) / 2.0)) <
              (twin ? 1e-14 : 2e-6));
      }
}

const Run training{Mode::train, 5, 9, 0};

TWIN_CASE("random coordinates: evaluation sees none; patches see no shift, class tokens do") {
  const Grid g{3, 5, 1};
  const Options all{{"coords_shift", 0.3}, {"coords_jitter", 1.5}, {"coords_rescale", 2.0}};
  for (const auto& [row, more] : {std::pair<const char*, Options>{"rope_axial", {}},
                                  {"rope_axial", {{"variant", word("timm_language")}}},
                                  {"rope_axial", {{"variant", word("timm_pixel")}, {"max_freq", 8.0}}},
                                  {"rope_axial", {{"variant", word("dinov3")}}},
                                  {"rope_mixed", {}},
                                  {"spiral", {}},
                                  {"golden_gate", {}},
                                  {"cayley_string", {}},
                                  {"harope", {}}}) {
    const char* name = row;
    INFO(name);
    const auto with = [&, own = more](const Options& augmentation) {
      Options o = own;
      for (const auto& [key, value] : augmentation) o[key] = value;
      return o;
    };
    const auto weights = [&](const Options& o, const Run& run) {
      const Bed bed(name, o, g);
      return attention_weights(bed.query(), bed.encoding->terms(bed.places.sites[0], bed.layout, bed.tokens(), run));
    };
    const Tensor plain = weights(with({}), {});
    CHECK(same_bits(plain, weights(with({}), training)));
    CHECK(same_bits(plain, weights(with(all), {})));
    CHECK(farthest(plain, weights(with(all), training)) > 1e-3);
    CHECK(same_bits(weights(with(all), training), weights(with(all), {Mode::train, 5, 9, 16})));
    const Tensor shifted = weights(with({{"coords_shift", 0.3}}), training);
    double patches = 0, classes = 0;
    const int N = g.tokens();
    const auto score = [&](const Tensor& w, int64_t map, int i, int j) {
      return std::log(static_cast<double>(w[(map * N + i) * N + j]));
    };
    for (int64_t map = 0; map < 4; ++map)
      for (int i = 1; i < N; ++i)
        for (int j = 1; j < N; ++j) {
          const auto off = [&](int k) {
            return std::abs(score(shifted, map, i, j) - score(shifted, map, i, k) - score(plain, map, i, j) +
                            score(plain, map, i, k));
          };
          patches = std::max(patches, off(1)), classes = std::max(classes, off(0));
        }
    CHECK(patches < (twin ? 1e-13 : 2e-5));
    CHECK(classes > 1e-2);
  }
}

TWIN_CASE(
    "coordinates: rope_dinov3 is what DINOv3 trains with, of rope_axial's options, and gives way to what is said") {
  const Layout l = Layout::global({3, 5, 1});
  const Options dino{{"variant", word("dinov3")}, {"coords_rescale", 2.0}};
  const Rotary row = rotary_of("rope_dinov3", {}, l, 8), drawn = rotary_of("rope_dinov3", {}, l, 8, training);
  CHECK(row.halves);
  CHECK(same_bits(row.cos_q, rotary_of("rope_axial", dino, l, 8).cos_q));
  CHECK(same_bits(drawn.sin_k, rotary_of("rope_axial", dino, l, 8, training).sin_k));
  CHECK_FALSE(same_bits(row.cos_q, drawn.cos_q));
  CHECK(same_bits(row.cos_q, rotary_of("rope_dinov3", {{"coords_rescale", 1.0}}, l, 8, training).cos_q));
  CHECK(same_bits(rotary_of("rope_dinov3", {{"normalize", word("max")}}, l, 8).cos_q,
                  rotary_of("rope_axial", {{"variant", word("dinov3")}, {"normalize", word("max")}}, l, 8).cos_q));
}

TWIN_CASE("random coordinates: a rescaled image is one of other periods; blocks draw their own or share") {
  const Layout l = Layout::global({3, 5, 0});
  const Options dino{{"variant", word("dinov3")}, {"min_period", 0.5}, {"max_period", 8.0}};
  Options random = dino;
  random["coords_rescale"] = 2.0;
  CoordsAugmentation augmentation;
  augmentation.coords_rescale = 2;
  const double r = draw_coords(augmentation, training, "attn").times_y;
  CHECK(std::abs(std::log(r)) > 0.01);
  Options shorter = dino;
  shorter["min_period"] = 0.5 / r, shorter["max_period"] = 8 / r;
  const Rotary a = rotary_of("rope_axial", random, l, 8, training), b = rotary_of("rope_axial", shorter, l, 8);
  CHECK(farthest(a.cos_q, b.cos_q) < (twin ? 1e-14 : 1e-6));
  CHECK(farthest(a.sin_k, b.sin_k) < (twin ? 1e-14 : 1e-6));
  CHECK(same_bits(a.cos_q, rotary_of("rope_axial", random, l, 8, training, "blocks.1.attn").cos_q));
  random["coords_draw"] = word("block");
  CHECK_FALSE(same_bits(rotary_of("rope_axial", random, l, 8, training).cos_q,
                        rotary_of("rope_axial", random, l, 8, training, "blocks.1.attn").cos_q));
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
