//   y_bnh = R_at(n),h x_bnh        block by block
//   dx_bnh += R^T dy_bnh           dR_ph += sum over b and the n at p of dy_bnh x_bnh^T           saved: x, R, at
#include "tessera/core/ops/rotate_blocks.h"

#include <algorithm>
#include <cstring>

#include "tessera/core/gemm.h"
#include "tessera/core/ops/detail/loops.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

/// What one call is of, in elements.
struct Geometry {
  int64_t B, N, H, d, b;
  bool shared;             ///< all heads have the matrices of one
  bool one_place;          ///< all tokens have place 0, so that a block of all of them is one product
  int64_t offset, stride;  ///< of x

  int64_t blocks() const { return d / b; }
  int64_t in(int64_t image, int64_t n, int64_t h) const { return (image * N + n) * stride + offset + h * d; }
  int64_t out(int64_t image, int64_t n, int64_t h) const { return ((image * N + n) * H + h) * d; }
  int64_t matrix(int64_t place, int64_t h, int64_t i) const {
    return ((place * (shared ? 1 : H) + (shared ? 0 : h)) * blocks() + i) * b * b;
  }
  /// What of the samples is turned in one product: rows of x, and how far apart they are, in tokens.
  int64_t rows() const { return one_place ? B * N : B; }
  int64_t apart() const { return one_place ? 1 : N; }
  /// f(n, h, i, place) for every block of every token, of the first one alone where all have one place.
  template <class F>
  void each(const int32_t* at, F f) const {
    for (int64_t n = 0; n < (one_place ? std::min<int64_t>(N, 1) : N); ++n)
      for (int64_t h = 0; h < H; ++h)
        for (int64_t i = 0; i < blocks(); ++i) f(n, h, i, at ? at[n] : n);
  }
};

// Three products of a block with the same block of all samples, X (B, b) with rows far apart. The usual widths are known when this is compiled
// (width 0: another), large ones are left to the products of a linear layer.

constexpr int64_t wide = 16;

/// Y = X R^T
template <int64_t width>
void turn(int64_t B, int64_t any, const real* X, int64_t ldx, const real* R, real* Y, int64_t ldy) {
  const int64_t b = width ? width : any;
  if (b >= wide) return gemm_nt(B, b, b, X, ldx, R, b, 0, Y, ldy, nullptr, nullptr, Precision::f32);
  real columns[wide * wide];  // of R, so that the innermost loop runs along memory
  for (int64_t r = 0; r < b; ++r)
    for (int64_t c = 0; c < b; ++c) columns[c * b + r] = R[r * b + c];
  for (int64_t s = 0; s < B; ++s) {
    real y[wide] = {};
    for (int64_t c = 0; c < b; ++c)
      for (int64_t r = 0; r < b; ++r) y[r] += columns[c * b + r] * X[s * ldx + c];
    for (int64_t r = 0; r < b; ++r) Y[s * ldy + r] = y[r];
  }
}
/// dX += dY R
template <int64_t width>
void turn_back(int64_t B, int64_t any, const real* dY, int64_t ldy, const real* R, real* dX, int64_t ldx) {
  const int64_t b = width ? width : any;
  if (b >= wide) return gemm_nn(B, b, b, dY, ldy, R, b, 1, dX, ldx, nullptr, {}, Precision::f32);
  for (int64_t s = 0; s < B; ++s) {
    real x[wide] = {};
    for (int64_t r = 0; r < b; ++r)
      for (int64_t c = 0; c < b; ++c) x[c] += R[r * b + c] * dY[s * ldy + r];
    for (int64_t c = 0; c < b; ++c) dX[s * ldx + c] += x[c];
  }
}
/// dR += dY^T X
template <int64_t width>
void outer(int64_t B, int64_t any, const real* dY, int64_t ldy, const real* X, int64_t ldx, real* dR) {
  const int64_t b = width ? width : any;
  if (b >= wide) return gemm_tn(b, b, B, dY, ldy, X, ldx, 1, dR, b, Precision::f32);
  real sum[wide * wide] = {};
  for (int64_t s = 0; s < B; ++s) {
    real y[wide], x[wide];  // copies: GCC 12 reads the rows of two samples at once, also after the last one
    std::memcpy(y, dY + s * ldy, static_cast<size_t>(b) * sizeof(real));
    std::memcpy(x, X + s * ldx, static_cast<size_t>(b) * sizeof(real));
    for (int64_t r = 0; r < b; ++r)
      for (int64_t c = 0; c < b; ++c) sum[r * b + c] += y[r] * x[c];
  }
  for (int64_t i = 0; i < b * b; ++i) dR[i] += sum[i];
}

template <int64_t width>
void forward(const Geometry& g, const real* x, const real* R, const int32_t* at, real* y) {
  const int64_t ldx = g.apart() * g.stride, ldy = g.apart() * g.H * g.d;
  g.each(at, [&](int64_t n, int64_t h, int64_t i, int64_t place) {
    const real* X = x + g.in(0, n, h) + i * g.b;
    real* Y = y + g.out(0, n, h) + i * g.b;
    if (place >= 0) return turn<width>(g.rows(), g.b, X, ldx, R + g.matrix(place, h, i), Y, ldy);
    for (int64_t s = 0; s < g.B; ++s) std::copy_n(X + s * ldx, g.b, Y + s * ldy);
  });
}

template <int64_t width>
void backward(const Geometry& g, const Tensor& x, const Tensor& R, const int32_t* at, const Tensor& dy, Back& back) {
  const int64_t ldx = g.apart() * g.stride, ldy = g.apart() * g.H * g.d;
  const auto open =
      [&](const Tensor& of) {  // channels beside the heads get nothing, matrices that tokens share are added up
        const auto [to, beta] = back.into(of);
        if (beta == 0) std::fill_n(to, of.size(), real(0));
        return to;
      };
  if (back.wants(x)) {
    real* dx = open(x);
    const real* matrices = R.read().data();
    g.each(at, [&](int64_t n, int64_t h, int64_t i, int64_t place) {
      const real* dY = dy.data() + g.out(0, n, h) + i * g.b;
      real* dX = dx + g.in(0, n, h) + i * g.b;
      if (place >= 0) return turn_back<width>(g.rows(), g.b, dY, ldy, matrices + g.matrix(place, h, i), dX, ldx);
      for (int64_t s = 0; s < g.B; ++s)
        for (int64_t c = 0; c < g.b; ++c) dX[s * ldx + c] += dY[s * ldy + c];
    });
  }
  if (back.wants(R)) {
    real* dR = open(R);
    const real* from = x.read().data();
    g.each(at, [&](int64_t n, int64_t h, int64_t i, int64_t place) {
      if (place < 0) return;
      outer<width>(g.rows(), g.b, dy.data() + g.out(0, n, h) + i * g.b, ldy, from + g.in(0, n, h) + i * g.b, ldx,
                   dR + g.matrix(place, h, i));
    });
  }
}

}  // namespace

Tensor rotate_blocks(const Heads& x, const Tensor& R, std::span<const int32_t> at) {
  if (x.x.rank() != 3 || x.tokens != x.x.dim(1) || x.stride != x.x.dim(2) || x.offset + x.heads * x.d > x.stride)
    fail("rotate_blocks", "{} heads of {} are no part of {}", x.heads, x.d, x.x.shape().str());
  const bool fits =
      R.rank() == 5 && R.dim(3) == R.dim(4) && R.dim(2) * R.dim(3) == x.d && (R.dim(1) == x.heads || R.dim(1) == 1);
  if (!fits)
    fail("rotate_blocks", "matrices {} for {} heads of {}: expected (places, heads or 1, d / b, b, b)", R.shape().str(),
         x.heads, x.d);
  if (at.empty() ? R.dim(0) != x.tokens : at.size() != static_cast<size_t>(x.tokens))
    fail("rotate_blocks", "{} tokens, but {}", x.tokens,
         at.empty() ? fmt::format("matrices of {} places", R.dim(0)) : fmt::format("places of {}", at.size()));
  for (const int32_t place : at)
    if (place < -1 || place >= R.dim(0)) fail("rotate_blocks", "place {} is outside of [0, {})", place, R.dim(0));

  const bool named = !at.empty(),
             one_place = named && std::ranges::all_of(at, [](int32_t place) { return place == 0; });
  const Geometry g{x.x.dim(0), x.tokens, x.heads, x.d, R.dim(3), R.dim(1) == 1, one_place, x.offset, x.stride};
  const Tensor kept = named ? detail::save(at) : Tensor();
  Tensor y({static_cast<int>(g.B), x.tokens, x.heads * x.d});
  const auto go = g.b == 2 ? forward<2> : g.b == 4 ? forward<4> : g.b == 8 ? forward<8> : forward<0>;
  go(g, x.x.read().data(), R.read().data(), named ? at.data() : nullptr, y.data());
  const double macs = static_cast<double>(g.B * g.N * g.H * g.d * g.b);
  return record(
      {"rotate_blocks", macs, {{"at", at}, {"offset", x.offset}, {"heads", x.heads}, {"d", x.d}}}, y, {&x.x, &R},
      [=, in = x.x](const Tensor& dy, Back& back) {
        const auto go_back = g.b == 2 ? backward<2> : g.b == 4 ? backward<4> : g.b == 8 ? backward<8> : backward<0>;
        go_back(g, in, R, named ? detail::indices_of(kept) : nullptr, dy, back);
      });
}

}  // namespace TESSERA_NS
}  // namespace tessera
