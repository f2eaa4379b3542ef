#include "core/kernels/lists.h"
#include "core/kernels/math.h"

TESSERA_KERNELS_BEGIN

namespace {

/// Scores are exponentiated as 2^(s unit - ...): with unit = log2 e the subtraction of the maximum is one multiply-add,
/// and 2^x needs neither a second constant of ln 2 nor scaling in two halves.
constexpr real unit = static_cast<real>(single ? 1.4426950408889634 : 1.0);

/// 2^x for x <= 127; exactly 0 from -127 down, so that a masked pair weighs nothing. In double, the twin, e^x.
inline vec power(vec x) {
  if constexpr (!single) {
    return exp_exact(x);
  } else {
    x = max(x, splat(-127));  // there n = -127, r = 0, and the exponent's bits below vanish with the mantissa's: +0
    const vec magic = splat(12582912);  // 1.5 2^23: its last bits take round(x)
    vec n = x + magic;
    ivec bits;
    __builtin_memcpy(&bits, &n, sizeof bits);
    n -= magic;
    const vec r = x - n;
    // minimax on [-1/2, 1/2] with p(0) = 1: relative error 9.2e-8
    vec p = splat(static_cast<real>(1.326472725e-3));
    p = p * r + static_cast<real>(9.671512786e-3);
    p = p * r + static_cast<real>(5.550733744e-2);
    p = p * r + static_cast<real>(2.402224208e-1);
    p = p * r + static_cast<real>(6.931469776e-1);
    p = p * r + static_cast<real>(1);
    ivec y;
    __builtin_memcpy(&y, &p, sizeof y);
    y += bits << 23;  // the magic number's own bits leave at the top
    __builtin_memcpy(&p, &y, sizeof p);
    return p;
  }
}

/// Rows of up to this many vectors are held in registers from load to store.
enum : int { held = 6 };

template <int NV>
inline void row_in(vec (&x)[NV], const real* s, const real* bias, const real* column, int64_t from) {
#pragma GCC unroll 8
  for (int v = 0; v < NV; ++v) x[v] = load(s + v * lanes);
  if (bias) {
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) x[v] += load(bias + v * lanes);
  }
#pragma GCC unroll 8
  for (int v = 0; v < NV; ++v)
    if (v >= from) x[v] += load(column + v * lanes);
}

constexpr real lowest = static_cast<real>(-1e30);  // instead of a maximum of -inf, of which nothing may be subtracted

/// 1 / sum and the logarithm of the sum of n rows; a row that may see nothing has sum 0 and gets zeros.
inline void finish(vec total, vec top, real* inverse, real* logsum, int64_t n) {
  const vec one = static_cast<real>(1) / total, lg = top + unit * log(max(total, splat(static_cast<real>(1e-30))));
  store_part(inverse, select(total > 0, one, vec{}), n);
  store_part(logsum, select(total > 0, lg, vec{}), n);
}

/// One number per row out of `lanes` rows of partial ones: lane l of the result is op over the lanes of r[l]. Three operations a row,
/// where a reduction of its own takes eight and waits for each.
template <int W = lanes / 2, class Op>
inline vec across(vec (&r)[lanes], Op op) {
  ivec low, high;
  for (int l = 0; l < lanes; ++l) {
    low[l] = l & W ? lanes + (l ^ W) : l;
    high[l] = l & W ? lanes + l : l ^ W;
  }
#pragma GCC unroll 8
  for (int i = 0; i < W; ++i)
    r[i] = op(__builtin_shuffle(r[i], r[i + W], low), __builtin_shuffle(r[i], r[i + W], high));
  if constexpr (W > 1) {
    return across<W / 2>(r, op);
  } else {
    return r[0];
  }
}

template <int NV>
void softmax_held(real* s, int64_t rows, const real* bias, const real* column, int64_t from, real* inverse,
                  real* logsum) {
  constexpr int64_t ld = NV * lanes;
  for (int64_t i = 0; i < rows; i += lanes, s += lanes * ld, bias += bias ? lanes * ld : 0) {
    const int64_t n = rows - i < lanes ? rows - i : int64_t{lanes};
    vec part[lanes] = {};
    for (int64_t r = 0; r < n; ++r) {
      vec x[NV];
      row_in<NV>(x, s + r * ld, bias ? bias + r * ld : nullptr, column, from);
#pragma GCC unroll 8
      for (int v = 1; v < NV; ++v) x[0] = max(x[0], x[v]);
      part[r] = x[0];
    }
    const vec top = unit * max(across(part, [](vec x, vec y) { return max(x, y); }), splat(lowest));
    real shift[lanes];
    store(shift, -top);
    for (int64_t r = 0; r < n; ++r) {
      vec x[NV], total = {};
      row_in<NV>(x, s + r * ld, bias ? bias + r * ld : nullptr, column, from);
      const vec minus = splat(shift[r]);
#pragma GCC unroll 8
      for (int v = 0; v < NV; ++v) {
        x[v] = power(x[v] * unit + minus);
        total += x[v];
        store(s + r * ld + v * lanes, x[v]);
      }
      part[r] = total;
    }
    finish(across(part, [](vec x, vec y) { return x + y; }), top, inverse + i, logsum + i, n);
  }
}

void softmax_long(real* s, int64_t ld, int64_t rows, const real* bias, const real* column, int64_t from, real* inverse,
                  real* logsum) {
  for (int64_t i = 0; i < rows; ++i, s += ld) {
    vec top = splat(lowest);
    for (int64_t c = 0; c < ld; c += lanes) {
      vec x = load(s + c);
      if (bias) x += load(bias + i * ld + c);
      if (c >= from * lanes) x += load(column + c);
      top = max(top, x);
      store(s + c, x);
    }
    const vec shift = splat(unit * max_of(top));
    vec total = {};
    for (int64_t c = 0; c < ld; c += lanes) {
      const vec p = power(load(s + c) * unit - shift);
      total += p;
      store(s + c, p);
    }
    finish(splat(sum(total)), shift, inverse + i, logsum + i, 1);
  }
}

template <int NV>
void weights_held(real* s, int64_t rows, const real* bias, const real* column, int64_t from, const real* logsum) {
  for (int64_t i = 0; i < rows; ++i, s += NV * lanes) {
    vec x[NV];
    row_in<NV>(x, s, bias ? bias + i * NV * lanes : nullptr, column, from);
    const real shift = -logsum[i];
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) store(s + v * lanes, power(x[v] * unit + shift));
  }
}

template <int NV>
void dscores_held(const real* p, real* d, int64_t rows) {
  for (int64_t i = 0; i < rows; ++i, p += NV * lanes, d += NV * lanes) {
    vec w[NV], g[NV], total = {};
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) w[v] = load(p + v * lanes), g[v] = load(d + v * lanes), total += w[v] * g[v];
    const vec mean = splat(sum(total));
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) store(d + v * lanes, w[v] * (g[v] - mean));
  }
}

/// f<NV>() for the number of vectors in a row, if rows of that length are held.
template <int NV = held, class F>
inline bool when_held(int64_t vectors, F f) {
  if (vectors == NV) {
    f.template operator()<NV>();
    return true;
  }
  if constexpr (NV > 1) {
    return when_held<NV - 1>(vectors, f);
  } else {
    return false;
  }
}

}  // namespace

void softmax_rows(real* s, int64_t ld, int64_t rows, const real* bias, const real* column, int64_t from, real* inverse,
                  real* logsum) {
  if (!when_held(ld / lanes, [&]<int NV> { softmax_held<NV>(s, rows, bias, column, from, inverse, logsum); }))
    softmax_long(s, ld, rows, bias, column, from, inverse, logsum);
}

void weight_rows(real* s, int64_t ld, int64_t rows, const real* bias, const real* column, int64_t from,
                 const real* logsum) {
  if (when_held(ld / lanes, [&]<int NV> { weights_held<NV>(s, rows, bias, column, from, logsum); })) return;
  for (int64_t i = 0; i < rows; ++i, s += ld)
    for (int64_t c = 0; c < ld; c += lanes) {
      vec x = load(s + c);
      if (bias) x += load(bias + i * ld + c);
      if (c >= from * lanes) x += load(column + c);
      store(s + c, power(x * unit - logsum[i]));
    }
}

void dscore_rows(const real* p, real* d, int64_t ld, int64_t rows) {
  if (when_held(ld / lanes, [&]<int NV> { dscores_held<NV>(p, d, rows); })) return;
  for (int64_t i = 0; i < rows; ++i, p += ld, d += ld) {
    vec total = {};
    for (int64_t c = 0; c < ld; c += lanes) total += load(p + c) * load(d + c);
    const vec mean = splat(sum(total));
    for (int64_t c = 0; c < ld; c += lanes) store(d + c, load(p + c) * (load(d + c) - mean));
  }
}

void pair_drop(real* s, int64_t ld, int64_t rows, int64_t m, const uint64_t* name, const int32_t* token,
               uint32_t threshold, real kept) {
  for (int64_t i = 0; i < rows; ++i, s += ld) {
    const uint32_t low = static_cast<uint32_t>(name[i]), high = static_cast<uint32_t>(name[i] >> 32);
    for (int64_t j = 0; j < m; ++j) {  // as pair_bits() in core/ops/attention_call.h
      uint32_t x = low + static_cast<uint32_t>(token[j]) * 0x9e3779b9u;
      x = (x ^ (x >> 16)) * 0x7feb352du;
      x ^= high;
      x = (x ^ (x >> 15)) * 0x846ca68bu;
      x ^= x >> 16;
      s[j] = x < threshold ? 0 : s[j] * kept;
    }
  }
}

void pair_gather(real* s, int64_t ld, int64_t rows, int64_t m, const real* t, int64_t row, int64_t step, int64_t column,
                 const int32_t* rho, int64_t ldrho, int32_t base) {
  for (int64_t i = 0; i < rows; ++i, s += ld, t += row, rho += ldrho) {
    int64_t j = 0;
#if defined(__AVX512F__)
    if constexpr (single) {
      const __m512i iota = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
      const __m512i columns = _mm512_mullo_epi32(iota, _mm512_set1_epi32(static_cast<int>(column)));
      for (; j < m; j += lanes) {
        const auto some = static_cast<__mmask16>(m - j < lanes ? (1u << (m - j)) - 1 : 0xffffu);
        __m512i at = _mm512_maskz_loadu_epi32(some, rho + j);
        const __mmask16 on = _mm512_mask_cmpge_epi32_mask(some, at, _mm512_setzero_si512());
        at = _mm512_sub_epi32(at, _mm512_set1_epi32(base));
        if (step != 1) at = _mm512_mullo_epi32(at, _mm512_set1_epi32(static_cast<int>(step)));
        at = _mm512_add_epi32(at, columns);
        const __m512 found = _mm512_mask_i32gather_ps(_mm512_setzero_ps(), on, at, t + j * column, 4);
        store(s + j, load(s + j) + vec(found));
      }
      continue;
    }
#endif
    for (; j < m; ++j)
      if (rho[j] >= 0) s[j] += t[(rho[j] - base) * step + j * column];
  }
}

void pair_scatter(const real* s, int64_t ld, int64_t rows, int64_t m, real* t, int64_t row, int64_t step,
                  int64_t column, const int32_t* rho, int64_t ldrho, int32_t base) {
  for (int64_t i = 0; i < rows; ++i, s += ld, t += row, rho += ldrho)
    for (int64_t j = 0; j < m; ++j)
      if (rho[j] >= 0) t[(rho[j] - base) * step + j * column] += s[j];
}

namespace {

enum : int { most_gates = 12 };

/// prod_t table_t[rho_t, c..] for one pair without gate `but`.
inline vec gate_product(const PairGate* gates, int64_t count, const real* const* rows, int64_t c, int64_t n,
                        int64_t but) {
  vec w = splat(1);
  for (int64_t t = 0; t < count; ++t) {
    if (t == but || !rows[t]) continue;
    w *= gates[t].width == 1 ? splat(*rows[t]) : n < lanes ? load_part(rows[t] + c, n) : load(rows[t] + c);
  }
  return w;
}
inline void gate_rows(const PairGate* gates, int64_t count, int64_t i, int64_t j, const real** rows) {
  for (int64_t t = 0; t < count; ++t) {
    const int64_t x = gates[t].rho[i * gates[t].ldrho + j];
    rows[t] = x < 0 ? nullptr : gates[t].table + x * gates[t].width;
  }
}

}  // namespace

void gated_scores(real* s, int64_t ld, int64_t rows, int64_t m, int64_t d, real scale, const real* q, int64_t ldq,
                  const real* k, int64_t ldk, const PairGate* gates, int64_t count) {
  const real* at[most_gates];
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < m; ++j) {
      gate_rows(gates, count, i, j, at);
      vec total = {};
      for (int64_t c = 0; c < d; c += lanes)  // q and k are padded with zeros
        total += load(q + i * ldq + c) * load(k + j * ldk + c) * gate_product(gates, count, at, c, d - c, -1);
      s[i * ld + j] = scale * sum(total);
    }
}

void gated_scores_backward(const real* ds, int64_t ld, int64_t rows, int64_t m, int64_t d, real scale, const real* q,
                           int64_t ldq, const real* k, int64_t ldk, const PairGate* gates, int64_t count, real* dq,
                           real* dk) {
  const real* at[most_gates];
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < m; ++j) {
      const real g = ds[i * ld + j];
      if (g == 0) continue;
      gate_rows(gates, count, i, j, at);
      for (int64_t c = 0; c < d; c += lanes) {
        const vec a = load(q + i * ldq + c), b = load(k + j * ldk + c);
        const vec w = g * gate_product(gates, count, at, c, d - c, -1);
        store(dq + i * ldq + c, load(dq + i * ldq + c) + w * b);
        store(dk + j * ldk + c, load(dk + j * ldk + c) + w * a);
        for (int64_t t = 0; t < count; ++t) {
          if (!at[t] || !gates[t].dtable) continue;
          const vec dw = scale * g * a * b * gate_product(gates, count, at, c, d - c, t);
          real* to = gates[t].dtable + (at[t] - gates[t].table);
          if (gates[t].width == 1) {
            *to += sum(dw);
          } else if (d - c < lanes) {
            store_part(to + c, load_part(to + c, d - c) + dw, d - c);
          } else {
            store(to + c, load(to + c) + dw);
          }
        }
      }
    }
}

TESSERA_KERNELS_END
