// The plain version of the products in bf16: both operands are rounded where they are packed, and the fp32 kernel does the rest. It says
// what bf16 means and runs everywhere; where the CPU can, dot_bf16.cpp or amx.cpp takes its place.
#include "tessera/core/kernels/gemm_bf16.h"

#include "tessera/core/kernels/simd.h"

TESSERA_KERNELS_BEGIN

void gemm_pack(const real* b, int64_t ldb, int64_t K, int64_t N, real* panels);
void gemm_pack_transposed(const real* w, int64_t ldw, int64_t K, int64_t N, real* panels);
void gemm(const GemmTask* task);
void fma_burn(int64_t rounds, double* count, real* sink);

/// The nearest bfloat16, which is the upper half of a float; ties to even. A NaN stays one.
static inline vec rounded(vec v) {
  if constexpr (sizeof(real) == 4) {
    const uvec bits = uvec(v);
    const ivec number = v == v;  // NOLINT(misc-redundant-expression): a NaN is not
    return select(number, vec((bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff0000), v);
  }
  return v;  // the double twin rounds nothing
}

static void round_all(const real* x, real* y, int64_t n) {
  map(n, y, x, [](vec v) { return rounded(v); });
}

static int64_t panels_size(int64_t K, int64_t N) {
  enum : int { panel = 2 * lanes };
  return (N + panel - 1) / panel * panel * K;
}

void bf16_pack(const real* b, int64_t ldb, int64_t K, int64_t N, real* panels) {
  gemm_pack(b, ldb, K, N, panels);
  round_all(panels, panels, panels_size(K, N));
}

void bf16_pack_transposed(const real* w, int64_t ldw, int64_t K, int64_t N, real* panels) {
  gemm_pack_transposed(w, ldw, K, N, panels);
  round_all(panels, panels, panels_size(K, N));
}

void bf16_gemm(const GemmTask* task) {
  constexpr int64_t most = 56;  // rows of a strip of A: some tiles of any height
  const GemmTask& g = *task;
  const bool transposed = g.a_row == 1 && g.a_col != 1;
  for (int64_t i = 0; i < g.M; i += most) {
    GemmTask strip = rows_of(g, i, g.M - i < most ? g.M : i + most);
    const int64_t rows = strip.M;
    const real* a = strip.a;
    if (transposed) {
      for (int64_t k = 0; k < g.K; ++k) round_all(a + k * g.a_col, g.scratch + k * most, rows);
    } else {
      for (int64_t r = 0; r < rows; ++r) round_all(a + r * g.a_row, g.scratch + r * g.K, g.K);
    }
    strip.a = g.scratch, strip.a_row = transposed ? 1 : g.K, strip.a_col = transposed ? most : 1;
    gemm(&strip);
  }
}

void bf16_burn(int64_t rounds, double* count, real* sink) { fma_burn(rounds, count, sink); }

extern constinit const GemmBf16Kernels gemm_bf16_kernels{
    .bf16_pack = bf16_pack,
    .bf16_pack_transposed = bf16_pack_transposed,
    .bf16_gemm = bf16_gemm,
    .bf16_burn = bf16_burn,
};

TESSERA_KERNELS_END
