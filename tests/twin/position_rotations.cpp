// Learned rotations and polar coordinates: lie, comrope_ld, comrope_ap, pope. Numbers of an independent oracle, what they equal, and what
// goes wrong in other programs.
#include "tessera/nn/position/golden_gate.h"
#include "tests/twin/position_bed.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

using namespace walk;

Query shaped(const Bed& bed, const Layout& now, const Query& query, const Run& run = {}) {
  return bed.encoding->shape(bed.places.sites[0], now, query, bed.tokens(), run);
}
/// The weights of a bed, positions in queries and keys included.
Tensor weights(const Bed& bed) { return attention_weights(shaped(bed, bed.layout, bed.query()), bed.terms()); }
double wave(int64_t i) { return 0.5 * std::sin(0.7 * static_cast<double>(i + 1)); }

// ---- numbers ----------------------------------------------------------------------------------------------------------

using Row = std::vector<double>;

/// A 2 x 2 grid, d = 4, scale 1/2; q[i][c] = sin(0.3 (i+1)(c+1)), k = cos(0.2 (i+1)(c+2)), v = ((4i + c) mod 5)/5 - 0.4.
struct Tiny {
  static constexpr double tolerance = twin ? 1e-6 : 2e-5;  // the numbers have six decimals
  Params params;
  Layout layout = Layout::global({2, 2, 0});
  Site site{0, 0, 0, 4, 1, 4, 0.5, layout, "attn"};
  std::unique_ptr<PositionEncoding> encoding;

  Tiny(std::string_view name, const Options& options) {
    Places places;
    places.sites = {site};
    encoding = position(name, options)(Scope(params), places);
  }
  template <class F>
  Tiny& set(std::string_view parameter, F f) {
    REQUIRE(params.find(parameter));
    const Tensor& t = params.find(parameter)->value;
    for (int64_t i = 0; i < t.size(); ++i) t[i] = static_cast<real>(f(i));
    params.commit();
    return *this;
  }
  Query query() const {
    const auto input = [](auto f) {
      std::vector<double> v;
      for (int i = 0; i < 4; ++i)
        for (int c = 0; c < 4; ++c) v.push_back(f(i, c));
      return heads(tensor({1, 4, 4}, v), 1);
    };
    return {input([](int i, int c) { return std::sin(0.3 * (i + 1) * (c + 1)); }),
            input([](int i, int c) { return std::cos(0.2 * (i + 1) * (c + 2)); }),
            input([](int i, int c) { return (4 * i + c) % 5 / 5.0 - 0.4; }), global_pattern(4, 4), 0.5};
  }
  /// Rows 0 and 3 of the logits, up to a constant per row that softmax cannot see.
  Tiny& logits(const Row& L0, const Row& L3) {
    const Tensor w =
        attention_weights(encoding->shape(site, layout, query(), {}, {}), encoding->terms(site, layout, {}, {}));
    for (const auto& [i, L] : {std::pair(0, &L0), std::pair(3, &L3)})
      for (int j = 1; j < 4 && !L->empty(); ++j)
        CHECK(std::abs(std::log(static_cast<double>(w[4 * i + j]) / static_cast<double>(w[4 * i])) -
                       ((*L)[static_cast<size_t>(j)] - (*L)[0])) <= 2 * tolerance);
    return *this;
  }
  Tiny& outputs(const Row& O0, const Row& O3) {
    const Tensor o = encoding->attend(site, layout, query(), {}, {});
    for (const auto& [i, O] : {std::pair(0, &O0), std::pair(3, &O3)})
      for (int c = 0; c < 4; ++c)
        CHECK(std::abs(static_cast<double>(o[i * 4 + c]) - (*O)[static_cast<size_t>(c)]) <= tolerance);
    return *this;
  }
};

TWIN_CASE("golden attention: Lie rotations and commuting ones") {
  Tiny("lie", {{"generator_dim", 4}})
      .set("attn.position.generator_raw_params", wave)
      .logits({0.893772, -0.084837, -0.573168, -0.042063}, {0.483918, 0.613285, 0.691345, 0.283803});
  Tiny("lie", {{"generator_dim", 2}})  // the numbers of mixed rotation, whose pairs turn the other way round
      .set("attn.position.generator_raw_params",
           [](int64_t i) {
             return i % 4 == 1 ? std::array{-0.2, -0.7, -0.8, 0.3}[static_cast<size_t>(i / 4)] : 5;
           })
      .logits({0.893772, 0.005347, -0.528743, -0.752233}, {0.143136, 0.638371, 0.571195, 0.283803});
  Tiny("comrope_ld", {{"block_size", 4}})
      .set("attn.position.freqs", wave)
      .set("attn.position.multiplier", [](int64_t axis) { return axis ? -0.6 : 1.3; })
      .logits({0.893772, 0.051227, -0.569223, -0.797708}, {0.280370, 0.612489, 0.701424, 0.283803});
  Tiny("comrope_ap", {{"block_size", 2}})
      .set("attn.position.freqs",
           [](int64_t i) {
             return wave(4 * (2 * (i / 4) + i / 2 % 2) + 2 * (i / 4) + i % 2);
           })  // of a 4 x 4 matrix, the blocks
      .logits({0.893772, -0.043877, -0.804732, -0.777118}, {0.165054, 0.657863, 0.749940, 0.283803});
}

TWIN_CASE("golden attention: polar coordinates") {
  Tiny("pope", {})
      .logits({2.408093, 1.416640, 0.559866, 0.349870}, {0.261177, 0.432719, 0.767622, 0.785009})
      .outputs({-0.132881, -0.156906, -0.052011, 0.070899}, {0.073483, 0.059006, -0.040792, -0.145848})
      .set("attn.position.learned_bias",
           [](int64_t c) {
             return std::array{-0.3, -0.1, -0.7, -0.2}[static_cast<size_t>(c)];
           })
      .logits({}, {0.168328, 0.203327, 0.584873, 0.745177});
  Tiny("pope", {{"axes", "golden_gate"}, {"min_freq", 0.2}, {"max_freq", 2.0}})
      .logits({2.408093, 1.474729, 0.774096, 0.435680}, {1.509343, 1.268253, 0.973392, 0.785009});
  const std::vector<Frequency> f = golden_gate_frequencies(1, 4, 0.2, 20);
  const double y[] = {0.193796, 0.020981, -3.238927, -19.242654}, x[] = {0.049429, -0.928081, 2.841779, -5.451629};
  for (size_t t = 0; t < 4; ++t) {
    CHECK(std::abs(f[t].y - y[t]) < 2e-6);
    CHECK(std::abs(f[t].x - x[t]) < 2e-6);
  }
}

// ---- what equals what -------------------------------------------------------------------------------------------------

/// A mixed rotary embedding of frequencies f(axis: 0 rows, 1 columns; head; pair), radians a cell.
struct Mixed : Bed {
  template <class F>
  Mixed(const Layout& where, F f) : Bed("rope_mixed", {}, where) {
    const int pairs = d / 2;
    set("attn.position.freqs", [&](int64_t i) {
      return f(i / (H * pairs) ? 0 : 1, static_cast<int>(i / pairs % H), static_cast<int>(i % pairs));
    });
  }
};

TWIN_CASE("property: Lie rotations of pairs are mixed rotary embedding, in the unit of the trained grid everywhere") {
  const Grid trained{3, 4, 1};
  Bed lie("lie", {{"generator_dim", 2}}, trained);
  const auto generator = [](int64_t i) { return 3 * std::sin(1.3 * static_cast<double>(i)); };
  lie.set("attn.position.generator_raw_params", generator);
  const auto frequency = [&](int axis, int h, int pair) {  // exp of ((0, t), (-t, 0)) turns the other way round
    const int64_t at = ((int64_t{axis} * Bed::H + h) * (Bed::d / 2) + pair) * 4 + 1;
    return -generator(at) / (axis ? trained.w - 1 : trained.h - 1);
  };
  CHECK(farthest(weights(lie), Mixed(lie.layout, frequency).weights()) < tight);
  // called on another grid, cells beyond the trained ones go on in the same steps
  for (const Grid& g : {Grid{6, 8, 1}, Grid{2, 3, 1}, Grid{5, 4, 1}}) {
    const Mixed there(Layout::global(g), frequency);
    const Query query = shaped(lie, there.layout, there.query());
    CHECK(farthest(attention_weights(query, {}), there.weights()) < tight_in_double);
  }
  // keys of a reduced map sit at the centres of their cells, windows count for themselves
  for (const Layout& l : {Layout::reduced({6, 8, 0}, {3, 4, 0}, 2), Layout::windowed({6, 8, 0}, {3, 4, 1, 2})}) {
    const Mixed there(l, frequency);
    CHECK(farthest(attention_weights(shaped(lie, l, there.query()), {}), there.weights()) < tight_in_double);
  }
}

TWIN_CASE("property: commuting rotations of pairs dealt to axes are axial rotary embedding, rows first") {
  const Grid g{3, 4, 0};
  Bed ap("comrope_ap", {{"block_size", 2}}, g);
  const auto P = [](int64_t i) { return 3 * std::sin(1.3 * static_cast<double>(i)); };
  ap.set("attn.position.freqs", P);
  const auto frequency = [&](int axis, int h, int pair) {
    const int64_t at = (int64_t{h} * (Bed::d / 2) + pair) * 4;
    return pair % 2 == axis ? -(P(at + 1) - P(at + 2)) / (axis ? g.w : g.h) : 0;
  };
  CHECK(farthest(weights(ap), Mixed(ap.layout, frequency).weights()) < tight);
}

TWIN_CASE("property: linearly dependent rotations are mixed rotary embedding in the basis of their matrix") {
  const Grid g{3, 4, 0};
  const int d = Bed::d, b = 4, blocks = d / b;
  const double angular[] = {0.7, 1.9};  // of the two planes of every block
  // S = Q J Q^T with Q a product of plane rotations, J of blocks ((0, w), (-w, 0))
  std::vector<double> Q(16);
  for (int i = 0; i < 4; ++i) Q[static_cast<size_t>(5 * i)] = 1;
  for (const auto& [r, c, angle] : {std::tuple(0, 2, 0.4), {1, 3, 1.1}, {0, 3, -0.8}, {1, 2, 2.0}, {0, 1, 0.3}})
    for (int i = 0; i < 4; ++i) {
      double &x = Q[static_cast<size_t>(4 * i + r)], &y = Q[static_cast<size_t>(4 * i + c)];
      const double was = x;
      x = std::cos(angle) * was - std::sin(angle) * y, y = std::sin(angle) * was + std::cos(angle) * y;
    }
  const auto q_at = [&](int r, int c) { return Q[static_cast<size_t>(4 * r + c)]; };
  Bed ld("comrope_ld", {{"block_size", b}}, g);
  const auto theta = [&](int axis, int block) { return (axis ? -0.6 : 1.3) + 0.5 * block; };
  ld.set("attn.position.multiplier",
         [&](int64_t i) { return theta(static_cast<int>(i / blocks), static_cast<int>(i % blocks)); });
  ld.set("attn.position.freqs", [&](int64_t i) {  // P: the strict upper triangle of S
    const int r = static_cast<int>(i / b % b), c = static_cast<int>(i % b);
    double s = 0;
    for (int k = 0; k < 2; ++k)
      s += angular[k] * (q_at(r, 2 * k) * q_at(c, 2 * k + 1) - q_at(r, 2 * k + 1) * q_at(c, 2 * k));
    return r < c ? s : 0;
  });
  Mixed other(ld.layout,
              [&](int axis, int, int pair) { return -theta(axis, pair / 2) * angular[pair % 2] / (axis ? g.w : g.h); });
  for (const auto& [to, from] : {std::pair(&other.q, &ld.q), std::pair(&other.k, &ld.k)})
    for (int64_t i = 0; i < to->size(); i += b)
      for (int c = 0; c < b; ++c) {
        double sum = 0;
        for (int r = 0; r < b; ++r) sum += q_at(r, c) * static_cast<double>((*from)[i + r]);
        (*to)[i + c] = static_cast<real>(sum);
      }
  CHECK(farthest(weights(ld), other.weights()) < tight_in_double);
}

/// How much scores of equal tokens differ where offsets do not.
double relative_off(const char* name, const Options& options) {
  Bed bed(name, options, Grid{3, 5, 0});
  for (const auto& e : bed.params.entries())
    bed.set(e.name, [](int64_t i) { return 2 * std::sin(1.3 * static_cast<double>(i)); });
  for (Tensor* t : {&bed.q, &bed.k})
    for (int64_t i = 0; i < t->size(); ++i) (*t)[i] = (*t)[i % 16];
  const Tensor w = weights(bed);
  const Grid& g = bed.layout.q;
  const int N = g.tokens();
  const auto s = [&](int i, int j) { return std::log(static_cast<double>(w[i * N + j])); };
  double off = 0;
  for (int i = 0; i < N; ++i)
    for (int j = 0; j < N; ++j)
      if (i % g.w && j % g.w && i >= g.w && j >= g.w)  // both one row up and one column to the left
        off =
            std::max(off, std::abs((s(i, j) - s(i, i)) - (s(i - g.w - 1, j - g.w - 1) - s(i - g.w - 1, i - g.w - 1))));
  return off;
}

TWIN_CASE("property: scores of commuting rotations are of the offset alone, those of larger Lie rotations are not") {
  const double few = twin ? 1e-13 : 8e-4;  // pairs turn by a few radians, larger blocks by up to 50
  for (const char* name : {"comrope_ld", "comrope_ap"}) {
    CHECK(relative_off(name, {{"block_size", 2}}) < few);
    CHECK(relative_off(name, {{"block_size", 4}}) < 40 * rounding);
  }
  CHECK(relative_off("comrope_ld", {{"block_size", 8}}) < 40 * rounding);
  CHECK(relative_off("lie", {{"generator_dim", 2}}) < few);
  CHECK(relative_off("lie", {{"generator_dim", 4}}) > 0.1);
  CHECK(relative_off("lie", {{"generator_dim", 8}}) > 0.1);
  for (const char* axes : {"raster", "axial", "golden_gate"}) CHECK(relative_off("pope", {{"axes", axes}}) < few);
}

TWIN_CASE("property: polar scores are sums of cosines over the magnitudes of both") {
  const Grid g{3, 4, 1};
  const int d = Bed::d, N = g.tokens();
  for (const char* axes : {"raster", "axial", "golden_gate"})
    for (const char* scale : {"head", "score"}) {
      INFO(axes << " " << scale);
      Bed bed("pope", {{"axes", axes}, {"scale", scale}}, g);
      const Tensor& delta = bed["attn.position.learned_bias"];
      const std::vector<Frequency> gate = golden_gate_frequencies(Bed::H, d, std::acos(-1.0) / 4 / std::sqrt(12), 1);
      const auto angle = [&](int token, int h, int c) {
        const int y = (token - 1) / g.w, x = (token - 1) % g.w;
        if (token == 0) return 0.0;
        if (axes == std::string_view("raster")) return (token - 1) * std::pow(1e4, -static_cast<double>(c) / d);
        if (axes == std::string_view("axial"))
          return (c < d / 2 ? x : y) * std::pow(100, -static_cast<double>(c % (d / 2)) / (d / 2));
        const Frequency& f = gate[static_cast<size_t>(h * d + c)];
        return y * f.y + x * f.x;
      };
      const auto soft = [](double v) { return std::log1p(std::exp(v)); };
      const double s = 0.3 / (scale == std::string_view("head") ? 1 : std::sqrt(2));
      const auto by_hand = bed.by_hand([&](int b, int h, int i, int j) {  // which adds 0.3 q k
        double sum = 0;
        for (int c = 0; c < d; ++c)
          sum += s * soft(bed.query(b, h, i, c)) * soft(bed.key(b, h, j, c)) *
                     std::cos(angle(j, h, c) - angle(i, h, c) + static_cast<double>(delta[h * d + c])) -
                 0.3 * bed.query(b, h, i, c) * bed.key(b, h, j, c);
        return sum;
      });
      CHECK(farthest(weights(bed), by_hand) < tight_in_double);
      CHECK(bed.output().shape() == Shape{2, N, Bed::H * d});
    }
}

// ---- what goes wrong elsewhere ----------------------------------------------------------------------------------------

TWIN_CASE("property: every block has generators of its own, or those that it shares with its stage and heads") {
  const Layout l = Layout::global({3, 4, 0});
  Places at;
  for (int i = 0; i < 3; ++i)
    at.sites.push_back(Site{i, i / 2, i % 2, 16, 2, 8, 0.3, l, fmt::format("blocks.{}.attn", i)});
  const auto count = [&](const Options& options) {
    Params params;
    position("lie", options)(Scope(params), at);
    return params.count();
  };
  CHECK(count({}) == 3 * 2 * 2 * 8 * 8);
  CHECK(count({{"rotary_embedding_per_head", false}}) == 3 * 2 * 8 * 8);
  CHECK(count({{"rotary_embedding_per_layer", false}}) == 2 * 2 * 2 * 8 * 8);
  CHECK(count({{"rotary_embedding_per_layer", false}, {"rotary_embedding_per_head", false}}) == 2 * 2 * 8 * 8);
  // the last block turns by its own
  Params params(3);
  const auto encoding = position("lie")(Scope(params), at);
  const Tensor x = Bed::random("q", 12);
  const auto turned = [&](size_t site) {
    const Heads h = heads(x, 2);
    return encoding->shape(at.sites[site], l, {h, h, h, global_pattern(12, 12), 0.3}, {}, {}).q.x;
  };
  CHECK(farthest(turned(0), turned(1)) > 0.1);
  CHECK(farthest(turned(1), turned(2)) > 0.1);
}

TWIN_CASE("property: class tokens of commuting rotations: not turned, or turned as the middle of the image") {
  const Grid g{3, 3, 1};
  for (const char* name : {"comrope_ld", "comrope_ap"}) {
    Bed identity(name, {}, g), centre(name, {{"prefix", "centre"}}, g);
    for (Bed* bed : {&identity, &centre})
      for (int c = 0; c < 16; ++c) bed->q[c] = bed->q[(1 + 4) * 16 + c];  // cell (1, 1)
    const Tensor still = shaped(identity, identity.layout, identity.query()).q.x,
                 turns = shaped(centre, centre.layout, centre.query()).q.x;
    for (int c = 0; c < 16; ++c) {
      CHECK(still[c] == identity.q[c]);
      CHECK(turns[c] == turns[(1 + 4) * 16 + c]);
    }
    CHECK(farthest(still, turns) > 1e-3);
  }
}

TWIN_CASE(
    "property: the perturbation of commuting rotations: in training only, at most half a cell, the same in all "
    "shards") {
  const Grid g{3, 4, 1};
  const auto turned = [&](const Bed& bed, const Run& run) { return shaped(bed, bed.layout, bed.query(), run).q.x; };
  const auto train = [](uint64_t step, int64_t first) { return Run{Mode::train, 7, step, first}; };
  for (const char* name : {"comrope_ld", "comrope_ap"}) {
    const Bed still(name, {}, g), moves(name, {{"perturbation_intensity", 1.0}}, g);
    CHECK(same_bits(turned(still, {}), turned(moves, {})));
    CHECK(same_bits(turned(still, {}), turned(still, train(1, 0))));
    const Tensor moved = turned(moves, train(1, 0));
    CHECK(farthest(moved, turned(still, {})) > 1e-3);
    CHECK(same_bits(moved, turned(moves, train(1, 8))));
    CHECK(farthest(moved, turned(moves, train(2, 0))) > 1e-3);
    for (int c = 0; c < 16; ++c) CHECK(moved[c] == moves.q[c]);  // a class token stays
  }
  // however large, it moves every coordinate by half a cell: pairs turn by half of what a cell turns them
  const Options pairs{{"block_size", 2}};
  Options far = pairs;
  far["perturbation_intensity"] = 1e3;
  const Bed still("comrope_ap", pairs, g), moves("comrope_ap", far, g);
  const Tensor &P = still["attn.position.freqs"], was = turned(still, {}), is = turned(moves, train(1, 0));
  for (int64_t i = 16; i < was.size(); i += 2) {
    const int64_t pair = i % 16 / 2;
    const double half = static_cast<double>(P[4 * pair + 1] - P[4 * pair + 2]) / (pair % 2 ? g.w : g.h) / 2;
    if (i % (13 * 16) < 16) continue;  // a class token
    const double apart = std::hypot(static_cast<double>(is[i] - was[i]), static_cast<double>(is[i + 1] - was[i + 1])),
                 length = std::hypot(static_cast<double>(was[i]), static_cast<double>(was[i + 1]));
    CHECK(std::abs(apart - 2 * std::abs(std::sin(half / 2)) * length) < 10 * rounding);
  }
}

TWIN_CASE("property: delta of polar coordinates learns from where it starts") {
  Params params(3);
  Places at;
  const Layout l = Layout::global({3, 4, 0});
  at.sites = {Site{0, 0, 0, 16, 2, 8, 0.3, l, "attn"}};
  const auto encoding = position("pope")(Scope(params), at);
  const Tensor& delta = params.find("attn.position.learned_bias")->value;
  for (const real v : delta.values()) CHECK(v == 0);
  params.commit();
  const Heads q = heads(Bed::random("q", 12), 2), k = heads(Bed::random("k", 12), 2),
              v = heads(Bed::random("v", 12), 2);
  Grads grads;
  Tape tape;
  const Tensor o = encoding->attend(at.sites[0], l, {q, k, v, global_pattern(12, 12), 0.3}, {}, {});
  tape.backward(o, Bed::random("u", 12), grads);
  for (const real g : grads.of(delta).values()) CHECK(std::abs(static_cast<double>(g)) > 1e-9);
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
