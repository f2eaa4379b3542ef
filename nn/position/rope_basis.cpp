// A learned basis before rotary embedding: queries and keys of a head first go through one matrix for all tokens, then turn.
//   cayley_string  q' = P q, k' = P k, P = (I - S)(I + S)^-1 with S skew-symmetric, a rotation; then rope_mixed
//                  Schenck et al. 2025 (STRING); basis=exp: P = e^S instead
//   harope         q' = M q, k' = M^-T k, M = U diag(s) V^T, s = softplus(sigma) + 1e-6, U and V exponentials of (A - A^T) / 2; then axial
//                  rotation, rows first, theta 10000.  Li et al. 2025
//   In exact arithmetic both are rotation alone with W_q <- P W_q, W_k <- P W_k (M W_q and M^-T W_k; biases, too): no other functions, another
//   path for the optimiser, with P shared by q and k. Terms on q and k meet them as they are here, and change nothing of that; norms between
//   projection and basis do.
//   hooks: shape, rotary      parameters per block: heads d (d - 1) / 2, and heads d frequencies; harope: heads (2 d^2 + d)
//   cost: 2 d^2 multiplications per token and head for q and k, and the matrices anew in every forward pass
//   class tokens: the same basis, angle 0      values: untouched      windows, reduced keys, another resolution: as the rotation (recomputed, or
//   scaled: scaling.h; in training: coords_aug.h)
#include <cmath>

#include "tessera/core/ops/activation.h"
#include "tessera/core/ops/arithmetic.h"
#include "tessera/core/ops/embedding.h"
#include "tessera/core/ops/matmul.h"
#include "tessera/core/ops/permute.h"
#include "tessera/core/ops/rotate_blocks.h"
#include "tessera/core/ops/skew_exp.h"
#include "tessera/nn/position/coords_aug.h"
#include "tessera/nn/position/encoding.h"
#include "tessera/nn/position/rotary.h"
#include "tessera/nn/position/scaling.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

Tensor product(const Tensor& a, const Tensor& b, bool transpose_b = false) {
  return matmul(a, b, false, transpose_b, Precision::f32);
}
Tensor transposed(const Tensor& x) { return permute(x, {0, 2, 1}); }
Tensor identity(int d) {
  Tensor I = zeros({d, d});
  for (int64_t i = 0; i < d; ++i) I[i * d + i] = 1;
  return I;
}

/// (I + S)^-1 of skew-symmetric matrices S (heads, d, d), by Newton's iteration X <- X (2 I - (I + S) X) from a multiple of (I + S)^T. The
/// eigenvalues of I + S are 1 + i l, so that its singular values lie between 1 and any norm n of it: the first error is at most
/// (n^2 - 1) / (n^2 + 1) and squares with every step. Only the last step is on the tape: from X it gives -X dS X, the gradient.
Tensor inverse_of_one_plus(const Tensor& S) {
  const int d = S.dim(-1);
  const Tensor A = S + identity(d);
  double norm = 1;
  for (int64_t r = 0; r < S.size() / d; ++r) {
    double sum = 0;
    for (int64_t c = 0; c < d; ++c) sum += std::abs(static_cast<double>(A[r * d + c]));
    norm = std::max(norm, sum);
  }
  const Tensor two = 2 * identity(d);
  const auto step = [&](const Tensor& X) { return product(X, two - product(A, X)); };
  Tensor X;
  {
    const NoGrad values_only;
    X = transposed(A) * (2 / (1 + norm * norm));
    constexpr double digits = sizeof(real) == 4 ? 17 : 37;  // of e: the rounding of 1
    double left = -std::log1p(-2 / (1 + norm * norm));      // the first error is e^-left
    for (int i = 0; i < 64 && left < digits; ++i, left *= 2) X = step(X);
  }
  return step(X);
}

struct RopeBasis final : PositionEncoding {
  struct Config : Scaling, CoordsAugmentation {
    std::string basis = "cayley", frequencies = "learned";
    double theta = 0, std = 0.02;
    std::string row = "cayley_string";  ///< of the registry, for what is said
  };
  static Fields<Config> fields() {
    static const std::vector<Field<Config>> own{
        {"basis", &Config::basis, "cayley | exp: a rotation, of q and k alike | svd: any matrix of q, its inverse of k",
         one_of("cayley", "exp", "svd")},
        {"frequencies", &Config::frequencies, "of the rotation: learned (rope_mixed) | fixed (axial, rows first)",
         one_of("learned", "fixed")},
        {"theta", &Config::theta, "spacing of the (initial) frequencies; 0: learned 10, fixed 10000",
         within(1, 1e12).or_zero()},
        {"std", &Config::std, "standard deviation of the initial generators; 0 starts as the rotation alone",
         within(0, 1000)},
    };
    static const Fields<Config> table = joined<Config>({own, scaling_fields<Config>(), coords_fields<Config>()});
    return table;
  }
  static void check(const Config& c) {
    check_scaling(c.row, c);
    check_coords(c.row, c);
    if (c.frequencies == "learned" && c.ramp == "index")
      fail("position " + c.row,
           "ramp=index counts the pairs of an axis, and frequencies=learned turn with both: leave it out");
  }
  static std::string refuses(const Places& at, const Config& c) { return needs_width(at, 2, c); }

  RopeBasis(const Scope& net, const Places& at, const Config& c) : config(c), rotary(rotation_of(c)(net, at)) {
    for (const Site& s : at.sites) {
      const Scope scope = net / s.path / "position";
      const int H = s.heads, d = s.head_dim;
      const auto generator = [&](const char* name, const Shape& shape) {
        return scope.param(name, shape, c.std > 0 ? normal(c.std) : constant(0), Decay::no);
      };
      if (c.basis == "svd") {
        own.push_back({generator("A_u", {H, d, d}), generator("A_v", {H, d, d}),
                       scope.param("sigma", {H, d}, constant(std::log(std::exp(1.0) - 1)), Decay::no)});
      } else {
        own.push_back({generator("S", {H, d * (d - 1) / 2}), {}, {}});
      }
    }
  }

  Terms terms(const Site& s, const Layout& now, const Tokens& x, const Run& run) const override {
    return rotary->terms(s, now, x, run);
  }
  std::string unit_warning(const Places& from, const Places& to) const override {
    return scaling_warning(config.row, config, from, to);
  }
  Query shape(const Site& s, const Layout&, const Query& query, const Tokens&, const Run&) const override {
    const Own& o = own.at(static_cast<size_t>(s.id));
    if (config.basis == "svd") {
      const Tensor U = half_skew_exp(o.A), Vt = transposed(half_skew_exp(o.A_v));
      const Tensor sigma = (softplus(o.sigma) + 1e-6).reshape({s.heads, s.head_dim, 1});
      return changed(query, product(U, sigma * Vt), product(U, Vt / sigma));
    }
    const Tensor above = above_diagonal(o.A, s.head_dim);
    if (config.basis == "exp") return changed(query, skew_exp(above), {});
    return changed(query, 2 * inverse_of_one_plus(above - transposed(above)) - identity(s.head_dim), {});
  }

 private:
  struct Own {
    Tensor A, A_v, sigma;  // generators; those of a rotation are the entries above the diagonal, row by row
  };
  static MakePosition rotation_of(const Config& c) {
    Options options;
    if (c.theta > 0) options["theta"] = c.theta;
    const Options all = read(c, fields());
    for (const char* said : {"scaling", "beta_fast", "beta_slow", "clip", "clip_share", "temperature", "coords_shift",
                             "coords_jitter", "coords_rescale", "coords_draw"})
      options[said] = all.at(said);
    if (c.frequencies == "learned") return position("rope_mixed", options);
    options["variant"] = std::string("timm_language"), options["ramp"] = c.ramp;
    return position("rope_axial", options);
  }
  /// e^((A - A^T) / 2)
  static Tensor half_skew_exp(const Tensor& A) { return skew_exp((A - transposed(A)) / 2); }
  /// (H, d (d - 1) / 2) as the strict upper triangles of (H, d, d)
  static Tensor above_diagonal(const Tensor& entries, int d) {
    std::vector<int32_t> at;
    int32_t next = 0;
    for (int r = 0; r < d; ++r)
      for (int c = 0; c < d; ++c) at.push_back(r < c ? next++ : -1);
    return gather(entries, at, d * d).reshape({entries.dim(0), d, d});
  }
  /// q' = P q and k' = K k for every head, (H, d, d) both; without K, P serves both.
  static Query changed(const Query& query, const Tensor& P, const Tensor& K) {
    const auto map = [](const Heads& x, const Tensor& by) {
      const std::vector<int32_t> one_place(static_cast<size_t>(x.tokens), 0);
      return heads(rotate_blocks(x, by.reshape({1, x.heads, 1, x.d, x.d}), one_place), x.heads);
    };
    return query.with(map(query.q, P), map(query.k, K ? K : P), query.v);
  }
  Config config;
  std::unique_ptr<PositionEncoding> rotary;
  std::vector<Own> own;  // by Site::id
};

}  // namespace

Encoding cayley_string() { return encoding<RopeBasis>(); }
Encoding harope() {
  RopeBasis::Config published;
  published.basis = "svd", published.frequencies = "fixed", published.std = 0, published.row = "harope";
  return encoding<RopeBasis>(published);
}

}  // namespace TESSERA_NS
}  // namespace tessera
