// The operands of convolutions in bf16 where the CPU has AVX512-BF16: maps whose units are pairs, of two channels of a cell for the products
// (multiply), of two cells for the weight gradient, whose sum runs over cells. The loops are those of conv_lines.cpp, compiled with TESSERA_PAIRS.
//
// Measured on one core of an AMD Zen 4, 8 images (tests/bench/conv_bench.cpp, bf16), in % of the multiply-add peak, forward, dx and dw, beside gathered
// patches: 3x3 of 64 channels, 8x8, 96 97 86 / 72 76 66; of 128, 16x16, 96 96 85 / 81 82 75 (at another time than those of conv_lines.cpp)
#include "tessera/core/kernels/bf16_pairs.h"
#include "tessera/core/kernels/conv_lines.h"

TESSERA_KERNELS_BEGIN

void multiply_line_pairs(const LineTask& g);
void weigh_line_pairs(const LineTask& g);

static inline void store_first(real* to, __m512i units, int64_t n) { _mm512_mask_storeu_epi32(to, first(n), units); }

static void clear(real* to, int64_t n) {
  for (int64_t i = 0; i < n; i += side) store_first(to + i, __m512i{}, n - i);
}

/// `n` numbers in a row as ceil(n / 2) units.
static void pair_up(const real* x, int64_t n, real* to) {
  for (int64_t i = 0; i < n; i += deep) store_first(to + i / 2, pairs_along(x + i, n - i), (n - i + 1) / 2);
}

static void pad(const PaddedLines& p, real* to) {
  const int64_t units = (p.I + 1) / 2;
  int64_t lo = p.left > 0 ? p.left : 0, hi = p.left + p.W < p.width ? p.left + p.W : p.width;
  if (lo > p.width) lo = p.width;
  if (hi < lo) hi = lo;
  for (int64_t l = p.first; l < p.first + p.lines; ++l, to += p.width * units) {
    const int64_t y = l - p.top;
    if (y < 0 || y >= p.H) {
      clear(to, p.width * units);
      continue;
    }
    const real* from = p.x + (y * p.W + lo - p.left) * p.C;
    clear(to, lo * units);
    if (p.I == p.C && p.I % 2 == 0) {
      pair_up(from, (hi - lo) * p.I, to + lo * units);
    } else {
      for (int64_t x = lo; x < hi; ++x, from += p.C) pair_up(from, p.I, to + x * units);
    }
    clear(to + hi * units, (p.width - hi) * units);
  }
}

static void zip(const PaddedLines& p, real* to) {
  for (int64_t l = p.first; l < p.first + p.lines; ++l) {
    const int64_t y = l - p.top;
    const bool inside = y >= 0 && y < p.H;
    for (int64_t x = 0; x < p.width; ++x, to += p.I) {
      const int64_t one = x - p.left, two = one + p.ahead;
      const bool has_one = inside && one >= 0 && one < p.W,
                 has_two = inside && two >= 0 && two < p.W && x + p.ahead < p.width;
      const real *a = p.x + (y * p.W + one) * p.C, *b = a + p.ahead * p.C;
      for (int64_t i = 0; i < p.I; i += side)
        store_first(to + i,
                    pairs_across(has_one ? part(a + i, p.I - i) : __m512{}, has_two ? part(b + i, p.I - i) : __m512{}),
                    p.I - i);
    }
  }
}

static void zip_rows(const real* dy, int64_t ld, int64_t rows, int64_t pixels, int64_t N, real* to) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t x = 0; x < pixels; x += 2) {
      const bool two = x + 1 < pixels;
      for (int64_t j = 0; j < N; j += side, to += side)
        _mm512_storeu_si512(to, pairs_across(part(dy + j, N - j), two ? part(dy + ld + j, N - j) : __m512{}));
      dy += two ? 2 * ld : ld;
    }
}

extern constinit const ConvLineBf16Kernels conv_line_bf16_kernels{
    .conv_lines_bf16 = {.pair = 2,
                        .pad = pad,
                        .zip = zip,
                        .zip_rows = zip_rows,
                        .multiply = multiply_line_pairs,
                        .weigh = weigh_line_pairs},
};

TESSERA_KERNELS_END
