// Attention's products in bf16. Compiled for every instruction set: plain vectors take a pair apart and multiply twice; with AVX512-BF16 (the set
// `dot`) VDPBF16PS multiplies pairs as they are, and one instruction rounds 32 numbers. Measured on a Zen 4: a step of the 0.8M ViT 351 ms instead of 387
// with attention in fp32 (docs/design.md).
#include "tessera/core/kernels/attention_bf16.h"

#include "tessera/core/kernels/attention_tiles.h"
#include "tessera/core/kernels/math.h"
#if defined(__AVX512BF16__)
#include "tessera/core/kernels/bf16_pairs.h"
#endif

TESSERA_KERNELS_BEGIN

namespace {

inline uvec load_pairs(const uint32_t* p) {
  uvec v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
inline void store_pairs(uint32_t* p, uvec v) { __builtin_memcpy(p, &v, sizeof v); }

/// Pairs of bfloat16 numbers as elements of products.
struct Pairs {
  using element = uint32_t;
  using value = uvec;
  static value load(const uint32_t* p) { return load_pairs(p); }
  static value load_part(const uint32_t* p, int64_t n) {
    return uvec(TARGET::load_part(reinterpret_cast<const real*>(p), n));
  }
  static value spread(uint32_t x) { return x - uvec{}; }
  static void add(vec& sum, value a, value b) {
#if defined(__AVX512BF16__)
    asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
#else
    sum += vec(a << 16) * vec(b << 16);
    sum += vec(a & 0xffff0000) * vec(b & 0xffff0000);
#endif
  }
};

#if defined(__AVX512BF16__)
/// Lane j: a[j] and b[j].
inline uvec both(vec a, vec b) { return uvec(pairs_across(a, b)); }
/// Neighbours in a, then in b.
inline uvec neighbours(vec a, vec b) { return uvec(__m512i(_mm512_cvtne2ps_pbh(b, a))); }
#else
/// The nearest bfloat16 in the upper half of each lane, ties to even; a NaN stays one.
inline uvec rounded(vec v) {
  const uvec bits = uvec(v);
  const ivec number = v == v;  // NOLINT(misc-redundant-expression): a NaN is not
  return uvec(select(number, vec(bits + 0x7fff + ((bits >> 16) & 1)), vec(bits | 0x400000)));
}
inline uvec both(vec a, vec b) { return (rounded(a) >> 16) | (rounded(b) & 0xffff0000); }
inline uvec neighbours(vec a, vec b) {
  ivec even, odd;
  for (int l = 0; l < lanes; ++l) even[l] = 2 * l, odd[l] = 2 * l + 1;
  return both(shuffle(a, b, even), shuffle(a, b, odd));
}
#endif

/// The first n numbers, n of any size; then zeros.
inline vec start(const real* x, int64_t n) {
  return n >= lanes ? TARGET::load(x) : n > 0 ? TARGET::load_part(x, n) : vec{};
}
inline const real* row_of(const real* x, int64_t stride, const int32_t* at, int64_t i) {
  const int64_t row = at ? at[i] : i;
  return row < 0 ? nullptr : x + row * stride;
}

}  // namespace

void bf16_product(int64_t M, int64_t N, int64_t K, const uint32_t* A, int64_t lda, const uint32_t* B, int64_t ldb,
                  real* C, int64_t ldc, bool add) {
  product_of<Pairs>(M, N, K, A, lda, B, ldb, C, ldc, add);
}

void bf16_product_tn(int64_t M, int64_t N, int64_t K, const uint32_t* A, int64_t lda, const uint32_t* B, int64_t ldb,
                     real* C, int64_t ldc, bool add) {
  multiply<Pairs, true>(M, N, K, A, lda, B, ldb, C, ldc, add);
}

void bf16_along(const real* x, int64_t stride, const int32_t* at, int64_t n, int64_t d, uint32_t* y, int64_t ld,
                int64_t ahead) {
  for (int64_t i = 0; i < n; ++i, y += ld) {
    int64_t c = 0;
    if (const real* from = row_of(x, stride, at, i)) {
      fetch<false>(from, d, ahead);
      for (; 2 * (c + lanes) <= d; c += lanes)
        store_pairs(y + c, neighbours(load(from + 2 * c), load(from + 2 * c + lanes)));
      if (2 * c < d)
        store_pairs(y + c, neighbours(start(from + 2 * c, d - 2 * c), start(from + 2 * c + lanes, d - 2 * c - lanes))),
            c += lanes;
    }
    for (; c < ld; c += lanes) store_pairs(y + c, uvec{});
  }
}

void bf16_across(const real* x, int64_t stride, const int32_t* at, int64_t n, int64_t d, uint32_t* y, int64_t ld,
                 int64_t ahead) {
  for (int64_t i = 0; i < n; i += 2, y += ld) {
    const real *one = row_of(x, stride, at, i), *two = i + 1 < n ? row_of(x, stride, at, i + 1) : nullptr;
    if (one) fetch<false>(one, d, ahead);
    if (two) fetch<false>(two, d, ahead);
    int64_t c = 0;
    if (one && two)
      for (; c + lanes <= d; c += lanes) store_pairs(y + c, both(load(one + c), load(two + c)));
    for (; c < d; c += lanes)
      store_pairs(y + c, both(one ? start(one + c, d - c) : vec{}, two ? start(two + c, d - c) : vec{}));
    for (; c < ld; c += lanes) store_pairs(y + c, uvec{});
  }
}

void bf16_transposed(const real* x, int64_t stride, const int32_t* at, int64_t n, int64_t d, real scale, uint32_t* y,
                     int64_t ld, int64_t ahead) {
  for (int64_t i = 0; i < n; ++i)
    if (const real* row = row_of(x, stride, at, i)) fetch<false>(row, d, ahead);
  const int64_t pairs = (d + 1) / 2;
  for (int64_t i = 0; i < n; i += lanes)
    for (int64_t p = 0; p < pairs; p += lanes) {
      const int64_t height = pairs - p < lanes ? pairs - p : int64_t{lanes}, left = d - 2 * p;
      vec r[lanes];
      const auto pack = [&](int64_t l) {
        const real* from = i + l < n ? row_of(x, stride, at, i + l) : nullptr;
        if (!from) return vec{};
        from += 2 * p;
        if (left >= 2 * lanes) return vec(neighbours(scale * load(from), scale * load(from + lanes)));
        return vec(neighbours(scale * start(from, left), scale * start(from + lanes, left - lanes)));
      };
      if (i + 1 == n) {  // a last row by itself: no block of lanes x lanes for it
        alignas(64) uint32_t row[sizeof(vec) / sizeof(uint32_t)];
        store_pairs(row, uvec(pack(0)));
        for (int64_t l = 0; l < height; ++l) store_pairs(y + (p + l) * ld + i, uvec{}), y[(p + l) * ld + i] = row[l];
        continue;
      }
#pragma GCC unroll 16
      for (int l = 0; l < lanes; ++l) r[l] = pack(l);
      transpose_lanes(r);
#pragma GCC unroll 16
      for (int l = 0; l < lanes; ++l)
        if (l < height) store_pairs(y + (p + l) * ld + i, uvec(r[l]));
    }
}

extern constinit const AttentionBf16Kernels attention_bf16_kernels{
    .bf16_product = bf16_product,
    .bf16_product_tn = bf16_product_tn,
    .bf16_along = bf16_along,
    .bf16_across = bf16_across,
    .bf16_transposed = bf16_transposed,
};

TESSERA_KERNELS_END
