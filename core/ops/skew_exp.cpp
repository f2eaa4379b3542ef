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

/// The same entry of several matrices side by side: small ones are computed so many at a time.
constexpr int side = 64 / sizeof(real);
using Lanes [[gnu::vector_size(64)]] = real;

template <class V>
constexpr int lanes = sizeof(V) / sizeof(real);
real& lane(Lanes* m, int64_t entry, int l) { return reinterpret_cast<real*>(m + entry)[l]; }
real& lane(real* m, int64_t entry, int) { return m[entry]; }

/// C = beta C + A B, beta 0 or 1; C is neither A nor B.
void multiply(int b, const real* A, const real* B, real beta, real* C) {
  gemm_nn(b, b, b, A, b, B, b, beta, C, b, nullptr, {}, Precision::f32);
}
void multiply(int b, const Lanes* A, const Lanes* B, real beta, Lanes* C) {
  for (int r = 0; r < b; ++r)
    for (int c = 0; c < b; ++c) {
      Lanes sum = beta == 0 ? Lanes{} : C[r * b + c];
      for (int k = 0; k < b; ++k) sum += A[r * b + k] * B[k * b + c];
      C[r * b + c] = sum;
    }
}

/// Taylor's polynomial has degree 4 groups; its remainder at the limit is below the rounding of 1.
constexpr int groups = sizeof(real) == 4 ? 3 : 4;
constexpr double limit = sizeof(real) == 4 ? 1.25 : 0.75;

/// A matrix, or `lanes` of them, and in backward its derivative.
template <class V>
struct Dual {
  V *x, *dx;
  void swap(Dual& o) { std::swap(x, o.x), std::swap(dx, o.dx); }
};

template <class V>
struct Exponential {
  int b;
  bool derives;
  Tensor memory;
  Dual<V> A, A2, A3, A4, R, T;

  Exponential(int b_, bool derives_) : b(b_), derives(derives_), memory({12, b_ * b_ * lanes<V>}) {
    V* at = reinterpret_cast<V*>(memory.data());
    for (Dual<V>* m : {&A, &A2, &A3, &A4, &R, &T}) m->x = at, m->dx = derives ? at + b * b : nullptr, at += 2 * b * b;
  }

  void product(const Dual<V>& X, const Dual<V>& Y, Dual<V>& Z) const {
    multiply(b, X.x, Y.x, 0, Z.x);
    if (!derives) return;
    multiply(b, X.dx, Y.x, 0, Z.dx);
    multiply(b, X.x, Y.dx, 1, Z.dx);
  }
  /// X += c0 I + c1 A + c2 A^2 + c3 A^3
  void add_powers(V* X, const V* a, const V* a2, const V* a3, const double* c, bool identity) const {
    for (int i = 0; i < b * b; ++i)
      X[i] += a[i] * static_cast<real>(c[1]) + a2[i] * static_cast<real>(c[2]) + a3[i] * static_cast<real>(c[3]);
    for (int i = 0; i < b && identity; ++i) X[i * (b + 1)] += static_cast<real>(c[0]);
  }

  /// exp(A) in R and its derivative in R.dx; A is scaled already, lane l is to be squared squarings[l] times.
  void run(const int* squarings) {
    product(A, A, A2), product(A2, A, A3), product(A2, A2, A4);
    double c[4 * groups + 1] = {1};
    for (int k = 1; k <= 4 * groups; ++k) c[k] = c[k - 1] / k;
    for (int i = 0; i < b * b; ++i) R.x[i] = A4.x[i] * static_cast<real>(c[4 * groups]);
    for (int i = 0; i < b * b && derives; ++i) R.dx[i] = A4.dx[i] * static_cast<real>(c[4 * groups]);
    for (int g = groups - 1; g >= 0; --g) {
      if (g < groups - 1) product(A4, R, T), R.swap(T);
      add_powers(R.x, A.x, A2.x, A3.x, c + 4 * g, true);
      if (derives) add_powers(R.dx, A.dx, A2.dx, A3.dx, c + 4 * g, false);
    }
    const int most = *std::max_element(squarings, squarings + lanes<V>);
    for (int done = 0; done < most; ++done) {
      product(R, R, T), R.swap(T);
      for (int l = 0; l < lanes<V>; ++l) {  // a matrix that needs no more keeps what it has
        if (done < squarings[l]) continue;
        for (int i = 0; i < b * b; ++i) lane(R.x, i, l) = lane(T.x, i, l);
        for (int i = 0; i < b * b && derives; ++i) lane(R.dx, i, l) = lane(T.dx, i, l);
      }
    }
  }
};

/// How often K, of 1-norm |K|, has to be halved; -1 if it is not finite.
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

/// R of n matrices, or, where dR is given, the gradient of their strict upper triangles, to = beta to + it.
template <class V>
void exponentials(int64_t n, int b, const real* x, const real* dR, real beta, real* to) {
  Exponential<V> e(b, dR != nullptr);
  const int64_t size = int64_t{b} * b;
  for (int64_t first = 0; first < n; first += lanes<V>) {
    const int here = static_cast<int>(std::min<int64_t>(lanes<V>, n - first));
    int squarings[lanes<V>] = {};
    bool finite[lanes<V>] = {};
    for (int l = 0; l < lanes<V>; ++l) {
      const real* own = x + (first + std::min(l, here - 1)) * size;  // the last ones, if there are fewer, once more
      const real* slope = dR ? dR + (own - x) : nullptr;
      const int s = halvings(own, b);
      finite[l] = s >= 0, squarings[l] = std::max(s, 0);
      const real by = finite[l] ? static_cast<real>(std::ldexp(1.0, -squarings[l])) : 0,
                 sign = dR ? -by : by;  // K^T = -K
      for (int r = 0; r < b; ++r)
        for (int c = 0; c < b; ++c) {
          const real above = r < c ? own[r * b + c] : r > c ? -own[c * b + r] : real(0);
          lane(e.A.x, r * b + c, l) = finite[l] ? sign * above : 0;
          if (slope) lane(e.A.dx, r * b + c, l) = by * slope[r * b + c];
        }
    }
    e.run(squarings);
    for (int l = 0; l < here; ++l) {
      real* out = to + (first + l) * size;
      const real nan = std::numeric_limits<real>::quiet_NaN();
      for (int r = 0; r < b; ++r)
        for (int c = 0; c < b; ++c) {
          real v = 0;
          if (!dR) v = lane(e.R.x, r * b + c, l);
          if (dR && r < c) v = lane(e.R.dx, r * b + c, l) - lane(e.R.dx, c * b + r, l);
          if (!finite[l] && (!dR || r < c)) v = nan;
          out[r * b + c] = beta == 0 ? v : out[r * b + c] + v;
        }
    }
  }
}

constexpr int wide = 16;  // from here on matrices are large enough for a product each

void forward(const Tensor& x, int b, Tensor& R) {
  const int64_t size = int64_t{b} * b, n = R.size() / size;
  const real* from = x.read().data();
  if (b == 2 || b == 4) {
    for (int64_t i = 0; i < n; ++i) (b == 2 ? forward2 : forward4)(from + i * size, R.data() + i * size);
  } else if (b < wide) {
    exponentials<Lanes>(n, b, from, nullptr, 0, R.data());
  } else {
    exponentials<real>(n, b, from, nullptr, 0, R.data());
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
  } else if (b < wide) {
    exponentials<Lanes>(n, b, from, dR.data(), beta, dx);
  } else {
    exponentials<real>(n, b, from, dR.data(), beta, dx);
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
