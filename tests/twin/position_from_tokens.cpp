// Encodings whose terms the tokens themselves choose (parabolas, slopes, gates), against their formulas written out, against each other and
// against the forms their sources compute.
#include "tessera/core/ops/arithmetic.h"
#include "tessera/core/ops/concat.h"
#include "tessera/core/ops/slice.h"
#include "tessera/core/precision.h"
#include "tessera/nn/position/formulas.h"
#include "tests/twin/position_bed.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

using namespace walk;

constexpr int C = Bed::H * Bed::d;

double softplus_of(double x) { return std::log1p(std::exp(x)); }
/// Row `row` of W times token i of x (B, N, C).
double projected(const Tensor& W, int row, const Tensor& x, int b, int i) {
  double s = 0;
  for (int c = 0; c < C; ++c)
    s += static_cast<double>(W[int64_t{row} * C + c]) * static_cast<double>(x[(int64_t{b} * x.dim(1) + i) * C + c]);
  return s;
}

struct Place {
  int y, x;
};
/// Of token i, class tokens one before the first row and column.
Place place(const Grid& g, int i) {
  return i < g.prefix ? Place{-1, -1} : Place{(i - g.prefix) / g.w, (i - g.prefix) % g.w};
}

// ---- parabolas -------------------------------------------------------------------------------------------------------

TWIN_CASE("pape: every parabola added by hand, class tokens in the corner or nowhere") {
  for (const char* cell : {"origin", "none"})
    for (const Grid g : {Grid{3, 4, 0}, Grid{3, 4, 2}})
      for (const bool normalize : {false, true}) {
        const int n = 3;
        if (cell == std::string_view("none") && !g.prefix) continue;
        Bed bed("pape", {{"parabolas", n}, {"class_cell", cell}, {"normalize", normalize}}, g);
        const Tensor &P = bed["attn.position.parabolas.weight"], &ab = bed["attn.position.ab.weight"];
        const auto bias = [&](int b, int h, int i, int j) {
          if (cell == std::string_view("none") && std::min(i, j) < g.prefix) return 0.0;
          const Place at = place(g, i), from = place(g, j);
          const double dy = (at.y - from.y) / (normalize ? double(g.h) : 1),
                       dx = (at.x - from.x) / (normalize ? double(g.w) : 1);
          double s = 0;
          for (int p = h * n; p < (h + 1) * n; ++p) {
            const double d = static_cast<double>(P[2 * p]) * dx + static_cast<double>(P[2 * p + 1]) * dy;
            s += -softplus_of(projected(ab, p, bed.q, b, i)) * d * d + projected(ab, Bed::H * n + p, bed.q, b, i) * d;
          }
          return 0.3 * s;
        };
        CHECK(farthest(bed.weights(), bed.by_hand(bias)) < tight);
        CHECK(farthest(bed.weights(), Bed("none", {}, g).weights()) > 1e-3);
      }
}

TWIN_CASE("pape_ri is pape with P = lambda times a rotation, one a for both, and no b") {
  const Grid g{3, 4, 1};
  Bed round("pape_ri", {}, g), two("pape", {{"parabolas", 2}}, g);
  const Tensor &a = round["attn.position.a.weight"], &scale_of = round["attn.position.position_scales"];
  two.set("attn.position.parabolas.weight", [&](int64_t i) {
    const double lambda = static_cast<double>(scale_of[i / 4]), angle = 0.7 + static_cast<double>(i / 4);
    const double row[] = {std::cos(angle), -std::sin(angle), std::sin(angle), std::cos(angle)};
    return lambda * row[i % 4];
  });
  two.set("attn.position.ab.weight", [&](int64_t i) {
    const int64_t row = i / C;
    return row < 4 ? static_cast<double>(a[row / 2 * C + i % C]) : 0.0;
  });
  CHECK(farthest(round.weights(), two.weights()) < tight);
}

/// The same scores from more channels: pape's term in the form its source computes, (coefficients of x, y, x^2 ...) in q and in k.
struct RankForm {
  Tensor q, k;
  /// `narrow` rounds the new channels; cells are counted from `origin`.
  RankForm(const Bed& bed, const Grid& g, const Terms& where, double origin, float (*narrow)(float) = nullptr) {
    const Heads& u = where.relative[0].side;  // Mxx, Mxy, Myy, mx, my
    const int N = g.tokens(), wide = Bed::d + 8;
    q = zeros({2, N, Bed::H * wide}), k = zeros(q.shape());
    for (int b = 0; b < 2; ++b)
      for (int i = 0; i < N; ++i)
        for (int h = 0; h < Bed::H; ++h) {
          const int64_t to = (int64_t{b} * N + i) * Bed::H * wide + h * wide,
                        from = (int64_t{b} * N + i) * C + h * Bed::d;
          for (int c = 0; c < Bed::d; ++c) q[to + c] = bed.q[from + c], k[to + c] = bed.k[from + c];
          const auto co = [&](int c) { return static_cast<double>(u.x[(int64_t{b} * N + i) * u.stride + h * 5 + c]); };
          const double x = place(g, i).x - origin, y = place(g, i).y - origin;
          // -(p - r)^T M (p - r) + m (p - r), p the query's place, r the key's
          const double rx = co(0) * x + co(1) * y, ry = co(1) * x + co(2) * y;
          const double ask[] = {
              -x * rx - y * ry + co(3) * x + co(4) * y, 2 * rx - co(3), 2 * ry - co(4), -co(0), -2 * co(1), -co(2)};
          const double answer[] = {1, x, y, x * x, x * y, y * y};
          for (int c = 0; c < 6; ++c) {
            const auto kept = [&](double v) { return narrow ? double(narrow(static_cast<float>(v))) : v; };
            q[to + Bed::d + c] = static_cast<real>(kept(ask[c])),
                            k[to + Bed::d + c] = static_cast<real>(kept(answer[c]));
          }
        }
  }
  Tensor weights(const Bed& bed) const {
    return attention_weights({heads(q, Bed::H), heads(k, Bed::H), heads(k, Bed::H), bed.who, 0.3}, {});
  }
};

float to_bf16(float v) {
  uint32_t bits;
  std::memcpy(&bits, &v, 4);
  bits = (bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff0000u;
  std::memcpy(&v, &bits, 4);
  return v;
}

TWIN_CASE("pape: the term, the same in wider queries and keys, and the term in padded channels agree") {
  const Grid g{3, 4, 1};
  const Bed bed("pape", {{"parabolas", 4}}, g);
  const Terms where = bed.terms();
  CHECK(farthest(bed.weights(), RankForm(bed, g, where, 1).weights(bed)) < tight);
  // q | u against k | 0, and the table as a query term of the new channels
  const auto padded = [&](const Tensor& x, const Tensor& more) {
    const int N = g.tokens();
    return concat({x.reshape({2, N, Bed::H, Bed::d}), more.reshape({2, N, Bed::H, 5})}, 3)
        .reshape({2, N, Bed::H * (Bed::d + 5)});
  };
  const Tensor &u = where.relative[0].side.x, q2 = padded(bed.q, u), k2 = padded(bed.k, zeros(u.shape()));
  const Terms inside = Terms{}.add({Relative::query, where.relative[0].table, Bed::d, where.relative[0].rho});
  CHECK(farthest(bed.weights(),
                 attention_weights({heads(q2, Bed::H), heads(k2, Bed::H), heads(k2, Bed::H), bed.who, 0.3}, inside)) <
        tight);
}

TWIN_CASE("side terms: u = A q is a query term whose table is U A") {
  const Grid g{3, 4, 0};
  const Bed bed("pape_ri", {}, g);
  const RelativeIndex rho = bed.terms().relative[0].rho;
  const int w = 3, rows = rho->rows, N = g.tokens();
  Tensor A({w, Bed::d}), U({1, rows, w}), UA = zeros({1, rows, Bed::d}), u = zeros({2, N, Bed::H * w});
  for (int64_t i = 0; i < A.size(); ++i) A[i] = rounded(normal_at("A", i));
  for (int64_t i = 0; i < U.size(); ++i) U[i] = rounded(normal_at("U", i));
  for (int r = 0; r < rows; ++r)
    for (int c = 0; c < Bed::d; ++c)
      for (int t = 0; t < w; ++t) UA[int64_t{r} * Bed::d + c] += U[int64_t{r} * w + t] * A[t * Bed::d + c];
  for (int64_t i = 0; i < u.size(); ++i)
    for (int c = 0; c < Bed::d; ++c) u[i] += A[i % w * Bed::d + c] * bed.q[i / w * Bed::d + c];
  const Terms side = Terms{}.add({Relative::query, U, 0, rho, heads(u, Bed::H)}),
              folded = Terms{}.add({Relative::query, UA, 0, rho});
  CHECK(farthest(attention_weights(bed.query(), side), attention_weights(bed.query(), folded)) < tight_in_double);
}

/// What query i adds to the score of key j.
double added(const Terms& where, int b, int h, int i, int j) {
  const Relative& r = where.relative[0];
  const int row = r.rho->at[static_cast<size_t>(int64_t{i} * r.rho->m + j)];
  double s = 0;
  for (int c = 0; c < r.side.d && row >= 0; ++c)
    s += static_cast<double>(r.side.x[(int64_t{b} * r.side.tokens + i) * r.side.stride + h * r.side.d + c]) *
         static_cast<double>(r.table[(int64_t{r.table.dim(0) == 1 ? 0 : h} * r.rho->rows + row) * r.side.d + c]);
  return s;
}

TWIN_CASE("pape: on 64 cells a side a table of offsets keeps neighbours apart that bf16 channels of places lose") {
  const Grid g{2, 64, 0};
  Bed bed("pape", {{"parabolas", 8}}, g);
  bed.set("attn.position.parabolas.weight", [](int64_t i) { return 0.6 * std::cos(static_cast<double>(i)); });
  const auto terms = [&](Precision p) {
    const Computing in(p);
    return bed.terms();
  };
  const Terms exact = terms(Precision::f32), coarse = terms(Precision::bf16);
  const RankForm rank(bed, g, exact, 0), centred(bed, g, exact, 32), narrow(bed, g, exact, 0, to_bf16);
  double off_rank = 0, off_centred = 0, off_narrow = 0;
  for (int i = 1; i < g.tokens(); ++i)
    for (int h = 0; h < Bed::H; ++h) {
      const auto in_channels = [&](const RankForm& f, int j) {
        const int64_t wide = Bed::d + 8, a = int64_t{i} * Bed::H * wide + h * wide,
                      b = int64_t{j} * Bed::H * wide + h * wide;
        real s = 0;
        for (int64_t c = Bed::d; c < wide; ++c) s += f.q[a + c] * f.k[b + c];
        return static_cast<double>(s);
      };
      const double want = added(exact, 0, h, i, i - 1);
      CHECK(added(coarse, 0, h, i, i - 1) == want);
      off_rank = std::max(off_rank, std::abs(in_channels(rank, i - 1) - want));
      off_centred = std::max(off_centred, std::abs(in_channels(centred, i - 1) - want));
      off_narrow = std::max(off_narrow, std::abs(in_channels(narrow, i - 1) - want));
    }
  CHECK(off_narrow > 1);
  CHECK(off_rank < (twin ? 1e-11 : 2e-2));
  CHECK(off_centred <= off_rank);
}

// ---- slopes ----------------------------------------------------------------------------------------------------------

TWIN_CASE("content_alibi: by hand; with zero weights it is ALiBi, as it starts but for them") {
  for (const Grid g : {Grid{3, 4, 0}, Grid{3, 4, 1}}) {
    Bed bed("content_alibi", {}, g);
    const Tensor &w = bed["attn.position.slope.weight"], &c = bed["attn.position.slope.bias"];
    const auto bias = [&](int b, int h, int i, int j) {
      if (std::min(i, j) < g.prefix) return 0.0;
      const Place at = place(g, i), from = place(g, j);
      return -softplus_of(projected(w, h, bed.q, b, i) + static_cast<double>(c[h])) *
             std::hypot(at.y - from.y, at.x - from.x);
    };
    CHECK(farthest(bed.weights(), bed.by_hand(bias)) < tight);
    const std::vector<double> slopes = alibi_slopes(Bed::H);
    bed.zero().set("attn.position.slope.bias",
                   [&](int64_t h) { return std::log(std::expm1(slopes[static_cast<size_t>(h)])); });
    CHECK(farthest(bed.weights(), Bed("alibi_2d", {}, g).weights()) < tight);
    Params fresh(3);
    const auto made = position("content_alibi", {})(Scope(fresh), bed.places);
    for (int h = 0; h < Bed::H; ++h)
      CHECK(static_cast<double>(fresh.find("attn.position.slope.bias")->value[h]) ==
            doctest::Approx(std::log(std::expm1(slopes[static_cast<size_t>(h)]))));
  }
}

// ---- gates -----------------------------------------------------------------------------------------------------------

double log_gate(const Bed& bed, int set, int h, int b, int token) {
  const int row = set * Bed::H + h;
  return -softplus_of(-projected(bed["attn.position.forget.weight"], row, bed.k, b, token) -
                      static_cast<double>(bed["attn.position.forget.bias"][row]));
}

/// A bed whose queries and keys are the same tokens, as in a model.
struct Gated : Bed {
  Gated(std::string_view name, const Options& options, const Grid& g) : Bed(name, options, g) { k = q; }
};

TWIN_CASE("forget: gates between two tokens added by hand, in both directions, class tokens beside") {
  for (const bool mirror : {true, false})
    for (const Grid g : {Grid{3, 4, 0}, Grid{2, 3, 2}}) {
      const Gated bed("forget", {{"mirror", mirror}}, g);
      const auto bias = [&](int b, int h, int i, int j) {
        double s = 0;
        if (std::min(i, j) < g.prefix) return s;
        for (int l = j + 1; l <= i; ++l) s += log_gate(bed, 0, h, b, l);
        const int shift = mirror ? 0 : 1;
        for (int l = i + shift; l < j + shift; ++l) s += log_gate(bed, 1, h, b, l);
        return s;
      };
      CHECK(farthest(bed.weights(), bed.by_hand(bias)) < tight);
    }
}

TWIN_CASE("forget: with constant gates it is ALiBi on the raster, along the axes it is ALiBi in L1") {
  for (const Grid g : {Grid{3, 4, 0}, Grid{3, 4, 1}})
    for (const auto& [name, alibi, metric] :
         {std::tuple("forget", "alibi", "raster"), std::tuple("forget_profiles", "alibi_2d", "l1")}) {
      Params fresh(3);
      Gated bed(name, {{"gates", "alibi"}, {"std", 0.0}}, g), same(alibi, {{"metric", metric}}, g);
      const auto made = position(name, {{"gates", "alibi"}, {"std", 0.0}})(Scope(fresh), bed.places);
      for (const auto& e : fresh.entries()) bed.set(e.name, [&](int64_t i) { return e.value[i]; });
      CHECK(farthest(bed.weights(), same.weights()) < tight);
    }
}

TWIN_CASE("forget: mirrored tokens have a mirrored bias, without `mirror` they have not") {
  const Grid g{3, 4, 0};
  const int N = g.tokens();
  for (const bool mirror : {true, false}) {
    Gated here("forget", {{"mirror", mirror}}, g), there("forget", {{"mirror", mirror}}, g);
    // one set of gates for both directions
    const int half = Bed::H * C;
    for (Bed* bed : {&here, &there})
      bed->set("attn.position.forget.weight", [&](int64_t i) { return normal_at("gates", i % half); })
          .set("attn.position.forget.bias", [](int64_t) { return 0.5; });
    const auto reversed = [&](const Tensor& x) {
      Tensor y(x.shape());
      for (int b = 0; b < 2; ++b)
        for (int n = 0; n < N; ++n)
          for (int c = 0; c < C; ++c) y[(int64_t{b} * N + N - 1 - n) * C + c] = x[(int64_t{b} * N + n) * C + c];
      return y;
    };
    there.q = reversed(here.q), there.k = there.q, there.v = reversed(here.v);
    const double off = farthest(reversed(here.output()), there.output());
    CHECK((off < 10 * rounding) == mirror);
    if (!mirror) CHECK(off > 1e-2);
  }
}

TWIN_CASE("forget: in a causal model the keys' sums say it all, and class tokens bring the queries' back") {
  for (const int prefix : {0, 1}) {
    const Grid g{1, 7, prefix};
    Gated bed("forget", {}, g);
    bed.places.sites[0].causal = true;
    Params params(3);
    bed.encoding = position("forget", {})(Scope(params), bed.places);
    for (const auto& e : params.entries())
      for (int64_t i = 0; i < e.value.size(); ++i) e.value[i] = bed[e.name][i];  // the first set
    REQUIRE(params.find("attn.position.forget.bias")->value.size() == Bed::H);
    Pattern::Spec causal = *bed.who;
    causal.causal = true;
    bed.who = causal;
    CHECK(bed.terms().count == 1 + prefix);
    CHECK(farthest(bed.weights(), bed.by_hand([&](int b, int h, int i, int j) {
            double s = j > i ? -1e9 : 0;
            for (int l = j + 1; l <= i && j >= prefix; ++l) s += log_gate(bed, 0, h, b, l);
            return s;
          })) < tight);
  }
}

TWIN_CASE("forget: sums in four padded channels of queries and keys are the two terms") {
  const Grid g{3, 4, 0};
  const int N = g.tokens(), w = Bed::d + 4;
  const Gated bed("forget", {}, g);
  const Terms where = bed.terms();
  REQUIRE(where.count == 2);
  const Heads &u = where.relative[0].side, &v = where.relative[1].side;
  Tensor q2 = zeros({2, N, Bed::H * w}), k2 = zeros(q2.shape());
  for (int b = 0; b < 2; ++b)
    for (int n = 0; n < N; ++n)
      for (int h = 0; h < Bed::H; ++h) {
        const int64_t to = (int64_t{b} * N + n) * Bed::H * w + h * w, from = (int64_t{b} * N + n) * C + h * Bed::d;
        for (int c = 0; c < Bed::d; ++c) q2[to + c] = bed.q[from + c], k2[to + c] = bed.k[from + c];
        for (int c = 0; c < 2; ++c) {
          q2[to + Bed::d + c] = u.x[(int64_t{b} * N + n) * u.stride + 2 * h + c] / static_cast<real>(0.3);
          k2[to + Bed::d + 2 + c] = v.x[(int64_t{b} * N + n) * v.stride + 2 * h + c] / static_cast<real>(0.3);
        }
      }
  const Terms padded = Terms{}
                           .add({Relative::query, where.relative[0].table, Bed::d, where.relative[0].rho})
                           .add({Relative::key, where.relative[1].table, Bed::d + 2, where.relative[1].rho});
  CHECK(farthest(bed.weights(),
                 attention_weights({heads(q2, Bed::H), heads(k2, Bed::H), heads(k2, Bed::H), bed.who, 0.3}, padded)) <
        tight);
}

TWIN_CASE("forget_profiles: rows and columns by hand, symmetric, and nothing on the diagonal") {
  for (const Grid g : {Grid{3, 4, 0}, Grid{2, 5, 1}}) {
    const Gated bed("forget_profiles", {}, g);
    const auto profile = [&](int b, int h, bool rows, int at) {
      double s = 0;
      for (int n = 0; n < g.h * g.w; ++n)
        if ((rows ? n / g.w : n % g.w) == at) s += log_gate(bed, rows ? 1 : 0, h, b, g.prefix + n) / (rows ? g.w : g.h);
      return s;
    };
    const auto bias = [&](int b, int h, int i, int j) {
      double s = 0;
      if (std::min(i, j) < g.prefix) return s;
      const Place at = place(g, i), from = place(g, j);
      for (int y = std::min(at.y, from.y) + 1; y <= std::max(at.y, from.y); ++y) s += profile(b, h, true, y);
      for (int x = std::min(at.x, from.x) + 1; x <= std::max(at.x, from.x); ++x) s += profile(b, h, false, x);
      return s;
    };
    CHECK(farthest(bed.weights(), bed.by_hand(bias)) < tight);
    CHECK(bias(1, 1, g.tokens() - 1, g.prefix) == doctest::Approx(bias(1, 1, g.prefix, g.tokens() - 1)));
  }
}

TWIN_CASE("forget: `rescale` makes gates of a finer grid as much weaker") {
  for (const char* name : {"forget", "forget_profiles"}) {
    Bed bed(name, {{"rescale", true}, {"std", 0.0}}, Grid{2, 3, 0});
    bed.set("attn.position.forget.weight", [](int64_t) { return 0.0; });
    const Layout fine = Layout::global({4, 9, 0});
    const Tensor x = zeros({2, 36, C});
    const Terms where = bed.encoding->terms(bed.places.sites[0], fine, {x, x}, {});
    const double gate = -softplus_of(-static_cast<double>(bed["attn.position.forget.bias"][0]));
    const Tensor& sums = where.relative[0].side.x;
    const double corner = static_cast<double>(sums[int64_t{35} * sums.dim(2)]);
    CHECK(corner == doctest::Approx(gate * (name == std::string_view("forget") ? 6 : 3)).epsilon(1e-5));
  }
}

TWIN_CASE("property: parabolas know the cell of a class token that is on one side of an attention alone") {
  for (const char* name : {"pape", "pape_ri"})
    for (const Layout& l : {Layout::reduced({2, 3, 1}, {2, 3, 0}, 1), Layout::reduced({2, 3, 0}, {2, 3, 1}, 1)}) {
      const Terms both = Bed(name, {}, Grid{2, 3, 1}).terms(), one = Bed(name, {}, l).terms();
      const Relative &all = both.relative[0], &some = one.relative[0];
      CHECK(same_bits(all.table, some.table));
      const int q = 1 - l.q.prefix, k = 1 - l.k.prefix;  // what the first token of `one` is in `both`
      for (int i = 0; i < some.rho->n; ++i)
        for (int j = 0; j < some.rho->m; ++j)
          CHECK(some.rho->at[static_cast<size_t>(i * some.rho->m + j)] ==
                all.rho->at[static_cast<size_t>((i + q) * 7 + j + k)]);
    }
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
