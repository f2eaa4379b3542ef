// The products in bf16 where the CPU has AVX512-BF16 but no tiles: VDPBF16PS adds two products to each of 16 sums, so that an instruction does
// what two do in fp32. The loops are those of gemm.cpp, compiled once more with TESSERA_PAIRS: its reals are then pairs along k,
// K/2 of them in a row of A. This file makes such pairs, of B when it is packed, of A strip by strip just before use.
//
// Measured, two threads of an idle Zen 5: the 0.8M ViT's step 1506 images/s against 1062 in f32, ViT-Ti/4's 281 against 185.
#include "tessera/core/kernels/bf16_pairs.h"
#include "tessera/core/kernels/gemm_bf16.h"
#include "tessera/core/kernels/simd.h"

TESSERA_KERNELS_BEGIN

void gemm(const GemmTask* task);

enum : int {
  panel = 2 * side,  // columns of a panel
  strip_rows = 56,   // four tiles of 14
  // units in a row of a strip that has its k in rows: an odd number of cache lines, which meet all sets of L1
  strip_row = 80,
};

static int64_t pairs_of(int64_t K) { return (K + 1) / 2; }
static inline void store_units(real* to, __m512i units) { _mm512_storeu_si512(to, units); }

/// The pairs of rows k and k + 1 of a matrix, columns [0, n), n <= 16; beyond K there are zeros.
static inline __m512i rows_zipped(const real* x, int64_t ld, int64_t k, int64_t K, int64_t n) {
  return pairs_across(part(x + k * ld, n), k + 1 < K ? part(x + (k + 1) * ld, n) : __m512{});
}

void bf16_pack(const real* b, int64_t ldb, int64_t K, int64_t N, real* panels) {
  for (int64_t p = 0; p < pairs_of(K); ++p)  // whole rows: B may come from far, and arrives in sequence
    for (int64_t j = 0; j < N; j += panel) {
      real* to = panels + j * pairs_of(K) + p * panel;
      store_units(to, rows_zipped(b + j, ldb, 2 * p, K, N - j));
      store_units(to + side, rows_zipped(b + j + side, ldb, 2 * p, K, N - j - side));
    }
}

void bf16_pack_transposed(const real* w, int64_t ldw, int64_t K, int64_t N, real* panels) {
  __m512i tile[side];
  for (int64_t j = 0; j < N; j += side)
    for (int64_t p = 0; p < pairs_of(K); p += side) {
      load_rows(w + j * ldw + 2 * p, ldw, N - j, K - 2 * p, tile);
      transpose(tile);
      real* to = panels + j / panel * panel * pairs_of(K) + p * panel + j % panel;
      for (int64_t i = 0; i < side && p + i < pairs_of(K); ++i) store_units(to + i * panel, tile[i]);
    }
}

void bf16_gemm(const GemmTask* task) {
  const GemmTask& g = *task;
  const bool transposed = g.a_row == 1 && g.a_col != 1;
  const int64_t pairs = pairs_of(g.K), strips = (g.M + strip_rows - 1) / strip_rows;
  for (int64_t s = 0; s < strips; ++s) {
    GemmTask strip = rows_of(g, g.M * s / strips, g.M * (s + 1) / strips);
    const int64_t rows = strip.M, lines = g.soon ? g.soon_bytes / 64 : 0;
    const real* a = strip.a;
    // what is needed next comes in with all strips, not with the first, which has too few steps for it
    strip.soon = g.soon ? static_cast<const char*>(g.soon) + lines * s / strips * 64 : nullptr;
    strip.soon_bytes = (lines * (s + 1) / strips - lines * s / strips) * 64;
    strip.K = pairs, strip.a = g.scratch;
    if (transposed) {
      strip.a_row = 1, strip.a_col = strip_row;
      for (int64_t p = 0; p < pairs; ++p)
        for (int64_t i = 0; i < rows; i += side)
          store_units(g.scratch + p * strip_row + i, rows_zipped(a + i, g.a_col, 2 * p, g.K, rows - i));
    } else {
      strip.a_row = (pairs + side - 1) / side * side, strip.a_col = 1;
      for (int64_t i = 0; i < rows; ++i)
        for (int64_t p = 0; p < pairs; p += side)
          store_units(g.scratch + i * strip.a_row + p, pairs_along(a + i * g.a_row + 2 * p, g.K - 2 * p));
    }
    gemm(&strip);
  }
}

void bf16_burn(int64_t rounds, double* count, real* sink) {
  // as fma_burn, with 16 chains
  const __m512bh ones = __m512bh(_mm512_set1_epi32(0x3f803f80));
  __m512 sums[16];
  for (int i = 0; i < 16; ++i) sums[i] = _mm512_set1_ps(static_cast<real>(i));
  for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) sums[i] = _mm512_dpbf16_ps(sums[i], ones, ones);
  }
  real total = 0;
  for (int i = 0; i < 16; ++i) total += sum(sums[i]);
  *sink = total;
  *count = static_cast<double>(rounds * (16 * 4 * int64_t{side}));
}

extern constinit const GemmBf16Kernels gemm_bf16_kernels{
    .bf16_pack = bf16_pack,
    .bf16_pack_transposed = bf16_pack_transposed,
    .bf16_gemm = bf16_gemm,
    .bf16_burn = bf16_burn,
};

TESSERA_KERNELS_END
