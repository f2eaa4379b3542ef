#pragma once
// exp, log, tanh, sin, cos and the normal distribution on vec. Single precision: polynomials in the manner of Cephes (Moshier), at
// most 1 ulp for exp and log and 2 ulp for tanh on the whole range (measured by the kernel tests on every instruction set). Double,
// the twin: libm, lane by lane; slow, exact.
#include "tessera/core/kernels/simd.h"

TESSERA_KERNELS_BEGIN

enum : bool { single = sizeof(real) == 4 };

#define TESSERA_LANEWISE(NAME, BUILTIN)                                                           \
  static inline vec NAME##_exact(vec x) {                                                         \
    for (int i = 0; i < lanes; ++i) x[i] = static_cast<real>(BUILTIN(static_cast<double>(x[i]))); \
    return x;                                                                                     \
  }
TESSERA_LANEWISE(exp, __builtin_exp)
TESSERA_LANEWISE(log, __builtin_log)
TESSERA_LANEWISE(tanh, __builtin_tanh)
TESSERA_LANEWISE(erfc, __builtin_erfc)
TESSERA_LANEWISE(sin, __builtin_sin)
TESSERA_LANEWISE(cos, __builtin_cos)
#undef TESSERA_LANEWISE

/// e^x; 0 below -87.3 (denormals flush), +inf above 88.7.
static inline vec exp(vec x) {
  if constexpr (!single) {
    return exp_exact(x);
  } else {
    const vec clamped = min(max(x, splat(static_cast<real>(-87.33654))),
                            splat(static_cast<real>(89)));  // above 88.72 the product below is inf
    // n = round(x / ln 2) by adding 1.5 * 2^23, r = x - n ln 2 in two parts
    const vec magic = splat(static_cast<real>(12582912.0));
    vec n = clamped * static_cast<real>(1.44269504088896341) + magic;
    ivec bits;
    __builtin_memcpy(&bits, &n, sizeof bits);
    n -= magic;
    const vec r = clamped - n * static_cast<real>(0.693359375) + n * static_cast<real>(2.12194440e-4);
    vec p = splat(static_cast<real>(1.9875691500e-4));
    p = p * r + static_cast<real>(1.3981999507e-3);
    p = p * r + static_cast<real>(8.3334519073e-3);
    p = p * r + static_cast<real>(4.1665795894e-2);
    p = p * r + static_cast<real>(1.6666665459e-1);
    p = p * r + static_cast<real>(5.0000001201e-1);
    p = p * r * r + r + static_cast<real>(1);
    // times 2^n: n lies in [-126, 128], so scale in two halves
    const ivec whole = bits - 0x4b400000, half = whole >> 1, rest = whole - half;
    const ivec a = (half + 127) << 23, b = (rest + 127) << 23;
    vec fa, fb;
    __builtin_memcpy(&fa, &a, sizeof fa);
    __builtin_memcpy(&fb, &b, sizeof fb);
    const vec y = p * fa * fb;
    const vec low = select(x < static_cast<real>(-87.33654), splat(0), y);
    return select(x != x, x, low);  // NOLINT(misc-redundant-expression): only a NaN differs from itself
  }
}

/// e^x for x <= 0, by 2^(x log2 e), in half of the operations; 1 at 0, exactly 0 from -87.7 down, so that a masked pair weighs nothing, and NaN
/// for NaN. Its error grows with -x, from 2.1 ulp at -1 to 18 at -80; with `fine`, one more multiply-add, it stays at 2.2. In a softmax the maximum of a row is
/// subtracted before the multiplication and not inside of it: a multiply-add of the scaled maximum, which is rounded, leaves that rounding in the exponent, and at
/// scores of 1e9 it is 64.
template <bool fine = false>
static inline vec exp_negative(vec x) {
  if constexpr (!single) {
    return exp_exact(x);
  } else {
    const real unit = static_cast<real>(1.4426950408889634), rest = static_cast<real>(1.925963033e-8);  // of log2 e
    x = max(splat(static_cast<real>(-88.0297)), x);  // 127 ln 2; in this order NaN stays
    // its last bits take 127 + round(x log2 e), which is the exponent field of that power of 2; of -127, zero's
    const vec magic = splat(12582912 + 127);  // 1.5 2^23 + 127
    vec n = x * unit + magic;
    ivec bits;
    __builtin_memcpy(&bits, &n, sizeof bits);
    n -= magic;
    vec r = x * unit - n;
    if constexpr (fine) r += x * rest;
    // 2^r: minimax on [-1/2, 1/2] with p(0) = 1: relative error 9.2e-8
    vec p = splat(static_cast<real>(1.326472725e-3));
    p = p * r + static_cast<real>(9.671512786e-3);
    p = p * r + static_cast<real>(5.550733744e-2);
    p = p * r + static_cast<real>(2.402224208e-1);
    p = p * r + static_cast<real>(6.931469776e-1);
    p = p * r + static_cast<real>(1);
    bits <<= 23;  // the magic number's own bits leave at the top
    vec whole;
    __builtin_memcpy(&whole, &bits, sizeof whole);
    return p * whole;  // a product, since an addition to the exponent would make a number of NaN
  }
}

/// ln x for normal x > 0; a finite number for NaN, infinity and all others, so of numbers that are known only.
static inline vec log_of_positive(vec x) {
  if constexpr (!single) {
    return log_exact(x);
  } else {
    uvec bits;
    __builtin_memcpy(&bits, &x, sizeof bits);
    // x = 2^e m with m in [sqrt(1/2), sqrt(2)); without signs, since the bits of x < 0 wrap around
    const ivec e0 = ivec(bits - 0x3f3504f3u) >> 23;
    const uvec mantissa = bits - (uvec(e0) << 23);
    vec m;
    __builtin_memcpy(&m, &mantissa, sizeof m);
    const vec e = __builtin_convertvector(e0, vec);
    const vec f = m - static_cast<real>(1), z = f * f;
    vec p = splat(static_cast<real>(7.0376836292e-2));
    p = p * f + static_cast<real>(-1.1514610310e-1);
    p = p * f + static_cast<real>(1.1676998740e-1);
    p = p * f + static_cast<real>(-1.2420140846e-1);
    p = p * f + static_cast<real>(1.4249322787e-1);
    p = p * f + static_cast<real>(-1.6668057665e-1);
    p = p * f + static_cast<real>(2.0000714765e-1);
    p = p * f + static_cast<real>(-2.4999993993e-1);
    p = p * f + static_cast<real>(3.3333331174e-1);
    vec y = p * f * z + e * static_cast<real>(-2.12194440e-4) - z * static_cast<real>(0.5);
    return f + y + e * static_cast<real>(0.693359375);
  }
}

/// ln x on the whole line: -inf at 0, NaN below, and NaN for NaN.
static inline vec log(vec x) {
  if constexpr (!single) {
    return log_exact(x);
  } else {
    const vec inf = splat(static_cast<real>(__builtin_inf())), nan = splat(static_cast<real>(__builtin_nan("")));
    const vec special = select(x == 0, -inf, select(x > 0, x, nan));  // x > 0 of these is +inf
    const auto small = x < static_cast<real>(1.17549435e-38);         // denormal: 2^23 times as large for the while
    const vec y = log_of_positive(select(small, x * static_cast<real>(8388608), x));
    return select((x > 0) & (x < inf), select(small, y - static_cast<real>(15.942385153), y), special);
  }
}

static inline vec abs(vec x) {
  if constexpr (single) return vec(uvec(x) & 0x7fffffff);
  return select(x < 0, -x, x);
}

static inline vec sigmoid(vec x) { return static_cast<real>(1) / (static_cast<real>(1) + exp(-x)); }

static inline vec tanh(vec x) {
  if constexpr (!single) {
    return tanh_exact(x);
  } else {
    const vec a = abs(x), z = x * x;
    // small: odd polynomial; large: 1 - 2 / (e^2a + 1)
    vec p = splat(static_cast<real>(-5.70498872745e-3));
    p = p * z + static_cast<real>(2.06390887954e-2);
    p = p * z + static_cast<real>(-5.37397155531e-2);
    p = p * z + static_cast<real>(1.33314422036e-1);
    p = p * z + static_cast<real>(-3.33332819422e-1);
    const vec small = p * z * x + x;
    const vec t = static_cast<real>(1) - static_cast<real>(2) / (exp(a + a) + static_cast<real>(1));
    return select(a < static_cast<real>(0.625), small, select(x < 0, -t, t));
  }
}

/// The normal distribution function Phi and its density, for GELU and its slope, with one exponential for both:
/// Phi(-a) = e^(-a^2 / 2) t P(t) with t = 1 / (1 + 0.26 a), where P is our own least-maximum fit of degree 8 on 0 <= a <= 14
/// (2.5e-8 relative). Unlike 1/2 + erf / 2 the lower tail keeps its digits.
struct Normal {
  vec cdf, pdf;
};
static inline Normal normal(vec x) {
  const vec e = exp_negative<true>(x * x * static_cast<real>(-0.5));
  vec below;  // Phi(-|x|)
  if constexpr (!single) {
    below = static_cast<real>(0.5) * erfc_exact(abs(x) * static_cast<real>(0.70710678118654752));
  } else {
    const vec t = static_cast<real>(1) / (static_cast<real>(1) + static_cast<real>(0.26) * abs(x));
    vec p = splat(static_cast<real>(0.030504468876684485));
    p = p * t + static_cast<real>(-0.15282651241907982);
    p = p * t + static_cast<real>(0.25148592781569973);
    p = p * t + static_cast<real>(-0.15094217030982848);
    p = p * t + static_cast<real>(0.1609427063033203);
    p = p * t + static_cast<real>(0.05103007263611113);
    p = p * t + static_cast<real>(0.10302959034988395);
    p = p * t + static_cast<real>(0.10301685099023866);
    p = p * t + static_cast<real>(0.10375905347072908);
    below = e * (p * t);
  }
  return {select(x < 0, below, static_cast<real>(1) - below), e * static_cast<real>(0.39894228040143268)};
}

/// sin(x + quarter pi / 2) for |x| <= 8192: x = j pi/2 + r with pi/2 in three parts, then a polynomial for |r| <= pi/4. Beyond that
/// range libm, lane by lane.
static inline vec sine(vec x, int quarter) {
  const vec magic = splat(static_cast<real>(12582912.0));
  vec j = x * static_cast<real>(0.63661977236758134) + magic;
  ivec turn;
  __builtin_memcpy(&turn, &j, sizeof turn);
  j -= magic;
  vec r = x - j * static_cast<real>(1.5703125);
  r -= j * static_cast<real>(4.837512969970703125e-4);
  r -= j * static_cast<real>(7.54978995489188216e-8);
  const vec z = r * r;
  vec s = splat(static_cast<real>(-1.9515295891e-4));
  s = s * z + static_cast<real>(8.3321608736e-3);
  s = s * z + static_cast<real>(-1.6666654611e-1);
  s = s * z * r + r;
  vec c = splat(static_cast<real>(2.443315711809948e-5));
  c = c * z + static_cast<real>(-1.388731625493765e-3);
  c = c * z + static_cast<real>(4.166664568298827e-2);
  c = c * z * z - z * static_cast<real>(0.5) + static_cast<real>(1);
  turn += quarter;
  const vec y = select((turn & 1) != 0, c, s);
  return select((turn & 2) != 0, -y, y);
}
static inline bool beyond_sine(vec x) {
  for (int i = 0; i < lanes; ++i)
    if (!(x[i] <= static_cast<real>(8192) && x[i] >= static_cast<real>(-8192))) return true;
  return false;
}
static inline vec sin(vec x) { return !single || beyond_sine(x) ? sin_exact(x) : sine(x, 0); }
static inline vec cos(vec x) { return !single || beyond_sine(x) ? cos_exact(x) : sine(x, 1); }

TESSERA_KERNELS_END
