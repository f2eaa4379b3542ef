#include "core/kernels/lists.h"
#include "core/kernels/math.h"

TESSERA_KERNELS_BEGIN

void accumulate(const real* x, real* y, int64_t n) {
  map(n, y, x, y, [](vec a, vec b) { return a + b; });
}

void add(const real* a, const real* b, real* y, int64_t n) {
  map(n, y, a, b, [](vec p, vec q) { return p + q; });
}

static inline vec normal_cdf(vec x) { return static_cast<real>(0.5) + static_cast<real>(0.5) * erf(x * static_cast<real>(0.70710678118654752)); }
static inline vec normal_pdf(vec x) { return static_cast<real>(0.39894228040143268) * exp(x * x * static_cast<real>(-0.5)); }

void gelu(const real* x, real* y, int64_t n) {
  map(n, y, x, [](vec v) { return v * normal_cdf(v); });
}

void gelu_backward(const real* x, const real* dy, real* dx, real beta, int64_t n) {
  const auto slope = [](vec v) { return normal_cdf(v) + v * normal_pdf(v); };
  if (beta == 0) return map(n, dx, x, dy, [&](vec v, vec d) { return d * slope(v); });
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) store(dx + i, beta * load(dx + i) + load(dy + i) * slope(load(x + i)));
  if (const int64_t r = n - i)
    store_part(dx + i, beta * load_part(dx + i, r) + load_part(dy + i, r) * slope(load_part(x + i, r)), r);
}

void sum_rows(const real* x, real* y, real beta, int64_t rows, int64_t width) {
  for (int64_t c = 0; c < width; c += lanes) {
    const int64_t r = width - c < lanes ? width - c : int64_t{lanes};
    vec s[4] = {};
    int64_t i = 0;
    if (r == lanes) {
      for (; i + 4 <= rows; i += 4)
        for (int k = 0; k < 4; ++k) s[k] += load(x + (i + k) * width + c);
    }
    for (; i < rows; ++i) s[0] += load_part(x + i * width + c, r);
    vec total = (s[0] + s[1]) + (s[2] + s[3]);
    if (beta != 0) total += beta * load_part(y + c, r);
    store_part(y + c, total, r);
  }
}

TESSERA_KERNELS_END
