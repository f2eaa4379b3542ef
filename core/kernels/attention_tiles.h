#pragma once
// The loops of attention's products, for numbers (attention_products.cpp) and for pairs of bfloat16 numbers (attention_bf16.cpp).
//
// A tile of MR rows times NV vectors of C stays in registers while k runs: per k it loads NV vectors of B and MR
// elements of A (each broadcast by its load) for MR NV multiply-adds. With 32 registers MR NV is up to 28, so loads are
// below 60 % of what the load ports can do and the multiply-adds are the limit. B needs no packing because its rows are
// short; a BLAS packs, checks and blocks for sizes that do not come here. Rows are divided evenly over tiles (65 rows
// by 13: five full tiles), columns over panels.
//
// Op says what an element is: `element`, as it lies in memory; `value`, a vector of them; load, load_part, spread (one in all lanes);
// add (vec& sum, value a, value b).
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

template <class E>
using TileOf = void (*)(int64_t K, const E* A, int64_t lda, const E* B, int64_t ldb, real* C, int64_t ldc, bool add);

template <class Op, int MR, int NV, bool transposed, class E = typename Op::element>
void tile(int64_t K, const E* A, int64_t lda, const E* B, int64_t ldb, real* C, int64_t ldc, bool add) {
  vec c[MR][NV];
#pragma GCC unroll 16
  for (int r = 0; r < MR; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) c[r][v] = add ? load(C + r * ldc + v * lanes) : vec{};
  for (int64_t k = 0; k < K; ++k) {
    typename Op::value b[NV];
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) b[v] = Op::load(B + k * ldb + v * lanes);
#pragma GCC unroll 16
    for (int r = 0; r < MR; ++r) {
      const auto a = Op::spread(transposed ? A[k * lda + r] : A[r * lda + k]);
#pragma GCC unroll 8
      for (int v = 0; v < NV; ++v) Op::add(c[r][v], a, b[v]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < MR; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) store(C + r * ldc + v * lanes, c[r][v]);
}

template <class E>
struct Tiles {
  TileOf<E> of[2][widest + 1][15];
};
template <class Op, int NV, int MR>
constexpr void fill(Tiles<typename Op::element>& t) {
  t.of[0][NV][MR] = tile<Op, MR, NV, false>, t.of[1][NV][MR] = tile<Op, MR, NV, true>;
  if constexpr (MR > 1) {
    fill<Op, NV, MR - 1>(t);
  } else if constexpr (NV > 1) {
    fill<Op, NV - 1, tallest(NV - 1)>(t);
  }
}
template <class Op>
constexpr Tiles<typename Op::element> every_tile() {
  Tiles<typename Op::element> t{};
  fill<Op, widest, tallest(widest)>(t);
  return t;
}
template <class Op>
constexpr Tiles<typename Op::element> tiles = every_tile<Op>();

/// C (M x N) = A (M x K) B (K x N), or with A (K x M) when `transposed`; += when `add`.
template <class Op, bool transposed, class E = typename Op::element>
inline void multiply(int64_t M, int64_t N, int64_t K, const E* A, int64_t lda, const E* B, int64_t ldb, real* C,
                     int64_t ldc, bool add) {
  const int64_t vectors = (N + lanes - 1) / lanes, panels = (vectors + widest - 1) / widest;
  for (int64_t p = 0; p < panels; ++p) {
    const int64_t from = vectors * p / panels, width = vectors * (p + 1) / panels - from;
    const TileOf<E>* column = tiles<Op>.of[transposed][width];
    const int64_t tall = tallest(static_cast<int>(width)), steps = (M + tall - 1) / tall;
    for (int64_t s = 0; s < steps; ++s) {
      const int64_t r = M * s / steps, rows = M * (s + 1) / steps - r;
      column[rows](K, A + (transposed ? r : r * lda), lda, B + from * lanes, ldb, C + r * ldc + from * lanes, ldc, add);
    }
  }
}

/// Column of C (M x N): C_i = A_i . b, for the one column that would leave a tile's last vector nearly empty (keys are often 1 + 16 k,
/// with a class token). The rest of its vector becomes 0.
template <class Op, class E = typename Op::element>
void last_column(int64_t M, int64_t K, const E* A, int64_t lda, const E* b, real* C, int64_t ldc) {
  for (int64_t i = 0; i < M; ++i, A += lda, C += ldc) {
    vec x = {};
    int64_t k = 0;
    for (; k + lanes <= K; k += lanes) Op::add(x, Op::load(A + k), Op::load(b + k));
    if (k < K) Op::add(x, Op::load_part(A + k, K - k), Op::load(b + k));
    const real y = sum(x);
    store(C, vec{});
    *C = y;
  }
}

/// C (M x N) = A B, or += when `add`.
template <class Op, class E = typename Op::element>
void product_of(int64_t M, int64_t N, int64_t K, const E* A, int64_t lda, const E* B, int64_t ldb, real* C, int64_t ldc,
                bool add) {
  constexpr int64_t longest = 128;
  if (N % lanes != 1 || N < lanes || K > longest || add)
    return multiply<Op, false>(M, N, K, A, lda, B, ldb, C, ldc, add);
  multiply<Op, false>(M, N - 1, K, A, lda, B, ldb, C, ldc, false);
  E b[longest + lanes];
  int64_t k = 0;
  for (; k < K; ++k) b[k] = B[k * ldb + N - 1];
  for (; k % lanes; ++k) b[k] = 0;
  last_column<Op>(M, K, A, lda, b, C + N - 1, ldc);
}

/// Exchanges the bit W of row and lane in all lanes x lanes elements; all bits together transpose.
template <int W = lanes / 2>
inline void transpose_lanes(vec (&r)[lanes]) {
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
  if constexpr (W > 1) transpose_lanes<W / 2>(r);
}

/// The rows of the next head are asked for while this one's are moved: they are short and far apart, so that no hardware prefetcher
/// sees a pattern, and a backward pass finds them in the last cache at best.
template <bool write>
inline void fetch(const real* row, int64_t d, int64_t ahead) {
  if (ahead == 0) return;
  for (int64_t c = 0; c < d; c += 64 / static_cast<int64_t>(sizeof(real)))
    __builtin_prefetch(row + ahead + c, write, 2);
}

}  // namespace

TESSERA_KERNELS_END
