// Attention's products in bf16 on AMX. Pairs along the rows of A and across those of B (attention_bf16.h) are what tiles hold, so whole tiles are
// loaded from where they lie; those that reach past the last row of A or the last pair of k are copied and filled with zeros. A given as
// (K x M) is turned, 16 x 16 pairs at a time. Eight tile registers: 2 x 2 sums, two of A, two of B.
//
// Measured on an Intel Xeon with AMX, one thread, batch 128, medians of three turns: a step of the 0.8M ViT 122 ms, with the products of
// attention in fp32 131, with those of AVX512-BF16 (attention_bf16.cpp), whose VDPBF16PS is slow on this CPU, 159.
#include "tessera/core/kernels/attention_bf16.h"
#include "tessera/core/kernels/bf16_pairs.h"
#include "tessera/core/kernels/simd.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace dot {  // a CPU with tiles has AVX512-BF16, too
void bf16_along(const real* x, int64_t stride, const int32_t* at, int64_t n, int64_t d, uint32_t* y, int64_t ld,
                int64_t ahead);
void bf16_across(const real* x, int64_t stride, const int32_t* at, int64_t n, int64_t d, uint32_t* y, int64_t ld,
                 int64_t ahead);
void bf16_transposed(const real* x, int64_t stride, const int32_t* at, int64_t n, int64_t d, real scale, uint32_t* y,
                     int64_t ld, int64_t ahead);
}  // namespace dot
}  // namespace TESSERA_NS
}  // namespace tessera

TESSERA_KERNELS_BEGIN

namespace {

constexpr int most_k = 16 * side;  // pairs of a block: a turned strip of A takes 32 KB

/// 16 rows of 16 pairs, `stride` bytes apart.
struct TileAt {
  const void* at;
  int64_t stride;
};
struct alignas(64) Copy {
  uint32_t of[side * side];
};

void configure() {
  struct Config {
    uint8_t palette, start, none[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
  };
  alignas(64) static constexpr Config config = {
      1, 0, {}, {64, 64, 64, 64, 64, 64, 64, 64}, {side, side, side, side, side, side, side, side}};
  _tile_loadconfig(&config);
}

/// The compiler does not know that tile instructions read and write memory.
inline void written() { asm volatile("" ::: "memory"); }

/// The first `rows` rows of a tile, the others 0.
TileAt whole(const uint32_t* from, int64_t ld, int64_t rows, Copy& copy) {
  if (rows >= side) return {from, ld * 4};
  for (int i = 0; i < side; ++i)
    _mm512_store_si512(copy.of + i * side, i < rows ? _mm512_loadu_si512(from + i * ld) : __m512i{});
  return {copy.of, 64};
}

/// The tile of A whose row i is column i of `depth` rows of 16 pairs, `columns` of them there.
void turn(const uint32_t* from, int64_t ld, int64_t depth, int64_t columns, Copy& copy) {
  __m512i r[side];
  for (int k = 0; k < side; ++k) r[k] = k < depth ? _mm512_maskz_loadu_epi32(first(columns), from + k * ld) : __m512i{};
  transpose(r);
  for (int i = 0; i < side; ++i) _mm512_store_si512(copy.of + i * side, r[i]);
}

/// Where tiles of sums begin and end: in C, or in a copy where C has fewer than 16 rows left.
struct Sums {
  real *c, *to;
  int64_t ldc, rows, ld;
  alignas(64) real copy[side * side];
  void begin(real* at, int64_t stride, int64_t left, bool add) {
    c = at, ldc = stride, rows = left;
    to = rows < side ? copy : c, ld = rows < side ? int64_t{side} : ldc;
    if (!add || rows >= side) return;
    for (int i = 0; i < side; ++i) _mm512_store_ps(copy + i * side, i < rows ? _mm512_loadu_ps(c + i * ldc) : __m512{});
  }
  void end() const {
    for (int64_t i = 0; rows < side && i < rows; ++i) _mm512_storeu_ps(c + i * ldc, _mm512_load_ps(copy + i * side));
  }
};

/// 16 R rows by 16 V columns of C. a(i, k), b(k, j) -> TileAt of tile row i and column j from pair k on.
template <int R, int V, class A, class B>
void block(int64_t K, A a, B b, real* C, int64_t ldc, int64_t rows, bool add) {
  Sums s[R][V];
  for (int i = 0; i < R; ++i)
    for (int j = 0; j < V; ++j) s[i][j].begin(C + i * side * ldc + j * side, ldc, rows - i * side, add);
  written();
  if (add) {
    _tile_loadd(0, s[0][0].to, s[0][0].ld * 4);
    if constexpr (V == 2) _tile_loadd(1, s[0][1].to, s[0][1].ld * 4);
    if constexpr (R == 2) _tile_loadd(2, s[1][0].to, s[1][0].ld * 4);
    if constexpr (R == 2 && V == 2) _tile_loadd(3, s[1][1].to, s[1][1].ld * 4);
  } else {
    _tile_zero(0);
    if constexpr (V == 2) _tile_zero(1);
    if constexpr (R == 2) _tile_zero(2);
    if constexpr (R == 2 && V == 2) _tile_zero(3);
  }
  for (int64_t k = 0; k < K; k += side) {
    const TileAt a0 = a(0, k), b0 = b(k, 0);
    const TileAt a1 = R == 2 ? a(1, k) : a0, b1 = V == 2 ? b(k, 1) : b0;
    written();
    _tile_loadd(4, a0.at, a0.stride);
    _tile_loadd(6, b0.at, b0.stride);
    if constexpr (V == 2) _tile_loadd(7, b1.at, b1.stride);
    if constexpr (R == 2) _tile_loadd(5, a1.at, a1.stride);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (V == 2) _tile_dpbf16ps(1, 4, 7);
    if constexpr (R == 2) _tile_dpbf16ps(2, 5, 6);
    if constexpr (R == 2 && V == 2) _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, s[0][0].to, s[0][0].ld * 4);
  if constexpr (V == 2) _tile_stored(1, s[0][1].to, s[0][1].ld * 4);
  if constexpr (R == 2) _tile_stored(2, s[1][0].to, s[1][0].ld * 4);
  if constexpr (R == 2 && V == 2) _tile_stored(3, s[1][1].to, s[1][1].ld * 4);
  written();
  for (int i = 0; i < R; ++i)
    for (int j = 0; j < V; ++j) s[i][j].end();
}

/// Rows [i, i + 32) of C; a(t, k): tile row t of them.
template <class A>
void strip(int64_t left, int64_t N, int64_t K, A a, const uint32_t* B, int64_t ldb, real* C, int64_t ldc, bool add) {
  for (int64_t j = 0; j < N; j += 2 * side) {
    Copy copy[2];
    const auto b = [&](int64_t k, int t) { return whole(B + k * ldb + j + t * side, ldb, K - k, copy[t]); };
    if (left > side) {
      N - j > side ? block<2, 2>(K, a, b, C + j, ldc, left, add) : block<2, 1>(K, a, b, C + j, ldc, left, add);
    } else {
      N - j > side ? block<1, 2>(K, a, b, C + j, ldc, left, add) : block<1, 1>(K, a, b, C + j, ldc, left, add);
    }
  }
}

}  // namespace

void bf16_product(int64_t M, int64_t N, int64_t K, const uint32_t* A, int64_t lda, const uint32_t* B, int64_t ldb,
                  real* C, int64_t ldc, bool add) {
  configure();
  for (int64_t i = 0; i < M; i += 2 * side) {
    Copy copy[2];
    const auto a = [&](int t, int64_t k) {
      return whole(A + (i + t * side) * lda + k, lda, M - i - t * side, copy[t]);
    };
    strip(M - i, N, K, a, B, ldb, C + i * ldc, ldc, add);
  }
  _tile_release();
}

void bf16_product_tn(int64_t M, int64_t N, int64_t K, const uint32_t* A, int64_t lda, const uint32_t* B, int64_t ldb,
                     real* C, int64_t ldc, bool add) {
  Copy turned[2][most_k / side];
  configure();
  for (int64_t k0 = 0; k0 < K; k0 += most_k) {
    const int64_t depth = K - k0 < most_k ? K - k0 : int64_t{most_k};
    for (int64_t i = 0; i < M; i += 2 * side) {
      for (int t = 0; t < 2; ++t)
        for (int64_t k = 0; k < depth && i + t * side < M; k += side)
          turn(A + (k0 + k) * lda + i + t * side, lda, depth - k, M - i - t * side, turned[t][k / side]);
      const auto a = [&](int t, int64_t k) { return TileAt{turned[t][k / side].of, 64}; };
      strip(M - i, N, depth, a, B + k0 * ldb, ldb, C + i * ldc, ldc, add || k0 > 0);
    }
  }
  _tile_release();
}

extern constinit const AttentionBf16Kernels attention_bf16_kernels{
    .bf16_product = bf16_product,
    .bf16_product_tn = bf16_product_tn,
    .bf16_along = dot::bf16_along,
    .bf16_across = dot::bf16_across,
    .bf16_transposed = dot::bf16_transposed,
};

TESSERA_KERNELS_END
