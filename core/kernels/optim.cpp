// The optimiser's passes over all weights. They are bound by memory: each array is read once and written once. Plain
// loops, because the compiler vectorises them fully (the square root needs -fno-math-errno); sums of lanes are vectors by hand: with 32 lanes, batch 256 and
// the 0.8M ViT on a Zen 4 they and the optimiser take 0.64 % of a step, by loops over the lanes they took 6.46 %.
#include "tessera/core/kernels/optim.h"

#include "tessera/core/kernels/simd.h"

TESSERA_KERNELS_BEGIN

static inline real root(real x) {
  if constexpr (sizeof(real) == 4) return static_cast<real>(__builtin_sqrtf(static_cast<float>(x)));
  return static_cast<real>(__builtin_sqrt(static_cast<double>(x)));
}

// x[0..L) at i, summed pairwise; L is known to the compiler, so everything stays in registers.
template <int L>
static inline vec tree(const real* const* x, int64_t i) {
  if constexpr (L == 1) {
    return load(x[0] + i);
  } else {
    return tree<L / 2>(x, i) + tree<L / 2>(x + L / 2, i);
  }
}
template <int L>
static inline real tree_one(const real* const* x, int64_t i) {
  if constexpr (L == 1) {
    return x[0][i];
  } else {
    return tree_one<L / 2>(x, i) + tree_one<L / 2>(x + L / 2, i);
  }
}
template <int L>
static inline void sum_of(const real* const* x, real* y, int64_t n) {
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) store(y + i, tree<L>(x, i));
  for (; i < n; ++i) y[i] = tree_one<L>(x, i);
}

// The same of any number of lanes, of n elements at i: neighbours first, then neighbours of neighbours.
static inline vec tree_of(const real* const* x, int count, int64_t i, int64_t n) {
  const auto at = [&](int l) { return n < lanes ? load_part(x[l] + i, n) : load(x[l] + i); };
  vec part[64];
  part[0] = at(0);
  for (int l = 1; l < count; ++l) part[l] = at(l);
  for (int k = 1; k < count; k *= 2)
    for (int l = 0; l + k < count; l += 2 * k) part[l] += part[l + k];
  return part[0];
}

void sum_lanes(const real* const* x, int count, real* y, int64_t n) {
  switch (count) {
    case 1:
      return sum_of<1>(x, y, n);
    case 2:
      return sum_of<2>(x, y, n);
    case 4:
      return sum_of<4>(x, y, n);
    case 8:
      return sum_of<8>(x, y, n);
    case 16:
      return sum_of<16>(x, y, n);
    case 32:
      return sum_of<32>(x, y, n);
    case 64:
      return sum_of<64>(x, y, n);
    default:
      break;
  }
  for (int64_t i = 0; i < n; i += lanes) {
    const int64_t left = n - i;
    const vec sum = tree_of(x, count, i, left);
    left < lanes ? store_part(y + i, sum, left) : store(y + i, sum);
  }
}

void square_sum(const real* x, double* sum, int64_t n) {
  double total = 0;
  // short runs in `real`, their sums in double: no precision is lost however many weights there are
  for (int64_t a = 0; a < n; a += 1024) {
    const int64_t b = n - a < 1024 ? n : a + 1024;
    vec s[4] = {};
    int64_t i = a;
    for (; i + 4 * lanes <= b; i += 4 * lanes)
      for (int k = 0; k < 4; ++k) {
        const vec v = load(x + i + k * lanes);
        s[k] += v * v;
      }
    double rest = 0;
    for (; i < b; ++i) rest += static_cast<double>(x[i]) * static_cast<double>(x[i]);
    const vec all = (s[0] + s[1]) + (s[2] + s[3]);
    for (int k = 0; k < lanes; ++k) rest += static_cast<double>(all[k]);
    if (!(rest - rest == 0)) {  // squares of numbers beyond 1e19 are none in fp32
      rest = 0;
      for (i = a; i < b; ++i) rest += static_cast<double>(x[i]) * static_cast<double>(x[i]);
    }
    total += rest;
  }
  *sum = total;
}

void average(const real* __restrict x, real* __restrict y, real share, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] += (x[i] - y[i]) * share;
}

void adamw(const AdamWStep* step, const real* __restrict g, real* __restrict w, real* __restrict m, real* __restrict v,
           real* __restrict ema, int64_t n) {
  const AdamWStep s = *step;
  for (int64_t i = 0; i < n; ++i) {
    const real d = g[i] * s.clip;
    m[i] += (d - m[i]) * s.share1;
    v[i] = v[i] * s.beta2 + d * d * s.share2;
    w[i] = w[i] * s.keep - s.rate * m[i] / (root(v[i]) * s.inverse_root + s.eps);
  }
  if (ema) average(w, ema, s.ema, n);  // these weights are still in the cache
}

void sgd(const SgdStep* step, const real* __restrict g, real* __restrict w, real* __restrict m, real* __restrict ema,
         int64_t n) {
  const SgdStep s = *step;
  if (m) {
    for (int64_t i = 0; i < n; ++i) {
      const real d = g[i] * s.clip + s.weight_decay * w[i];
      m[i] = s.momentum * m[i] + d;
      w[i] -= s.rate * (s.straight * d + s.along * m[i]);
    }
  } else {
    for (int64_t i = 0; i < n; ++i) w[i] -= s.rate * (g[i] * s.clip + s.weight_decay * w[i]);
  }
  if (ema) average(w, ema, s.ema, n);
}

extern constinit const OptimKernels optim_kernels{
    .sum_lanes = sum_lanes,
    .square_sum = square_sum,
    .adamw = adamw,
    .sgd = sgd,
    .average = average,
};

TESSERA_KERNELS_END
