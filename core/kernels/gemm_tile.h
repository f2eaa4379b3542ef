#pragma once
// The micro-kernel of matrix products and of convolutions: a tile of C, R rows by one or two vectors, summed in registers. What it reads of A is
// broadcast from where it lies. The numbers stand in gemm.cpp. With TESSERA_PAIRS its reals are pairs of bfloat16 numbers (dot_bf16.cpp).
#include "tessera/core/kernels/simd.h"

TESSERA_KERNELS_BEGIN

#define TESSERA_INLINE __attribute__((always_inline))

#if defined(__AVX512F__) || defined(__aarch64__)
enum : int { tile_rows = 14 };
#else
enum : int { tile_rows = 6 };
#endif
enum : int { panel = 2 * lanes };  // columns of a panel

// Indices 0..N-1 as a type: loops over registers must be unrolled when the source is read, or the sums end up in
// memory.
template <int... I>
struct Indices {};
template <int N, int... I>
struct Count : Count<N - 1, N - 1, I...> {};
template <int... I>
struct Count<0, I...> {
  using type = Indices<I...>;
};
template <int N>
using upto = typename Count<N>::type;

template <int R, int V>
struct Sums {
  vec at[R][V];
};

template <int V, int... I>
static inline TESSERA_INLINE void clear(Indices<I...>, Sums<sizeof...(I), V>& s) {
  const auto row = [](vec(&r)[V]) TESSERA_INLINE {
    r[0] = vec{};
    if constexpr (V == 2) r[1] = vec{};
  };
  (row(s.at[I]), ...);
}

/// sum += a b, in place: left to itself the compiler writes every other sum over a or b, and copies and spills to make up.
static inline TESSERA_INLINE void add_product(vec& sum, vec a, vec b) {
#if defined(TESSERA_PAIRS)  // of bfloat16 numbers: dot_bf16.cpp
  asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
#elif defined(__FMA__)
  if constexpr (sizeof(real) == 4) {
    asm("vfmadd231ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
  } else {
    asm("vfmadd231pd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
  }
#else
  sum += a * b;
#endif
}

/// s += a column of A times a row of the panel. a(i) reads A's element of row i.
template <int V, int... I, class A>
static inline TESSERA_INLINE void outer(Indices<I...>, Sums<sizeof...(I), V>& s, const real* b, A a) {
  const vec b0 = load(b), b1 = V == 2 ? load(b + lanes) : vec{};
  const auto row = [&](vec(&r)[V], real x) TESSERA_INLINE {
    const vec v = splat(x);
    add_product(r[0], v, b0);
    if constexpr (V == 2) add_product(r[1], v, b1);
  };
  (row(s.at[I], a(I)), ...);
}

/// Memory to bring nearer, a line at a time between multiplications: a burst would wait for fill buffers.
struct Lines {
  const char* at;
  int64_t step;
};
/// A tile's share of the task: pointers at its first element.
struct Tile {
  const real *a, *b, *bias, *add;
  real* c;
  real beta;
  int64_t K, stride, ldc, ld_add;
  int64_t b_stride;   // of a row of b, where k runs along the columns of A
  int64_t columns;    // at most panel
  Lines soon, strip;  // for L2, for L1
};

/// Brings a tile of C near while its sums are made, a row at a time: it may be memory not touched for long.
template <int R, int V>
struct Rows {
  const real* at;
  int64_t step, left = R;
  explicit Rows(const Tile& t) : at(t.c), step(t.ldc) {}
  TESSERA_INLINE void fetch() {
    __builtin_prefetch(at);
    if constexpr (V == 2) __builtin_prefetch(at + lanes);
    at += --left > 0 ? step : 0;
  }
};

/// Rows of A are contiguous. Three rows share a base pointer, which are as many as the addressing modes reach with one
/// register for the stride.
template <bool ahead, int R, int V>
static inline TESSERA_INLINE void sum_along_rows(Sums<R, V>& s, const Tile& t) {
  constexpr int bases = (R + 2) / 3;
  const real *p[bases], *b = t.b;
  int64_t stride = t.stride;
  const auto step = [&](int64_t k) TESSERA_INLINE {
    asm("" : "+r"(stride));  // an index register for all k, not one each
    outer(upto<R>(), s, b + k * panel, [&](int i) TESSERA_INLINE { return p[i / 3][(i % 3) * stride + k]; });
  };
  const auto keep = [](const real*& pointer) TESSERA_INLINE { asm("" : "+r"(pointer)); };
  [&]<int... G>(Indices<G...>) TESSERA_INLINE {
    ((p[G] = t.a + 3 * G * stride), ...);
    const char* soon = t.soon.at;
    Rows<R, V> c(t);
    int64_t k = t.K;
    for (; k >= 4; k -= 4) {
      (keep(p[G]), ...);  // one pointer each, not one a row
      if constexpr (ahead) __builtin_prefetch(soon, 0, 2), soon += t.soon.step;
      c.fetch();
      step(0), step(1), step(2), step(3);
      b += 4 * panel;
      ((p[G] += 4), ...);
    }
    for (; k > 0; --k) {
      step(0);
      b += panel;
      (++p[G], ...);
    }
  }
  (upto<bases>());
}

/// Columns of A are contiguous: A is the transpose of a row-major matrix.
template <bool ahead, int R, int V>
static inline TESSERA_INLINE void sum_along_columns(Sums<R, V>& s, const Tile& t) {
  const real *a = t.a, *b = t.b;
  const char *soon = t.soon.at, *strip = t.strip.at;
  const auto step = [&]() TESSERA_INLINE {
    outer(upto<R>(), s, b, [&](int i) TESSERA_INLINE { return a[i]; });
    a += t.stride, b += t.b_stride;
  };
  int64_t k = t.K;
  for (; k >= 4; k -= 4) {
    if constexpr (ahead) {
      __builtin_prefetch(soon, 0, 2);
      __builtin_prefetch(strip);
      soon += t.soon.step, strip += t.strip.step;
    }
    step(), step(), step(), step();
  }
  for (; k > 0; --k) step();
}

/// C = beta C + sums + bias + add, row by row, a partial vector at the end.
static __attribute__((noinline)) void finish_from(const real* sums, int rows, const Tile& t) {
  for (int i = 0; i < rows; ++i)
    for (int64_t j = 0; j < t.columns; j += lanes) {
      const int64_t n = t.columns - j < lanes ? t.columns - j : int64_t{lanes};
      const auto get = [n](const real* p) { return n == lanes ? load(p) : load_part(p, n); };
      real* c = t.c + i * t.ldc + j;
      vec v = load(sums + i * panel + j);
      if (t.bias) v += get(t.bias + j);
      if (t.beta != 0) v += t.beta * get(c);
      if (t.add) v += get(t.add + i * t.ld_add + j);
      if (n == lanes) {
        store(c, v);
      } else {
        store_part(c, v, n);
      }
    }
}

/// The cases that matter leave from registers: C = sum + bias and C += sum, whole vectors. All others go through
/// memory.
template <int V, int... I>
static inline TESSERA_INLINE void finish(Indices<I...>, Sums<sizeof...(I), V>& s, const Tile& t) {
  constexpr int R = sizeof...(I);
  if (t.columns == V * lanes && t.beta == 0 && t.add) {
    const vec bias0 = t.bias ? load(t.bias) : vec{}, bias1 = t.bias && V == 2 ? load(t.bias + lanes) : vec{};
    const auto row = [&](const vec(&r)[V], real* c, const real* add) TESSERA_INLINE {
      store(c, r[0] + bias0 + load(add));
      if constexpr (V == 2) store(c + lanes, r[1] + bias1 + load(add + lanes));
    };
    (row(s.at[I], t.c + I * t.ldc, t.add + I * t.ld_add), ...);
  } else if (t.columns == V * lanes && t.beta == 0) {
    const vec bias0 = t.bias ? load(t.bias) : vec{}, bias1 = t.bias && V == 2 ? load(t.bias + lanes) : vec{};
    const auto row = [&](const vec(&r)[V], real* c) TESSERA_INLINE {
      store(c, r[0] + bias0);
      if constexpr (V == 2) store(c + lanes, r[1] + bias1);
    };
    (row(s.at[I], t.c + I * t.ldc), ...);
  } else if (t.columns == V * lanes && !t.add && !t.bias && t.beta == 1) {
    const auto row = [&](const vec(&r)[V], real* c) TESSERA_INLINE {
      store(c, load(c) + r[0]);
      if constexpr (V == 2) store(c + lanes, load(c + lanes) + r[1]);
    };
    (row(s.at[I], t.c + I * t.ldc), ...);
  } else {
    alignas(64) real sums[R * panel];
    const auto row = [&](const vec(&r)[V], real* to) TESSERA_INLINE {
      store(to, r[0]);
      if constexpr (V == 2) store(to + lanes, r[1]);
    };
    (row(s.at[I], sums + I * panel), ...);
    finish_from(sums, R, t);
  }
}

TESSERA_KERNELS_END
