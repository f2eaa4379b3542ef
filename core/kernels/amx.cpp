// The products in bf16 on AMX, which multiplies tiles: C (16,16) += A (16,32) B (32,16), operands in bfloat16, sums in fp32. Eight tile
// registers hold 2 x 2 sums, two of A, two of B, so that each tile that is loaded is used twice.
//
// A tile of B has one row for two k: B[k][n], B[k+1][n] side by side, n = 0..15. Panels of 32 columns hold such tiles, one pair for
// every 32 k, in the order in which they are read. A's strip of 32 rows is rounded just before it is used, and stays in L1 for all panels; both
// operands of a weight gradient have their k in columns, so there A is transposed on the way, pairs of k as units of 32 bits.
// What does not fill a tile is padded with zeros. As in gemm.cpp the sum over k has an order that depends on K alone.
//
// Measured on Intel Xeons with AMX, the 0.8M ViT's step, two threads: 1446 images/s against 684 in f32 (gemm.cpp), on a newer one 2094 against
// 965. Fetching the rows of C and what comes next a few lines a block of k, not in a burst, made the step 5-12 % faster.
// A product whose operands are in L1 and L2 reaches three quarters of the peak and in a step a third: there it waits for memory. Writing tiles of sums
// straight to C and blocks of k half as long, a quarter faster in L2, gained nothing in a step of either ViT (medians of three turns).
//
// AMX treats numbers below 2^-126 as 0, which the plain version does not.
#include "tessera/core/kernels/bf16_pairs.h"
#include "tessera/core/kernels/gemm_bf16.h"
#include "tessera/core/kernels/simd.h"

TESSERA_KERNELS_BEGIN

enum : int {
  panel = 2 * side,  // columns of a panel, rows of a strip
  most_k =
      18 *
      deep,  // of a block: a strip of A takes 36 KB; 8 images of 65 tokens, which are the k of a weight gradient, make one block
  most_n = (1 << 20) / (most_k * 2) / panel * panel,  // of a block: 1 MB of panels
};

static int64_t blocks_of(int64_t K) { return (K + deep - 1) / deep; }

void bf16_pack(const real* b, int64_t ldb, int64_t K, int64_t N, real* panels) {
  __m512i tile[side];
  for (int64_t k = 0; k < blocks_of(K); ++k)
    for (int64_t j = 0; j < N; j += panel) {
      half* to = reinterpret_cast<half*>(panels) + (j / panel * blocks_of(K) + k) * 2 * tile_halves;
      for (int h = 0; h < 2; ++h) {
        load_columns(b + k * deep * ldb + j + h * side, ldb, N - j - h * side, K - k * deep, tile);
        store_tile(to + h * tile_halves, tile);
      }
    }
}

void bf16_pack_transposed(const real* w, int64_t ldw, int64_t K, int64_t N, real* panels) {
  __m512i tile[side];
  half* to = reinterpret_cast<half*>(panels);
  for (int64_t j = 0; j < N; j += panel)
    for (int64_t k = 0; k < blocks_of(K); ++k)
      for (int h = 0; h < 2; ++h, to += tile_halves) {
        load_rows(w + (j + h * side) * ldw + k * deep, ldw, N - j - h * side, K - k * deep, tile);
        transpose(tile);
        store_tile(to, tile);
      }
}

/// Rows [0, n) of A, n <= 32, for k in [0, depth): tiles in the order k, then both halves of the rows.
static void pack_strip(const real* a, int64_t row, int64_t col, int64_t n, int64_t depth, half* strip) {
  const bool transposed = row == 1 && col != 1;
  __m512i tile[side];
  for (int64_t k = 0; k < depth; k += deep)
    for (int64_t i = 0; i < panel; i += side, strip += tile_halves) {
      if (i >= n) continue;
      if (transposed) {
        load_columns(a + k * col + i, col, n - i, depth - k, tile);
        transpose(tile);
      } else {
        load_rows(a + i * row + k, row, n - i, depth - k, tile);
      }
      store_tile(strip, tile);
    }
}

/// The compiler does not know that tile instructions read memory.
static inline void written() { asm volatile("" ::: "memory"); }

static void configure() {
  struct Config {
    uint8_t palette, start, none[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
  };
  alignas(64) static constexpr Config config = {
      1, 0, {}, {64, 64, 64, 64, 64, 64, 64, 64}, {side, side, side, side, side, side, side, side}};
  asm volatile("ldtilecfg %0" ::"m"(config));
}

/// Memory that comes nearer while tiles multiply, a few lines for every block of k: a burst would wait for fill buffers.
struct Near {
  const char* c;  // where the sums will go, row by row
  int64_t ldc;    // in bytes
  int64_t rows;   // for every block of k
  const char* soon;
  int64_t left;  // lines
};
static inline void fetch(Near& n) {
  for (int64_t r = 0; r < n.rows; ++r, n.c += n.ldc) __builtin_prefetch(n.c, 1), __builtin_prefetch(n.c + 64, 1);
  if (n.left <= 0) return;
  n.left -= 8;
  for (int l = 0; l < 8; ++l, n.soon += 64) __builtin_prefetch(n.soon, 0, 2);
}

/// sums (32,32) = strip x panel over `blocks` blocks of k; only the first R x V tiles.
template <int R, int V>
static void multiply(const half* strip, const half* b, int64_t blocks, real* sums, Near& near) {
  _tile_zero(0);
  if constexpr (V == 2) _tile_zero(1);
  if constexpr (R == 2) _tile_zero(2);
  if constexpr (R == 2 && V == 2) _tile_zero(3);
  for (int64_t k = 0; k < blocks; ++k, strip += 2 * tile_halves, b += 2 * tile_halves) {
    fetch(near);
    _tile_loadd(4, strip, 64);
    _tile_loadd(6, b, 64);
    if constexpr (V == 2) _tile_loadd(7, b + tile_halves, 64);
    if constexpr (R == 2) _tile_loadd(5, strip + tile_halves, 64);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (V == 2) _tile_dpbf16ps(1, 4, 7);
    if constexpr (R == 2) _tile_dpbf16ps(2, 5, 6);
    if constexpr (R == 2 && V == 2) _tile_dpbf16ps(3, 5, 7);
  }
  constexpr int row = panel * int{sizeof(real)};
  _tile_stored(0, sums, row);
  if constexpr (V == 2) _tile_stored(1, sums + side, row);
  if constexpr (R == 2) _tile_stored(2, sums + side * panel, row);
  if constexpr (R == 2 && V == 2) _tile_stored(3, sums + side * panel + side, row);
}

/// C (rows, columns) = beta C + sums + bias + add.
static inline void finish(const real* sums, int64_t rows, int64_t columns, real beta, real* c, int64_t ldc,
                          const real* bias, const real* add, int64_t ld_add) {
  for (int64_t j = 0; j < columns; j += side) {
    const __mmask16 mask = first(columns - j);
    const __m512 offset = bias ? _mm512_maskz_loadu_ps(mask, bias + j) : __m512{};
    for (int64_t i = 0; i < rows; ++i) {
      __m512 v = _mm512_load_ps(sums + i * panel + j) + offset;
      if (beta != 0) v += beta * _mm512_maskz_loadu_ps(mask, c + i * ldc + j);
      if (add) v += _mm512_maskz_loadu_ps(mask, add + i * ld_add + j);
      _mm512_mask_storeu_ps(c + i * ldc + j, mask, v);
    }
  }
}

void bf16_gemm(const GemmTask* task) {
  const GemmTask& g = *task;
  if (g.M <= 0 || g.N <= 0) return;
  const int64_t blocks = blocks_of(g.K), k_blocks = g.K > most_k ? (g.K + most_k - 1) / most_k : 1;
  const half* panels = reinterpret_cast<const half*>(g.panels);
  half* strip = reinterpret_cast<half*>(g.scratch);
  alignas(64) real sums[panel * panel];
  Near near{nullptr, g.ldc * int64_t{sizeof(real)}, 0, static_cast<const char*>(g.soon),
            g.soon ? g.soon_bytes / 64 : 0};
  configure();
  for (int64_t n0 = 0; n0 < g.N; n0 += most_n)
    for (int64_t q = 0; q < k_blocks; ++q) {
      const int64_t n1 = g.N - n0 < most_n ? g.N : n0 + most_n;
      const int64_t b0 = blocks * q / k_blocks, b1 = blocks * (q + 1) / k_blocks, k0 = b0 * deep;
      const int64_t depth = (b1 * deep < g.K ? b1 * deep : g.K) - k0;
      const bool last = q + 1 == k_blocks;
      for (int64_t i = 0; i < g.M; i += panel) {
        const int64_t rows = g.M - i < panel ? g.M - i : int64_t{panel};
        pack_strip(g.a + i * g.a_row + k0 * g.a_col, g.a_row, g.a_col, rows, depth, strip);
        written();
        for (int64_t j = n0; j < n1; j += panel) {
          const int64_t columns = n1 - j < panel ? n1 - j : int64_t{panel};
          const half* b = panels + (j / panel * blocks + b0) * 2 * tile_halves;
          near.c = reinterpret_cast<const char*>(g.c + i * g.ldc + j),
          near.rows = b1 > b0 ? (rows + b1 - b0 - 1) / (b1 - b0) : 0;
          if (rows > side) {
            (columns > side ? multiply<2, 2> : multiply<2, 1>)(strip, b, b1 - b0, sums, near);
          } else {
            (columns > side ? multiply<1, 2> : multiply<1, 1>)(strip, b, b1 - b0, sums, near);
          }
          finish(sums, rows, columns, q ? 1 : g.beta, g.c + i * g.ldc + j, g.ldc, g.bias && last ? g.bias + j : nullptr,
                 g.add && last ? g.add + i * g.ld_add + j : nullptr, g.ld_add);
        }
        if (!g.gelu || !last) continue;
        for (int64_t r = i; r < i + rows; ++r) {  // they are still in L1
          real* c = g.c + r * g.ldc + n0;
          if (g.slope) {
            v4::gelu_and_slope(c, c, g.slope + r * g.ld_slope + n0, n1 - n0);
          } else {
            v4::gelu(c, c, n1 - n0);
          }
        }
      }
    }
  _tile_release();
}

void bf16_burn(int64_t rounds, double* count, real* sink) {
  alignas(64) real sums[side * side];
  configure();
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(6);
  const int64_t runs = rounds / 8 + 1;  // for about the time that fma_burn takes
  for (int64_t i = 0; i < runs; ++i) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 6);
    _tile_dpbf16ps(2, 4, 6);
    _tile_dpbf16ps(3, 4, 6);
  }
  _tile_stored(0, sums, side * int{sizeof(real)});
  _tile_release();
  *sink = sums[0];
  *count = static_cast<double>(runs * (4 * 2 * int64_t{side} * side * deep));
}

extern constinit const GemmBf16Kernels gemm_bf16_kernels{
    .bf16_pack = bf16_pack,
    .bf16_pack_transposed = bf16_pack_transposed,
    .bf16_gemm = bf16_gemm,
    .bf16_burn = bf16_burn,
};

TESSERA_KERNELS_END
