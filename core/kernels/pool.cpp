// Pooling, channels in vectors. In the step of CCT-2/3x2 (batch 64, one core of an AMD Zen 4) max_pool2d took 17 % as a loop of the op and takes 1 %.
#include "tessera/core/kernels/pool.h"

#include "tessera/core/kernels/simd.h"

TESSERA_KERNELS_BEGIN

/// f(channel, load, store) for whole vectors and a partial one.
template <class F>
static inline void each_vector(int64_t C, F f) {
  int64_t c = 0;
  for (; c + lanes <= C; c += lanes)
    f(
        c, [](const real* p) { return load(p); }, [](real* p, vec v) { store(p, v); });
  if (const int64_t n = C - c)
    f(
        c, [n](const real* p) { return load_part(p, n); }, [n](real* p, vec v) { store_part(p, v, n); });
}

void pool_average(const PoolWindow& w, const real* x, real count, real* y) {
  each_vector(w.C, [&](int64_t c, auto get, auto put) {
    vec sum = {};
    for (int64_t i = 0; i < w.rows; ++i)
      for (int64_t j = 0; j < w.columns; ++j) sum += get(x + i * w.row + j * w.C + c);
    put(y + c, sum / count);
  });
}

void pool_average_backward(const PoolWindow& w, const real* dy, real share, real* dx) {
  each_vector(w.C, [&](int64_t c, auto get, auto put) {
    const vec d = share * get(dy + c);
    for (int64_t i = 0; i < w.rows; ++i)
      for (int64_t j = 0; j < w.columns; ++j) {
        real* to = dx + i * w.row + j * w.C + c;
        put(to, get(to) + d);
      }
  });
}

void pool_max(const PoolWindow& w, const real* x, real first, real step, real* y, real* best) {
  each_vector(w.C, [&](int64_t c, auto get, auto put) {
    vec top = splat(-static_cast<real>(__builtin_inf())), at = splat(first);
    real row = first;
    for (int64_t i = 0; i < w.rows; ++i, row += step) {
      real cell = row;
      for (int64_t j = 0; j < w.columns; ++j, cell += 1) {
        const vec v = get(x + i * w.row + j * w.C + c);
        const ivec larger = ~(v <= top) & (top == top);  // NOLINT(misc-redundant-expression): a NaN stays
        top = select(larger, v, top), at = select(larger, splat(cell), at);
      }
    }
    put(y + c, top), put(best + c, at);
  });
}

extern constinit const PoolKernels pool_kernels{
    .pool_average = pool_average,
    .pool_average_backward = pool_average_backward,
    .pool_max = pool_max,
};

TESSERA_KERNELS_END
