// Products of small matrices that sit in L1 or L2, and the moves around them.
//
// Measured on one core of an AMD Zen 4 (`tessera bench ops` under TESSERA_ISA), us on vectors of 16, 32 and 64 bytes:
//   8 images of 65 tokens, 3 heads of 64, forward 473 185 154, with backward 1880 901 533 (softmax included, attention_softmax.cpp)
#include "tessera/core/kernels/attention_products.h"

#include "tessera/core/kernels/attention_tiles.h"

TESSERA_KERNELS_BEGIN

namespace {
struct Numbers {
  using element = real;
  using value = vec;
  static value load(const real* p) { return TARGET::load(p); }
  static value load_part(const real* p, int64_t n) { return TARGET::load_part(p, n); }
  static value spread(real x) { return splat(x); }
  static void add(vec& sum, value a, value b) { sum += a * b; }
};
}  // namespace

void product(int64_t M, int64_t N, int64_t K, const real* A, int64_t lda, const real* B, int64_t ldb, real* C,
             int64_t ldc, bool add) {
  product_of<Numbers>(M, N, K, A, lda, B, ldb, C, ldc, add);
}

void product_tn(int64_t M, int64_t N, int64_t K, const real* A, int64_t lda, const real* B, int64_t ldb, real* C,
                int64_t ldc, bool add) {
  multiply<Numbers, true>(M, N, K, A, lda, B, ldb, C, ldc, add);
}

void gather_rows(const real* x, int64_t stride, const int32_t* at, int64_t n, int64_t d, real* y, int64_t ld,
                 int64_t ahead) {
  for (int64_t i = 0; i < n; ++i, y += ld) {
    const int64_t row = at ? at[i] : i;
    const real* from = x + row * stride;
    int64_t c = 0;
    if (row >= 0) {
      fetch<false>(from, d, ahead);
      for (; c + lanes <= d; c += lanes) store(y + c, load(from + c));
      if (c < d) store(y + c, load_part(from + c, d - c)), c += lanes;
    }
    for (; c < ld; c += lanes) store(y + c, vec{});
  }
}

void scatter_rows(const real* x, int64_t ld, const int32_t* at, int64_t n, int64_t d, real scale, const real* each,
                  real* y, int64_t stride, real beta, int64_t ahead) {
  for (int64_t i = 0; i < n; ++i, x += ld) {
    const int64_t row = at ? at[i] : i;
    if (row < 0) continue;
    real* to = y + row * stride;
    fetch<true>(to, d, ahead);
    const real factor = each ? scale * each[i] : scale;
    int64_t c = 0;
    if (beta == 0) {
      for (; c + lanes <= d; c += lanes) store(to + c, factor * load(x + c));
      if (c < d) store_part(to + c, factor * load(x + c), d - c);
    } else {
      for (; c + lanes <= d; c += lanes) store(to + c, beta * load(to + c) + factor * load(x + c));
      if (c < d) store_part(to + c, beta * load_part(to + c, d - c) + factor * load(x + c), d - c);
    }
  }
}

void transpose_rows(const real* x, int64_t stride, const int32_t* at, int64_t n, int64_t d, real scale, real* y,
                    int64_t ld, int64_t ahead) {
  for (int64_t i = 0; i < n; ++i)
    if (const int64_t row = at ? at[i] : i; row >= 0) fetch<false>(x + row * stride, d, ahead);
  for (int64_t i = 0; i < n; i += lanes) {
    if (i + 1 == n) {  // a last row by itself: no 16 x 16 blocks for it
      const int64_t row = at ? at[i] : i;
      for (int64_t c = 0; c < d; ++c) {
        store(y + c * ld + i, vec{});
        if (row >= 0) y[c * ld + i] = scale * x[row * stride + c];
      }
      return;
    }
    for (int64_t c = 0; c < d; c += lanes) {
      vec r[lanes];
      const int64_t width = d - c;
#pragma GCC unroll 16
      for (int l = 0; l < lanes; ++l) {
        const int64_t row = i + l >= n ? -1 : at ? at[i + l] : i + l;
        const real* from = x + row * stride + c;
        r[l] = row < 0 ? vec{} : scale * (width >= lanes ? load(from) : load_part(from, width));
      }
      transpose_lanes(r);
      const int64_t rows = width < lanes ? width : int64_t{lanes};
#pragma GCC unroll 16
      for (int l = 0; l < lanes; ++l)
        if (l < rows) store(y + (c + l) * ld + i, r[l]);
    }
  }
}

namespace {

/// Angles of the pairs that channels [c, c + lanes) belong to, interleaved: each twice.
inline vec twice(const real* angles, int64_t c, int64_t d) {
  const int64_t left = (d - c) / 2, n = left < lanes / 2 ? left : int64_t{lanes / 2};
  ivec from;
  for (int l = 0; l < lanes; ++l) from[l] = l / 2;
  return shuffle(load_part(angles + c / 2, n), from);
}
inline vec odd_positive() {
  vec s;
  for (int l = 0; l < lanes; ++l) s[l] = l % 2 ? 1 : -1;
  return s;
}

}  // namespace

void rotate(real* x, int64_t ld, int64_t n, int64_t d, const real* cosine, const real* sine, bool halves) {
  const int64_t h = d / 2;
  for (int64_t i = 0; i < n; ++i, x += ld, cosine += h, sine += h) {
    if (halves) {
      for (int64_t t = 0; t < h; t += lanes) {
        const int64_t left = h - t, w = left < int64_t{lanes} ? left : int64_t{lanes};
        const vec a = load_part(x + t, w), b = load_part(x + h + t, w);
        const vec co = load_part(cosine + t, w), si = load_part(sine + t, w);
        store_part(x + t, a * co - b * si, w), store_part(x + h + t, a * si + b * co, w);
      }
    } else {
      for (int64_t c = 0; c < d; c += lanes) {
        const vec v = load(x + c);
        store(x + c, v * twice(cosine, c, d) + crossed<1>(v) * (twice(sine, c, d) * odd_positive()));
      }
    }
  }
}

void rotate_backward(const real* x, real* dx, int64_t ld, int64_t n, int64_t d, const real* cosine, const real* sine,
                     bool halves, real scale, real* dcos, real* dsin) {
  const int64_t h = d / 2;
  for (int64_t i = 0; i < n; ++i, x += ld, dx += ld, cosine += h, sine += h) {
    if (dcos || dsin)
      for (int64_t t = 0; t < h; ++t) {
        const int64_t a = halves ? t : 2 * t, b = halves ? t + h : 2 * t + 1;
        if (dcos) dcos[i * h + t] += scale * (dx[a] * x[a] + dx[b] * x[b]);
        if (dsin) dsin[i * h + t] += scale * (dx[b] * x[a] - dx[a] * x[b]);
      }
    if (halves) {
      for (int64_t t = 0; t < h; ++t) {
        const real a = dx[t], b = dx[t + h];
        dx[t] = a * cosine[t] + b * sine[t], dx[t + h] = b * cosine[t] - a * sine[t];
      }
    } else {
      for (int64_t c = 0; c < d; c += lanes) {
        const vec v = load(dx + c);
        store(dx + c, v * twice(cosine, c, d) - crossed<1>(v) * (twice(sine, c, d) * odd_positive()));
      }
    }
  }
}

extern constinit const AttentionProductKernels attention_product_kernels{
    .product = product,
    .product_tn = product_tn,
    .gather_rows = gather_rows,
    .scatter_rows = scatter_rows,
    .transpose_rows = transpose_rows,
    .rotate = rotate,
    .rotate_backward = rotate_backward,
};

TESSERA_KERNELS_END
