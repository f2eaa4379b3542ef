// A learned basis before rotation is rotation with folded projections; scores of one place stay as they are.
#include "tessera/core/precision.h"
#include "tests/twin/position_bed.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

using namespace walk;

constexpr double close = twin ? 1e-13 : 2e-4;  // of sums through two matrices more

using Matrix = std::vector<double>;  // d x d, row by row

Matrix product(const Matrix& a, const Matrix& b, int d) {
  Matrix c(a.size());
  for (int r = 0; r < d; ++r)
    for (int k = 0; k < d; ++k)
      for (int j = 0; j < d; ++j)
        c[static_cast<size_t>(r * d + j)] += a[static_cast<size_t>(r * d + k)] * b[static_cast<size_t>(k * d + j)];
  return c;
}
Matrix transposed(const Matrix& a, int d) {
  Matrix t(a.size());
  for (int r = 0; r < d; ++r)
    for (int c = 0; c < d; ++c) t[static_cast<size_t>(c * d + r)] = a[static_cast<size_t>(r * d + c)];
  return t;
}
Matrix identity(int d) {
  Matrix I(static_cast<size_t>(d * d));
  for (int i = 0; i < d; ++i) I[static_cast<size_t>(i * (d + 1))] = 1;
  return I;
}
/// By its power series, of a matrix that is not large.
Matrix exponential(const Matrix& A, int d) {
  Matrix sum = identity(d), power = sum;
  for (int k = 1; k < 60; ++k) {
    power = product(power, A, d);
    for (size_t i = 0; i < power.size(); ++i) power[i] /= k, sum[i] += power[i];
  }
  return sum;
}
/// By elimination.
Matrix inverse(Matrix a, int d) {
  Matrix x = identity(d);
  const auto at = [d](int r, int c) { return static_cast<size_t>(r * d + c); };
  for (int p = 0; p < d; ++p) {  // pivots of I + S, whose symmetric part is I, are at least 1
    const double by = a[at(p, p)];
    for (int c = 0; c < d; ++c) a[at(p, c)] /= by, x[at(p, c)] /= by;
    for (int r = 0; r < d; ++r) {
      const double f = r == p ? 0 : a[at(r, p)];
      for (int c = 0; c < d; ++c) a[at(r, c)] -= f * a[at(p, c)], x[at(r, c)] -= f * x[at(p, c)];
    }
  }
  return x;
}

/// What head h of a bed maps queries (or keys) by, from its parameters.
Matrix map_of(const Bed& bed, const std::string& basis, int h, bool keys) {
  const int d = Bed::d;
  const auto entry = [](const Tensor& t, int64_t i) { return static_cast<double>(t[i]); };
  Matrix S(static_cast<size_t>(d * d));
  if (basis != "svd") {
    int64_t next = int64_t{h} * d * (d - 1) / 2;
    for (int r = 0; r < d; ++r)
      for (int c = r + 1; c < d; ++c, ++next) {
        S[static_cast<size_t>(r * d + c)] = entry(bed["attn.position.S"], next);
        S[static_cast<size_t>(c * d + r)] = -S[static_cast<size_t>(r * d + c)];
      }
    if (basis == "exp") return exponential(S, d);
    Matrix minus = identity(d), plus = identity(d);
    for (size_t i = 0; i < S.size(); ++i) minus[i] -= S[i], plus[i] += S[i];
    return product(minus, inverse(plus, d), d);
  }
  const auto rotation = [&](const char* name) {
    const Tensor& A = bed[name];
    Matrix K(static_cast<size_t>(d * d));
    for (int r = 0; r < d; ++r)
      for (int c = 0; c < d; ++c)
        K[static_cast<size_t>(r * d + c)] = (entry(A, (h * d + r) * d + c) - entry(A, (h * d + c) * d + r)) / 2;
    return exponential(K, d);
  };
  Matrix U = rotation("attn.position.A_u");
  for (int r = 0; r < d; ++r)
    for (int c = 0; c < d; ++c) {
      const double s = std::log1p(std::exp(entry(bed["attn.position.sigma"], h * d + c))) + 1e-6;
      U[static_cast<size_t>(r * d + c)] *= keys ? 1 / s : s;
    }
  return product(U, transposed(rotation("attn.position.A_v"), d), d);
}

struct Basis {
  const char *name, *basis;
  Options options, rotation;
  const char* rotary;
};
const std::vector<Basis>& bases() {
  static const Options axial{{"variant", std::string("timm_language")}};
  static const std::vector<Basis> all{
      {"cayley_string", "cayley", {}, {}, "rope_mixed"},
      {"cayley_string", "exp", {{"basis", std::string("exp")}}, {}, "rope_mixed"},
      {"cayley_string", "cayley", {{"frequencies", std::string("fixed")}}, axial, "rope_axial"},
      {"harope", "svd", {}, axial, "rope_axial"},
      {"harope", "svd", {{"frequencies", std::string("learned")}}, {}, "rope_mixed"}};
  return all;
}

/// Bases far from the identity: generators several times as large as a walk has them.
struct Far : Bed {
  Far(const Basis& b, const Grid& g) : Bed(b.name, b.options, g) {
    for (const auto& e : params.entries())
      if (!e.name.ends_with("freqs"))
        for (real& entry : e.value.values()) entry *= e.name.ends_with("sigma") ? 5 : 4;
    params.commit();
  }
};

TWIN_CASE("property: a learned basis folds into the projections of queries and keys") {
  for (const Basis& b : bases()) {
    INFO(b.name << " " << b.basis << " " << b.rotary);
    const Grid g{3, 4, 1};
    const Far with(b, g);
    // q = W_q x of random tokens; the other attention has rotation alone and W_q' = P W_q, W_k' = K W_k
    const int D = 16, d = Bed::d, N = g.tokens();
    Bed projected(b.name, b.options, g), folded(b.rotary, b.rotation, g);
    for (const auto& e : with.params.entries()) {
      projected.set(e.name, [&](int64_t i) { return e.value[i]; });
      if (e.name.ends_with("freqs")) folded.set(e.name, [&](int64_t i) { return e.value[i]; });
    }
    for (const bool keys : {false, true}) {
      const Tensor& x = with.v;  // the tokens
      Tensor &q = keys ? projected.k : projected.q, &q2 = keys ? folded.k : folded.q;
      for (int h = 0; h < Bed::H; ++h) {
        const auto W = [&](int c, int from) { return 0.3 * normal_at(keys ? "W_k" : "W_q", (h * d + c) * D + from); };
        const Matrix P = map_of(with, b.basis, h, keys);
        for (int64_t n = 0; n < 2 * N; ++n)
          for (int c = 0; c < d; ++c) {
            double plain = 0, fold = 0;
            for (int from = 0; from < D; ++from) {
              double w = 0;
              for (int k = 0; k < d; ++k) w += P[static_cast<size_t>(c * d + k)] * W(k, from);
              plain += W(c, from) * static_cast<double>(x[n * D + from]);
              fold += w * static_cast<double>(x[n * D + from]);
            }
            q[n * D + h * d + c] = static_cast<real>(plain), q2[n * D + h * d + c] = static_cast<real>(fold);
          }
      }
    }
    CHECK(farthest(projected.output(), folded.output()) < close);
    Bed bare(b.rotary, b.rotation, g);  // and it is not the identity
    for (const auto& e : bare.params.entries()) bare.set(e.name, [&](int64_t i) { return with[e.name][i]; });
    bare.q = projected.q, bare.k = projected.k;
    CHECK(farthest(projected.output(), bare.output()) > 1e-2);
  }
}

/// Every token of x (B, tokens, H d) through the map of its head.
Tensor mapped(const Bed& bed, const std::string& basis, const Tensor& x, bool keys) {
  const int d = Bed::d;
  Tensor y(x.shape());
  for (int h = 0; h < Bed::H; ++h) {
    const Matrix P = map_of(bed, basis, h, keys);
    for (int64_t at = int64_t{h} * d; at < x.size(); at += int64_t{Bed::H} * d)
      for (int r = 0; r < d; ++r) {
        double sum = 0;
        for (int c = 0; c < d; ++c) sum += P[static_cast<size_t>(r * d + c)] * static_cast<double>(x[at + c]);
        y[at + r] = static_cast<real>(sum);
      }
  }
  return y;
}
/// A table of vectors (1, rows, d), for each head through its map: (H, rows, d).
Tensor table_of_heads(const Bed& bed, const std::string& basis, const Tensor& table, bool keys) {
  const int rows = table.dim(1), d = Bed::d;
  Tensor all({1, rows, Bed::H * d}), by_head({Bed::H, rows, d});
  for (int64_t i = 0; i < all.size(); ++i) all[i] = table[i / (Bed::H * d) * d + i % d];
  const Tensor turned = mapped(bed, basis, all, keys);
  for (int64_t i = 0; i < by_head.size(); ++i)
    by_head[i] = turned[i / d % rows * Bed::H * d + i / (int64_t{rows} * d) * d + i % d];
  return by_head;
}
/// Every head of every token less its mean, over its spread.
Tensor normed(const Tensor& x) {
  const int d = Bed::d;
  Tensor y(x.shape());
  for (int64_t at = 0; at < x.size(); at += d) {
    double mean = 0, square = 0;
    for (int c = 0; c < d; ++c) mean += static_cast<double>(x[at + c]) / d;
    for (int c = 0; c < d; ++c) square += std::pow(static_cast<double>(x[at + c]) - mean, 2) / d;
    for (int c = 0; c < d; ++c)
      y[at + c] = static_cast<real>((static_cast<double>(x[at + c]) - mean) / std::sqrt(square));
  }
  return y;
}

TWIN_CASE(
    "property: a basis folds behind terms that meet what it made, not behind terms of q and k as projected, nor "
    "norms") {
  const Grid g{3, 4, 1};
  const auto of = [](const std::string& part, const Options& own) {
    Options options;
    for (const auto& [key, value] : own) options[part + "." + key] = value;
    return options;
  };
  for (const Basis& b : bases()) {
    INFO(b.name << " " << b.basis << " " << b.rotary);
    // huang4: one table for terms of queries and of keys
    Bed with(std::string(b.name) + "+huang4", of(b.name, b.options), g),
        folded(std::string(b.rotary) + "+huang4", of(b.rotary, b.rotation), g);
    for (const auto& e : with.params.entries()) {
      const double larger = e.name.ends_with("freqs") ? 1 : 5;
      for (real& entry : e.value.values()) entry *= static_cast<real>(larger);
    }
    with.params.commit();
    for (const auto& e : folded.params.entries()) folded.set(e.name, [&](int64_t i) { return with[e.name][i]; });
    const auto fold = [&] {
      folded.q = mapped(with, b.basis, with.q, false), folded.k = mapped(with, b.basis, with.k, true);
    };
    const auto based = [&](const Terms& where) {
      return attention_weights(with.encoding->shape(with.places.sites[0], with.layout, with.query(), with.tokens(), {}),
                               where);
    };
    fold();
    CHECK(farthest(with.output(), folded.output()) < close);
    CHECK(farthest(based(with.terms()), folded.weights()) < close);

    // terms of what the projections gave, which the basis has not seen
    Terms raw = with.terms();
    REQUIRE(raw.count == 2);
    REQUIRE(raw.relative[0].kind == Relative::query);
    REQUIRE(raw.relative[1].kind == Relative::key);
    raw.relative[0].side = heads(with.q, Bed::H), raw.relative[1].side = heads(with.k, Bed::H);
    CHECK(farthest(based(raw), folded.weights()) > 1e-3);
    // ... unless their tables go through the basis of the other side: q . a = P q . K a, with K the inverse of P's transpose
    Terms moved = folded.terms();
    for (const bool keys : {false, true}) {
      Tensor& table = moved.relative[keys ? 1 : 0].table;
      table = table_of_heads(with, b.basis, table, !keys);
    }
    CHECK(farthest(based(raw), attention_weights(folded.query(), moved)) < close);

    // norms stand between projection and basis
    const Tensor q = with.q, k = with.k;
    with.q = normed(q), with.k = normed(k);
    const Tensor before = based(with.terms());
    fold();
    CHECK(farthest(before, folded.weights()) < close);  // of the norms, not of the projections
    folded.q = normed(mapped(with, b.basis, q, false)), folded.k = normed(mapped(with, b.basis, k, true));
    CHECK(farthest(before, folded.weights()) > 1e-3);
  }
}

TWIN_CASE("property: a basis leaves the score of a query and a key of one place as it is") {
  const Grid g{3, 4, 1};
  for (const Basis& b : bases()) {
    INFO(b.name << " " << b.basis);
    const Far bed(b, g);
    const Query shaped = bed.encoding->shape(bed.places.sites[0], bed.layout, bed.query(), bed.tokens(), {});
    const int N = g.tokens(), d = Bed::d;
    double off = 0, moved = 0;
    for (int s = 0; s < 2; ++s)
      for (int h = 0; h < Bed::H; ++h)
        for (int i = 0; i < N; ++i) {
          double was = 0, is = 0;
          for (int c = 0; c < d; ++c) {
            was += Bed::at(bed.q, s, h, i, c) * Bed::at(bed.k, s, h, i, c);
            is += Bed::at(shaped.q.x, s, h, i, c) * Bed::at(shaped.k.x, s, h, i, c);
            moved = std::max(moved, std::abs(Bed::at(bed.q, s, h, i, c) - Bed::at(shaped.q.x, s, h, i, c)));
          }
          off = std::max(off, std::abs(was - is));
        }
    CHECK(off < (twin ? 1e-12 : 2e-3));
    CHECK(moved > 0.1);
  }
}

TWIN_CASE("property: however large its generators, Cayley's form is a rotation") {
  const Grid g{3, 4, 0};
  for (const double large : {1.0, 10.0, 300.0}) {
    Bed bed("cayley_string", {}, g);
    bed.set("attn.position.S", [&](int64_t i) { return large * normal_at("S", i); });
    const Query shaped = bed.encoding->shape(bed.places.sites[0], bed.layout, bed.query(), bed.tokens(), {});
    double off = 0;
    for (int i = 0; i < g.tokens(); ++i) {
      double was = 0, is = 0;
      for (int c = 0; c < Bed::d; ++c)
        was += std::pow(Bed::at(bed.q, 0, 0, i, c), 2), is += std::pow(Bed::at(shaped.q.x, 0, 0, i, c), 2);
      off = std::max(off, std::abs(is / was - 1));
    }
    CHECK(off < rounding * large * 10);  // the condition of I + S grows with S
  }
}

TWIN_CASE("property: without generators a basis is rotation alone") {
  const Grid g{3, 4, 0};
  Bed harope("harope", {}, g);
  harope.set("attn.position.A_u", [](int64_t) { return 0; }).set("attn.position.A_v", [](int64_t) { return 0; });
  harope.set("attn.position.sigma", [](int64_t) { return std::log(std::exp(1.0) - 1); });
  CHECK(farthest(harope.output(), Bed("rope_axial", {{"variant", std::string("timm_language")}}, g).output()) < 1e-5);
  Bed cayley("cayley_string", {}, g), mixed("rope_mixed", {}, g);
  cayley.set("attn.position.S", [](int64_t) { return 0; });
  CHECK(farthest(cayley.output(), mixed.output()) < tight);
}

TWIN_CASE("property: bases and maps are fp32 under bf16") {
  if constexpr (sizeof(real) == 4) {
    for (const Basis& b : bases()) {
      const Far bed(b, Grid{3, 4, 0});
      const auto shaped = [&](Precision p) {
        const Computing in(p);
        return bed.encoding->shape(bed.places.sites[0], bed.layout, bed.query(), bed.tokens(), {});
      };
      const Query exact = shaped(Precision::f32), got = shaped(Precision::bf16);
      CHECK(same_bits(exact.q.x, got.q.x));
      CHECK(same_bits(exact.k.x, got.k.x));
    }
  }
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
