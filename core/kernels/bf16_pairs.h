#pragma once
// Pairs of bfloat16 numbers, which AVX512-BF16 and AMX multiply: a unit of 32 bits holds the k-th and the next number of a row of A or a
// column of B, side by side. These functions round fp32 numbers (ties to even; below 2^-126 to 0) and make tiles of 16 x 16 units of them.
#if defined(__GNUC__) && !defined(__clang__)
// GCC 12 takes the undefined operand inside its own unmasked intrinsics for a mistake (GCC bug 105593)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include "tessera/core/kernels/simd.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace v4 {  // a CPU with these instructions has AVX-512, too
void gelu(const real* x, real* y, int64_t n);
void gelu_and_slope(const real* x, real* y, real* slope, int64_t n);
}  // namespace v4
}  // namespace TESSERA_NS
}  // namespace tessera

TESSERA_KERNELS_BEGIN

using half = uint16_t;                    // bfloat16
constexpr int side = 16;                  // rows of a tile; units in each
constexpr int deep = 2 * side;            // k of a tile
constexpr int tile_halves = side * deep;  // numbers of a tile

static inline __mmask16 first(int64_t n) {
  return n >= side ? __mmask16(0xffff) : n <= 0 ? __mmask16(0) : __mmask16((1u << n) - 1);
}
/// The first n numbers; a whole vector, which most are, needs no mask.
static inline __m512 part(const real* p, int64_t n) {
  return n >= side ? _mm512_loadu_ps(p) : _mm512_maskz_loadu_ps(first(n), p);
}

/// 32 numbers in a row, as 16 pairs.
static inline __m512i pairs_along(const real* p, int64_t n) {
  return __m512i(_mm512_cvtne2ps_pbh(n > side ? part(p + side, n - side) : __m512{}, part(p, n)));
}
/// Lane j: a[j] and b[j].
static inline __m512i pairs_across(__m512 a, __m512 b) {
  alignas(64) static constexpr half zip[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                               8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  return _mm512_permutexvar_epi16(_mm512_load_si512(zip), __m512i(_mm512_cvtne2ps_pbh(b, a)));
}

/// The transpose of 16 x 16 units of 32 bits: pairs, then quadruples, then lanes of 128 bits change places.
static inline void transpose(__m512i (&r)[side]) {
  __m512i t[side];
  for (int i = 0; i < side; i += 2)
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]), t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  for (int i = 0; i < side; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]), r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]), r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  // lane L of r[4 g + c] holds column 4 L + c of rows 4 g .. 4 g + 3
  for (int c = 0; c < 4; ++c) {
    const __m512i a = _mm512_shuffle_i32x4(r[c], r[4 + c], 0x44), b = _mm512_shuffle_i32x4(r[c], r[4 + c], 0xee);
    const __m512i d = _mm512_shuffle_i32x4(r[8 + c], r[12 + c], 0x44);
    const __m512i e = _mm512_shuffle_i32x4(r[8 + c], r[12 + c], 0xee);
    t[c] = _mm512_shuffle_i32x4(a, d, 0x88), t[4 + c] = _mm512_shuffle_i32x4(a, d, 0xdd);
    t[8 + c] = _mm512_shuffle_i32x4(b, e, 0x88), t[12 + c] = _mm512_shuffle_i32x4(b, e, 0xdd);
  }
  for (int i = 0; i < side; ++i) r[i] = t[i];
}

static inline void store_tile(half* to, const __m512i (&r)[side]) {
  for (int i = 0; i < side; ++i) _mm512_store_si512(to + i * deep, r[i]);
}

/// The tile whose unit (i, p) is the pair x[i][2 p], x[i][2 p + 1] for rows < n, k < depth, of a matrix whose rows are contiguous.
static inline void load_rows(const real* x, int64_t ld, int64_t n, int64_t depth, __m512i (&r)[side]) {
  for (int i = 0; i < side; ++i) r[i] = i < n ? pairs_along(x + i * ld, depth) : __m512i{};
}
/// The tile whose unit (p, j) is the pair x[2 p][j], x[2 p + 1][j] for k < depth, columns < n.
static inline void load_columns(const real* x, int64_t ld, int64_t n, int64_t depth, __m512i (&r)[side]) {
  for (int p = 0; p < side; ++p)
    r[p] = 2 * p < depth
               ? pairs_across(part(x + 2 * p * ld, n), 2 * p + 1 < depth ? part(x + (2 * p + 1) * ld, n) : __m512{})
               : __m512i{};
}

TESSERA_KERNELS_END
