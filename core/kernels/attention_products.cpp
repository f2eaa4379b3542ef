// Products of small matrices that sit in L1 or L2, and the moves around them.
//
// A tile of MR rows times NV vectors of C stays in registers while k runs: per k it loads NV vectors of B and MR
// scalars of A (each broadcast by its load) for MR NV multiply-adds. With 32 registers MR NV is up to 28, so loads are
// below 60 % of what the load ports can do and the multiply-adds are the limit. B needs no packing because its rows are
// short; a BLAS packs, checks and blocks for sizes that do not come here. Rows are divided evenly over tiles (65 rows
// by 13: five full tiles), columns over panels.
#include "tessera/core/kernels/attention_products.h"

#include "tessera/core/kernels/simd.h"

TESSERA_KERNELS_BEGIN

namespace {

#if defined(__AVX512F__) || defined(__aarch64__)
enum : int { widest = 5 };  // vectors of C a tile spans
constexpr int tallest(int nv) { return nv == 1 ? 14 : nv == 2 ? 13 : nv == 3 ? 8 : nv == 4 ? 6 : 5; }
#else
enum : int { widest = 3 };  // 16 registers
constexpr int tallest(int nv) { return nv == 1 ? 10 : nv == 2 ? 6 : 4; }
#endif

using Tile = void (*)(int64_t K, const real* A, int64_t lda, const real* B, int64_t ldb, real* C, int64_t ldc,
                      bool add);

template <int MR, int NV, bool transposed>
void tile(int64_t K, const real* A, int64_t lda, const real* B, int64_t ldb, real* C, int64_t ldc, bool add) {
  vec c[MR][NV];
#pragma GCC unroll 16
  for (int r = 0; r < MR; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) c[r][v] = add ? load(C + r * ldc + v * lanes) : vec{};
  for (int64_t k = 0; k < K; ++k) {
    vec b[NV];
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) b[v] = load(B + k * ldb + v * lanes);
#pragma GCC unroll 16
    for (int r = 0; r < MR; ++r) {
      const vec a = splat(transposed ? A[k * lda + r] : A[r * lda + k]);
#pragma GCC unroll 8
      for (int v = 0; v < NV; ++v) c[r][v] += a * b[v];
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < MR; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) store(C + r * ldc + v * lanes, c[r][v]);
}

struct Tiles {
  Tile of[2][widest + 1][15];
};
template <int NV, int MR>
constexpr void fill(Tiles& t) {
  t.of[0][NV][MR] = tile<MR, NV, false>, t.of[1][NV][MR] = tile<MR, NV, true>;
  if constexpr (MR > 1) {
    fill<NV, MR - 1>(t);
  } else if constexpr (NV > 1) {
    fill<NV - 1, tallest(NV - 1)>(t);
  }
}
constexpr Tiles every_tile() {
  Tiles t{};
  fill<widest, tallest(widest)>(t);
  return t;
}
constexpr Tiles tiles = every_tile();

/// Column of C (M x N): C_i = A_i . b, for the one column that would leave a tile's last vector nearly empty (keys are often 1 + 16 k,
/// with a class token). The rest of its vector becomes 0.
void last_column(int64_t M, int64_t K, const real* A, int64_t lda, const real* b, real* C, int64_t ldc) {
  for (int64_t i = 0; i < M; ++i, A += lda, C += ldc) {
    vec x = {};
    int64_t k = 0;
    for (; k + lanes <= K; k += lanes) x += load(A + k) * load(b + k);
    if (k < K) x += load_part(A + k, K - k) * load(b + k);
    const real y = sum(x);
    store(C, vec{});
    *C = y;
  }
}

template <bool transposed>
inline void multiply(int64_t M, int64_t N, int64_t K, const real* A, int64_t lda, const real* B, int64_t ldb, real* C,
                     int64_t ldc, bool add) {
  const int64_t vectors = (N + lanes - 1) / lanes, panels = (vectors + widest - 1) / widest;
  for (int64_t p = 0; p < panels; ++p) {
    const int64_t from = vectors * p / panels, width = vectors * (p + 1) / panels - from;
    const Tile* column = tiles.of[transposed][width];
    const int64_t tall = tallest(static_cast<int>(width)), steps = (M + tall - 1) / tall;
    for (int64_t s = 0; s < steps; ++s) {
      const int64_t r = M * s / steps, rows = M * (s + 1) / steps - r;
      column[rows](K, A + (transposed ? r : r * lda), lda, B + from * lanes, ldb, C + r * ldc + from * lanes, ldc, add);
    }
  }
}

/// Exchanges the bit W of row and lane in all lanes x lanes elements; all bits together transpose.
template <int W = lanes / 2>
inline void transpose(vec (&r)[lanes]) {
  ivec low, high;
  for (int l = 0; l < lanes; ++l) {
    low[l] = l & W ? lanes + (l ^ W) : l;
    high[l] = l & W ? lanes + l : l ^ W;
  }
#pragma GCC unroll 16
  for (int i = 0; i < lanes; ++i) {
    if (i & W) continue;
    const vec a = r[i], b = r[i + W];
    r[i] = shuffle(a, b, low), r[i + W] = shuffle(a, b, high);
  }
  if constexpr (W > 1) transpose<W / 2>(r);
}

}  // namespace

void product(int64_t M, int64_t N, int64_t K, const real* A, int64_t lda, const real* B, int64_t ldb, real* C,
             int64_t ldc, bool add) {
  constexpr int64_t longest = 128;
  if (N % lanes != 1 || N < lanes || K > longest || add) return multiply<false>(M, N, K, A, lda, B, ldb, C, ldc, add);
  multiply<false>(M, N - 1, K, A, lda, B, ldb, C, ldc, false);
  real b[longest + lanes];
  int64_t k = 0;
  for (; k < K; ++k) b[k] = B[k * ldb + N - 1];
  for (; k % lanes; ++k) b[k] = 0;
  last_column(M, K, A, lda, b, C + N - 1, ldc);
}

void product_tn(int64_t M, int64_t N, int64_t K, const real* A, int64_t lda, const real* B, int64_t ldb, real* C,
                int64_t ldc, bool add) {
  multiply<true>(M, N, K, A, lda, B, ldb, C, ldc, add);
}

namespace {
/// The rows of the next head are asked for while this one's are moved: they are short and far apart, so that no hardware prefetcher
/// sees a pattern, and a backward pass finds them in the last cache at best.
template <bool write>
inline void fetch(const real* row, int64_t d, int64_t ahead) {
  if (ahead == 0) return;
  for (int64_t c = 0; c < d; c += 64 / static_cast<int64_t>(sizeof(real)))
    __builtin_prefetch(row + ahead + c, write, 2);
}
}  // namespace

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
      transpose(r);
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
