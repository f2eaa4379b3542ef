// Matrix products. One micro-kernel computes a tile of C, R rows by two vectors, in registers: for each k it loads a
// row of a panel of B as two vectors, broadcasts R elements of A from where they lie (no packing of A: both x and dy^T
// are read in place) and does 2 R multiply-adds. A panel holds 2 * lanes columns of B for all k, contiguously.
//
// R is up to 14 with 32 registers (28 sums, 2 of B, 1 of A; AVX-512, NEON) and up to 6 with 16. M is cut into tiles of
// nearly equal height, so that the last one is not a thin one (520 rows: 38 tiles of 13 or 14).
// Loops: blocks of k and n so that the panels in use stay in L2; then tiles of rows, whose part of A (14 x 264 floats,
// 15 KB) stays in L1; then panels, which stream from L2 at 9 bytes a cycle. The sum over k of an element of C has a
// fixed order that depends on K alone, whatever M, N and the number of threads.
//
// Measured on an Intel Xeon (model 207), two threads, shards of 8 images of ViTs of width 128 and 192, output and saved input cold as in
// training (TESSERA_ISA=avx512 gemm_bench), in % of the FMA peak, ours / OpenBLAS 0.3.21, a turn without neighbours:
//   forward (nt) 71-88 / 66-76     input gradient (nn) 77-93 / 71-82     weight gradient (tn) 71-89 / 63-81
// A head of ten classes is 32-48 / 49-72: ten of 32 columns of a panel are used, and OpenBLAS is faster.
// What gained: sums pinned to their registers (+3 points), the weight gradient's operands fetched by the product before it
// and packed block by block (+10), C fetched a row at a time (+3). What did not: packing A, fetching panels ahead.
#include "tessera/core/kernels/gemm.h"

#include "tessera/core/kernels/gemm_tile.h"
#if defined(TESSERA_PAIRS)
#include "tessera/core/kernels/bf16_pairs.h"
#endif

TESSERA_KERNELS_BEGIN

#if defined(TESSERA_PAIRS)
using v4::gelu, v4::gelu_and_slope;
#else
void gelu(const real* x, real* y, int64_t n);
void gelu_and_slope(const real* x, real* y, real* slope, int64_t n);
#endif
void gemm_pack(const real* b, int64_t ldb, int64_t K, int64_t N, real* panels);

enum : int {
  most_k = 272,                                                       // of a block
  most_n = (1 << 20) / (most_k * int{sizeof(real)}) / panel * panel,  // of a block: 1 MB of panels
};

/// All that is to come, handed out tile by tile.
struct Soon {
  const char* at;
  int64_t left, step;  // in lines, in bytes
  Lines next(int64_t lines, const real* idle) {
    if (left <= 0) return {reinterpret_cast<const char*>(idle), 0};
    left -= lines;  // a few lines past the end do no harm
    return {(at += lines * step) - lines * step, step};
  }
};

template <int R, int V, bool transposed>
__attribute__((noinline)) static void tile(const Tile& t) {
  Sums<R, V> s;
  clear(upto<R>(), s);
  if constexpr (transposed) {
    sum_along_columns<true>(s, t);
  } else {
    sum_along_rows<true>(s, t);
  }
  finish(upto<R>(), s, t);
}

using TileKernel = void (*)(const Tile&);
struct TileKernels {
  TileKernel of[tile_rows][2][2];  // [rows - 1][vectors - 1][transposed]
};
template <int... I>
static constexpr TileKernels all_tiles(Indices<I...>) {
  return {{{{tile<I + 1, 1, false>, tile<I + 1, 1, true>}, {tile<I + 1, 2, false>, tile<I + 1, 2, true>}}...}};
}
static constexpr TileKernels tiles = all_tiles(upto<tile_rows>());

/// The part of a task whose panels are in L2 together: the sum over [k0, k1) for columns [n0, n1).
struct Block {
  int64_t k0, k1, n0, n1;
  const real* panels;
  int64_t step;  // reals from panel to panel
};

/// A row tile of a block; the epilogue comes with the last block of k.
static void row_tile(const GemmTask& g, const Block& block, Soon& soon, int64_t i0, int64_t i1) {
  const bool transposed = g.a_row == 1 && g.a_col != 1, last = block.k1 == g.K;
  Tile t{};
  t.a = g.a + i0 * g.a_row + block.k0 * g.a_col;
  t.b = block.panels;
  t.stride = transposed ? g.a_col : g.a_row, t.b_stride = panel;
  t.K = block.k1 - block.k0, t.beta = block.k0 ? 1 : g.beta, t.ldc = g.ldc, t.ld_add = g.ld_add;
  const int64_t lines = t.K / 4;
  // the next tile's strip of A, a line a row, ends where its last element lies
  Soon strip{reinterpret_cast<const char*>(t.a + (2 * i1 - i0 <= g.M ? 2 * i1 - i0 : g.M) - i0 - 1),
             transposed && i1 < g.M ? t.K : 0, t.stride * int64_t{sizeof(real)}};
  for (int64_t j = block.n0; j < block.n1; j += panel, t.b += block.step) {
    t.c = g.c + i0 * g.ldc + j;
    t.bias = g.bias && last ? g.bias + j : nullptr;
    t.add = g.add && last ? g.add + i0 * g.ld_add + j : nullptr;
    t.columns = block.n1 - j < panel ? block.n1 - j : int64_t{panel};
    t.soon = soon.next(lines, t.b);
    t.strip = strip.next(lines, t.b);
    tiles.of[i1 - i0 - 1][t.columns > lanes][transposed](t);
  }
  if (!g.gelu || !last) return;
  for (int64_t i = i0; i < i1; ++i) {  // the tile's rows of C are still in L1
    real* c = g.c + i * g.ldc + block.n0;
    if (g.slope) {
      gelu_and_slope(c, c, g.slope + i * g.ld_slope + block.n0, block.n1 - block.n0);
    } else {
      gelu(c, c, block.n1 - block.n0);
    }
  }
}

void gemm(const GemmTask* task) {
  const GemmTask& g = *task;
  if (g.M <= 0 || g.N <= 0) return;
  const int64_t row_tiles = (g.M + tile_rows - 1) / tile_rows;
  const int64_t k_blocks = g.K > most_k ? (g.K + most_k - 1) / most_k : 1;
  Soon soon{static_cast<const char*>(g.soon), g.soon_bytes / 64, 64};
  for (int64_t n0 = 0; n0 < g.N; n0 += most_n)
    for (int64_t q = 0; q < k_blocks; ++q) {
      const int64_t n1 = g.N - n0 < most_n ? g.N : n0 + most_n;
      const int64_t k0 = g.K * q / k_blocks, k1 = g.K * (q + 1) / k_blocks;
      Block block{k0, k1, n0, n1, g.panels + n0 * g.K + k0 * panel, g.K * panel};
      if (g.b) {
        gemm_pack(g.b + k0 * g.ldb + n0, g.ldb, k1 - k0, n1 - n0, g.scratch);
        block.panels = g.scratch, block.step = (k1 - k0) * panel;
        const int64_t rows = g.K * (q + 2) / k_blocks - k1;  // of the next block
        soon = {reinterpret_cast<const char*>(g.b + k1 * g.ldb),
                k1 < g.K ? rows * g.ldb * int64_t{sizeof(real)} / 64 : 0, 64};
      }
      for (int64_t t = 0; t < row_tiles; ++t) row_tile(g, block, soon, g.M * t / row_tiles, g.M * (t + 1) / row_tiles);
    }
}

void gemm_pack(const real* b, int64_t ldb, int64_t K, int64_t N, real* panels) {
  for (int64_t k = 0; k < K;
       ++k, b += ldb, panels += panel) {  // whole rows: B may come from far, and arrives in sequence
    real* to = panels;
    int64_t j = 0;
    for (; j + panel <= N; j += panel, to += K * panel) store(to, load(b + j)), store(to + lanes, load(b + j + lanes));
    if (const int64_t rest = N - j; rest >= lanes) {
      store(to, load(b + j)), store(to + lanes, load_part(b + j + lanes, rest - lanes));
    } else if (rest > 0) {
      store(to, load_part(b + j, rest)), store(to + lanes, vec{});
    }
  }
}

void gemm_pack_transposed(const real* w, int64_t ldw, int64_t K, int64_t N, real* panels) {
  for (int64_t j = 0; j < N; j += panel, panels += panel * K)
    for (int64_t i = 0; i < panel; ++i) {
      const real* row = w + (j + i) * ldw;
      real* to = panels + i;
      if (j + i < N) {
        for (int64_t k = 0; k < K; ++k) to[k * panel] = row[k];
      } else {
        for (int64_t k = 0; k < K; ++k) to[k * panel] = 0;
      }
    }
}

void fma_burn(int64_t rounds, double* count, real* sink) {
  // 12 independent chains hide the latency of two FMA units; each starts elsewhere, or the compiler would keep only one
  const vec m = splat(static_cast<real>(0.999));
  const auto start = [&](int i) TESSERA_INLINE { return m + static_cast<real>(i); };
  vec a = start(0), b = start(1), c = start(2), d = start(3), e = start(4), f = start(5), g = start(6), h = start(7),
      o = start(8), p = start(9), q = start(10), r = start(11);
  for (int64_t i = 0; i < rounds; ++i) {
    a = a * m + m, b = b * m + m, c = c * m + m, d = d * m + m, e = e * m + m, f = f * m + m;
    g = g * m + m, h = h * m + m, o = o * m + m, p = p * m + m, q = q * m + m, r = r * m + m;
  }
  *sink = sum(((a + b) + (c + d)) + ((e + f) + (g + h)) + ((o + p) + (q + r)));
  *count = static_cast<double>(rounds * (12 * 2 * int64_t{lanes}));
}

#if !defined(TESSERA_PAIRS)  // else the table is dot_bf16.cpp's
extern constinit const GemmKernels gemm_kernels{
    .gemm_pack = gemm_pack,
    .gemm_pack_transposed = gemm_pack_transposed,
    .gemm = gemm,
    .fma_burn = fma_burn,
};
#endif

TESSERA_KERNELS_END
