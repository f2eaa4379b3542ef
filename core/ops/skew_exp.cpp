//   R  = exp(K),  K = U - U^T,  U the strict upper triangle of x                                       saved: x
//   dK = D(K^T, dR),  D(A, E) the derivative of exp at A in the direction of E,  dx_rc = dK_rc - dK_cr above the diagonal, else 0
//
//   b = 2      a cosine and a sine
//   b = 4      K = P + Q, self-dual and anti-self-dual parts, which commute and whose squares are -p^2 I and -q^2 I, so that
//              R = (cos p I + (sin p / p) P) (cos q I + (sin q / q) Q): two quaternions, one from the left and one from the right
//   others     A = K / 2^s with |A| below a limit, Taylor's polynomial by powers up to A^4 and Horner's scheme in A^4, then s squarings.
//              In backward each product C = A B carries its derivative, C' = A' B + A B', from A' = dR / 2^s on (Higham 2008, chapter 10)
#include "tessera/core/ops/skew_exp.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "tessera/core/gemm.h"
#include "tessera/core/kernels/kernels.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

// ---- two by two -----------------------------------------------------------------------------------------------------

void forward2(const real* x, real* R) {
  const real c = std::cos(x[1]), s = std::sin(x[1]);
  R[0] = c, R[1] = s, R[2] = -s, R[3] = c;
}
real backward2(const real* x, const real* dR) {
  return std::cos(x[1]) * (dR[1] - dR[2]) - std::sin(x[1]) * (dR[0] + dR[3]);
}

// ---- four by four ---------------------------------------------------------------------------------------------------

/// cos w I + (sin w / w) V, where V = [[0, x, y, z], [-x, 0, h z, -h y], [-y, -h z, 0, h x], [-z, h y, -h x, 0]], h = 1 or -1.
struct Quaternion {
  real x, y, z, h, w, c, s;
  Quaternion(real x_, real y_, real z_, real h_)
      : x(x_),
        y(y_),
        z(z_),
        h(h_),
        w(std::sqrt(x * x + y * y + z * z)),
        c(std::cos(w)),
        s(w == 0 ? 1 : std::sin(w) / w) {}
  void matrix(real* m) const {
    const real a = s * x, b = s * y, d = s * z;
    const real all[16] = {c, a, b, d, -a, c, h * d, -h * b, -b, -h * d, c, h * a, -d, h * b, -h * a, c};
    std::copy_n(all, 16, m);
  }
  /// (dx, dy, dz) from the gradient of that matrix.
  void pull(const real* g, real* d) const {
    const real u[3] = {g[1] - g[4] + h * (g[11] - g[14]), g[2] - g[8] + h * (g[13] - g[7]),
                       g[3] - g[12] + h * (g[6] - g[9])};
    const real dc = g[0] + g[5] + g[10] + g[15], ds = x * u[0] + y * u[1] + z * u[2], along = slope() * ds - s * dc;
    d[0] = s * u[0] + along * x, d[1] = s * u[1] + along * y, d[2] = s * u[2] + along * z;
  }
  /// (sin w / w)' / w = (cos w - sin w / w) / w^2; near 0 by its series, sum over k of (-1)^k 2k w^(2k - 2) / (2k + 1)!
  real slope() const {
    const real q = w * w;
    if (!(q < real(0.25))) return (c - s) / q;
    constexpr double term[] = {-1.0 / 3, 1.0 / 30, -1.0 / 840, 1.0 / 45360, -1.0 / 3991680, 1.0 / 518918400};
    real sum = 0;
    for (int k = 5; k >= 0; --k) sum = sum * q + static_cast<real>(term[k]);
    return sum;
  }
};
/// The two of K: (K01 + h K23, K02 - h K13, K03 + h K12) / 2.
Quaternion part(const real* K, real h) {
  return {(K[1] + h * K[11]) / 2, (K[2] - h * K[7]) / 2, (K[3] + h * K[6]) / 2, h};
}
void product4(const real* A, bool ta, const real* B, bool tb, real* C) {
  for (int r = 0; r < 4; ++r)
    for (int c = 0; c < 4; ++c) {
      real sum = 0;
      for (int k = 0; k < 4; ++k) sum += (ta ? A[4 * k + r] : A[4 * r + k]) * (tb ? B[4 * c + k] : B[4 * k + c]);
      C[4 * r + c] = sum;
    }
}

void forward4(const real* x, real* R) {
  real P[16], Q[16];
  part(x, 1).matrix(P), part(x, -1).matrix(Q);
  product4(P, false, Q, false, R);
}
/// dK of the entries above the diagonal of a matrix.
void backward4(const real* x, const real* dR, real* dx) {
  const Quaternion p = part(x, 1), q = part(x, -1);
  real P[16], Q[16], dP[16], dQ[16], a[3], b[3];
  p.matrix(P), q.matrix(Q);
  product4(dR, false, Q, true, dP), product4(P, true, dR, false, dQ);
  p.pull(dP, a), q.pull(dQ, b);
  dx[1] = (a[0] + b[0]) / 2, dx[11] = (a[0] - b[0]) / 2;
  dx[2] = (a[1] + b[1]) / 2, dx[7] = (b[1] - a[1]) / 2;
  dx[3] = (a[2] + b[2]) / 2, dx[6] = (a[2] - b[2]) / 2;
}

// ---- any size -------------------------------------------------------------------------------------------------------

/// Small matrices are computed so many at a time: entry (r, c) of all stands at [(r b + c) n, n more), where vectors reach it. Large ones, of `wide`
/// rows and more, are a matrix product each.
constexpr int most_side_by_side = 128, wide = 16;

/// Taylor's polynomial has degree 4 groups; its remainder at the limit is below the rounding of 1.
constexpr int groups = sizeof(real) == 4 ? 3 : 4;
constexpr double limit = sizeof(real) == 4 ? 1.25 : 0.75;

/// n matrices, and in backward their derivatives.
struct Dual {
  real *x, *dx;
  void swap(Dual& o) { std::swap(x, o.x), std::swap(dx, o.dx); }
};

struct Exponential {
  int b, n;
  int64_t size;
  bool derives;
  Tensor memory;
  Dual A, A2, A3, A4, R, T;

  Exponential(int b_, int n_, bool derives_)
      : b(b_), n(n_), size(int64_t{b_} * b_ * n_), derives(derives_), memory({12, b_ * b_ * n_}) {
    real* at = memory.data();
    for (Dual* m : {&A, &A2, &A3, &A4, &R, &T}) m->x = at, m->dx = derives ? at + size : nullptr, at += 2 * size;
  }

  /// Z = beta Z + X Y, beta 0 or 1
  void multiply(const real* X, const real* Y, real beta, real* Z) const {
    if (n == 1) return gemm_nn(b, b, b, X, b, Y, b, beta, Z, b, nullptr, {}, Precision::f32);
    for (int64_t r = 0; r < b; ++r)
      for (int64_t c = 0; c < b; ++c)
        for (int64_t k = 0; k < b; ++k)
          kernels().add_product(X + (r * b + k) * n, Y + (k * b + c) * n, Z + (r * b + c) * n, k ? 1 : beta, n);
  }
  void product(const Dual& X, const Dual& Y, Dual& Z) const {
    multiply(X.x, Y.x, 0, Z.x);
    if (!derives) return;
    multiply(X.dx, Y.x, 0, Z.dx);
    multiply(X.x, Y.dx, 1, Z.dx);
  }
  /// R = (A^4 R if `more`, else c4 A^4) + c0 I + c1 A + c2 A^2 + c3 A^3
  void add_powers(const double* c, bool more) {
    if (more) product(A4, R, T), R.swap(T);
    const auto c1 = static_cast<real>(c[1]), c2 = static_cast<real>(c[2]), c3 = static_cast<real>(c[3]),
               c4 = static_cast<real>(c[4]);
    const auto add = [&](real* r, const real* a, const real* a2, const real* a3, const real* a4) {
      for (int64_t i = 0; i < size; ++i) r[i] = (more ? r[i] : c4 * a4[i]) + c1 * a[i] + c2 * a2[i] + c3 * a3[i];
    };
    add(R.x, A.x, A2.x, A3.x, A4.x);
    for (int64_t i = 0; i < b; ++i)
      for (int l = 0; l < n; ++l) R.x[i * (b + 1) * n + l] += static_cast<real>(c[0]);
    if (derives) add(R.dx, A.dx, A2.dx, A3.dx, A4.dx);
  }

  /// exp(A) in R and its derivative in R.dx; A is scaled already, matrix l is to be squared squarings[l] times.
  void run(const int* squarings) {
    double c[4 * groups + 1] = {1};
    for (int k = 1; k <= 4 * groups; ++k) c[k] = c[k - 1] / k;
    product(A, A, A2), product(A2, A, A3), product(A2, A2, A4);
    for (int g = groups - 1; g >= 0; --g) add_powers(c + 4 * g, g < groups - 1);
    const int most = *std::max_element(squarings, squarings + n);
    for (int done = 0; done < most; ++done) {
      product(R, R, T), R.swap(T);
      for (int l = 0; l < n; ++l)  // a matrix that needs no more keeps what it has
        for (int64_t i = l; i < size && done >= squarings[l]; i += n) {
          R.x[i] = T.x[i];
          if (derives) R.dx[i] = T.dx[i];
        }
    }
  }
};

/// How often K has to be halved until its 1-norm is below the limit; -1 if it is not finite.
int halvings(const real* x, int b) {
  double most = 0;
  for (int c = 0; c < b; ++c) {
    double sum = 0;
    for (int r = 0; r < b; ++r)
      if (r != c) sum += std::abs(static_cast<double>(r < c ? x[r * b + c] : x[c * b + r]));
    if (!(sum <= std::numeric_limits<real>::max())) return -1;
    most = std::max(most, sum);
  }
  return most > limit ? static_cast<int>(std::ceil(std::log2(most / limit))) : 0;
}

/// R of n matrices, or, where dR is given, the gradient of their strict upper triangles: to = beta to + it.
void exponentials(int n, int b, const real* x, const real* dR, real beta, real* to) {
  Exponential e(b, n, dR != nullptr);
  int squarings[most_side_by_side] = {};
  bool finite[most_side_by_side] = {};
  for (int l = 0; l < n; ++l) {
    const int64_t own = int64_t{l} * b * b;
    const int s = halvings(x + own, b);
    finite[l] = s >= 0, squarings[l] = std::max(s, 0);
    const real by = static_cast<real>(std::ldexp(1.0, -squarings[l])), sign = dR ? -by : by;  // K^T = -K
    for (int r = 0; r < b; ++r)
      for (int c = 0; c < b; ++c) {
        const real above = r < c ? x[own + r * b + c] : r > c ? -x[own + c * b + r] : real(0);
        e.A.x[(r * b + c) * n + l] = finite[l] ? sign * above : 0;
        if (dR) e.A.dx[(r * b + c) * n + l] = by * dR[own + r * b + c];
      }
  }
  e.run(squarings);
  const auto entry = [&](int l, int r, int c) {
    if (dR && r >= c) return real(0);
    if (!finite[l]) return std::numeric_limits<real>::quiet_NaN();
    return dR ? e.R.dx[(r * b + c) * n + l] - e.R.dx[(c * b + r) * n + l] : e.R.x[(r * b + c) * n + l];
  };
  for (int l = 0; l < n; ++l)
    for (int r = 0; r < b; ++r)
      for (int c = 0; c < b; ++c) {
        real& out = to[(int64_t{l} * b + r) * b + c];
        out = beta == 0 ? entry(l, r, c) : out + entry(l, r, c);
      }
}

/// f(first, count) for groups of matrices.
template <class F>
void grouped(int64_t n, int b, F f) {
  const int64_t most = b < wide ? most_side_by_side : 1;
  for (int64_t first = 0; first < n; first += most) f(first, static_cast<int>(std::min(most, n - first)));
}

void forward(const Tensor& x, int b, Tensor& R) {
  const int64_t size = int64_t{b} * b, n = R.size() / size;
  const real* from = x.read().data();
  if (b == 2 || b == 4) {
    for (int64_t i = 0; i < n; ++i) (b == 2 ? forward2 : forward4)(from + i * size, R.data() + i * size);
  } else {
    grouped(n, b,
            [&](int64_t i, int count) { exponentials(count, b, from + i * size, nullptr, 0, R.data() + i * size); });
  }
}

void backward(const Tensor& x, int b, const Tensor& dR, Back& back) {
  const auto [dx, beta] = back.into(x);
  const int64_t size = int64_t{b} * b, n = x.size() / size;
  const real* from = x.read().data();
  if (b == 2 || b == 4) {
    for (int64_t i = 0; i < n; ++i) {
      real own[16] = {}, *to = dx + i * size;
      if (b == 2) own[1] = backward2(from + i * size, dR.data() + i * size);
      if (b == 4) backward4(from + i * size, dR.data() + i * size, own);
      for (int64_t k = 0; k < size; ++k) to[k] = beta == 0 ? own[k] : to[k] + own[k];
    }
  } else {
    grouped(n, b, [&, dx = dx, beta = beta](int64_t i, int count) {
      exponentials(count, b, from + i * size, dR.data() + i * size, beta, dx + i * size);
    });
  }
}

}  // namespace

Tensor skew_exp(const Tensor& x) {
  if (x.rank() < 2 || x.dim(-1) != x.dim(-2)) fail("skew_exp", "{} holds no square matrices", x.shape().str());
  const int b = x.dim(-1);
  Tensor R(x.shape());
  if (x.size()) forward(x, b, R);
  return record("skew_exp", R, {&x}, [=](const Tensor& dR, Back& back) {
    if (x.size()) backward(x, b, dR, back);
  });
}

}  // namespace TESSERA_NS
}  // namespace tessera
