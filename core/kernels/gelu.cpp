#include "tessera/core/kernels/gelu.h"

#include "tessera/core/kernels/math.h"

TESSERA_KERNELS_BEGIN

void sum_rows(const real* x, real* y, real beta, int64_t rows, int64_t width);

void gelu_and_slope(const real* x, real* y, real* slope, int64_t n) {
  const auto one = [](vec v, vec& s) {
    const Normal normal_at = normal(v);
    s = normal_at.cdf + v * normal_at.pdf;
    return v * normal_at.cdf;
  };
  int64_t i = 0;
  vec s;
  for (; i + lanes <= n; i += lanes) store(y + i, one(load(x + i), s)), store(slope + i, s);
  if (const int64_t r = n - i) store_part(y + i, one(load_part(x + i, r), s), r), store_part(slope + i, s, r);
}

void scale_and_sum_rows(const real* slope, real* x, real* sums, real beta, int64_t rows, int64_t width) {
  for (int64_t i = 0; i < rows; ++i)
    map(width, x + i * width, x + i * width, slope + i * width, [](vec a, vec b) { return a * b; });
  if (sums) sum_rows(x, sums, beta, rows, width);
}

extern constinit const GeluKernels gelu_kernels{
    .gelu_and_slope = gelu_and_slope,
    .scale_and_sum_rows = scale_and_sum_rows,
};

TESSERA_KERNELS_END
