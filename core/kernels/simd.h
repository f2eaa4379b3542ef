#pragma once
// For files under core/kernels only. The same source is compiled once per instruction set: TARGET names the namespace,
// -march flags choose the width of `vec`. No standard headers with inline functions may be included here: the linker
// could keep the AVX-512 copy of such a function for the whole program, and an older CPU would crash (a test looks for
// weak symbols).
#include <stddef.h>
#include <stdint.h>

#if defined(__AVX512F__)
#include <immintrin.h>  // its functions are always inlined and leave no symbols
#endif

#include "tessera/core/real.h"

#if !defined(TARGET)
#error "core/kernels is compiled once per target; see CMakeLists.txt"
#endif

#define TESSERA_KERNELS_BEGIN   \
  namespace tessera {           \
  inline namespace TESSERA_NS { \
  namespace TARGET {
#define TESSERA_KERNELS_END \
  }                         \
  }                         \
  }

#if defined(__AVX512F__)
#define TESSERA_VECTOR_BYTES 64
#elif defined(__AVX__)
#define TESSERA_VECTOR_BYTES 32
#else
#define TESSERA_VECTOR_BYTES 16
#endif

TESSERA_KERNELS_BEGIN

/// As many reals as the target's registers hold; arithmetic operators work lane by lane, a*b+c contracts to one FMA.
using vec = real __attribute__((vector_size(TESSERA_VECTOR_BYTES)));
/// Integers of the same width as real: the type of comparisons, all ones for true.
using ivec = decltype(vec{} < vec{});
/// The bits of single precision, for arithmetic that wraps around.
using uvec = uint32_t __attribute__((vector_size(TESSERA_VECTOR_BYTES)));
enum : int { lanes = TESSERA_VECTOR_BYTES / sizeof(real) };

static inline vec load(const real* p) {
  vec v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
static inline void store(real* p, vec v) { __builtin_memcpy(p, &v, sizeof v); }
static inline vec splat(real s) { return s - vec{}; }  // s - 0 is s for every s, so this is one broadcast; s + 0 is not
/// The first n < lanes elements; the others are 0. Memory after them is not touched.
#if defined(__AVX512F__)
static inline vec load_part(const real* p, int64_t n) {
  if constexpr (sizeof(real) == 4) {
    return vec(_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1), p));
  } else {
    return vec(_mm512_maskz_loadu_pd(static_cast<__mmask8>((1u << n) - 1), p));
  }
}
static inline void store_part(real* p, vec v, int64_t n) {
  if constexpr (sizeof(real) == 4) {
    _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1), __m512(v));
  } else {
    _mm512_mask_storeu_pd(p, static_cast<__mmask8>((1u << n) - 1), __m512d(v));
  }
}
#else
static inline vec load_part(const real* p, int64_t n) {
  vec v = {};
  for (int64_t i = 0; i < n; ++i) v[i] = p[i];
  return v;
}
static inline void store_part(real* p, vec v, int64_t n) {
  for (int64_t i = 0; i < n; ++i) p[i] = v[i];
}
#endif
static inline vec select(ivec mask, vec yes, vec no) { return mask ? yes : no; }
/// b where one of them is NaN: a NaN outlives a bound only as b.
static inline vec max(vec a, vec b) { return select(a > b, a, b); }
static inline vec min(vec a, vec b) { return select(a < b, a, b); }
/// Lane l of the result is lane from[l] of v, or of a and, from `lanes` up, b. With constant indices it is one instruction.
#if defined(__clang__)
static inline vec shuffle(vec v, ivec from) {
  vec y;
  for (int l = 0; l < lanes; ++l) y[l] = v[from[l]];
  return y;
}
static inline vec shuffle(vec a, vec b, ivec from) {
  vec y;
  for (int l = 0; l < lanes; ++l) y[l] = from[l] < lanes ? a[from[l]] : b[from[l] - lanes];
  return y;
}
#else
static inline vec shuffle(vec v, ivec from) { return __builtin_shuffle(v, from); }
static inline vec shuffle(vec a, vec b, ivec from) { return __builtin_shuffle(a, b, from); }
#endif
/// v with lane i taken from lane i ^ W.
template <int W>
static inline vec crossed(vec v) {
  ivec from;
  for (int i = 0; i < lanes; ++i) from[i] = i ^ W;
  return shuffle(v, from);
}
template <int W = lanes / 2>
static inline real sum(vec v) {
  v += crossed<W>(v);
  if constexpr (W > 1) {
    return sum<W / 2>(v);
  } else {
    return v[0];
  }
}
template <int W = lanes / 2>
static inline real max_of(vec v) {
  v = max(v, crossed<W>(v));
  if constexpr (W > 1) {
    return max_of<W / 2>(v);
  } else {
    return v[0];
  }
}

/// y[i] = f(x[i]...) for i < n with whole vectors and one partial one at the end.
template <class F>
static inline void map(int64_t n, real* y, const real* a, F f) {
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) store(y + i, f(load(a + i)));
  if (i < n) store_part(y + i, f(load_part(a + i, n - i)), n - i);
}
template <class F>
static inline void map(int64_t n, real* y, const real* a, const real* b, F f) {
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) store(y + i, f(load(a + i), load(b + i)));
  if (i < n) store_part(y + i, f(load_part(a + i, n - i), load_part(b + i, n - i)), n - i);
}

/// y[i] = beta y[i] + f(x[i]...): where gradients arrive. With beta 0, y is not read.
template <class F>
static inline void map_into(int64_t n, real* y, real beta, const real* a, F f) {
  if (beta == 0) return map(n, y, a, f);
  map(n, y, y, a, [&](vec old, vec v) { return beta * old + f(v); });
}
template <class F>
static inline void map_into(int64_t n, real* y, real beta, const real* a, const real* b, F f) {
  if (beta == 0) return map(n, y, a, b, f);
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) store(y + i, beta * load(y + i) + f(load(a + i), load(b + i)));
  if (const int64_t r = n - i)
    store_part(y + i, beta * load_part(y + i, r) + f(load_part(a + i, r), load_part(b + i, r)), r);
}

TESSERA_KERNELS_END
