// What is looked up for every pair of tokens: dropout, terms of tables, gates as wide as the head.
#include "tessera/core/kernels/attention_pairs.h"

#include "tessera/core/kernels/attention_lanes.h"
#include "tessera/core/kernels/math.h"

TESSERA_KERNELS_BEGIN

void pair_drop(real* s, int64_t ld, int64_t rows, int64_t m, const uint64_t* name, const int32_t* token,
               uint32_t threshold, real kept) {
  for (int64_t i = 0; i < rows; ++i, s += ld) {
    const uint32_t low = static_cast<uint32_t>(name[i]), high = static_cast<uint32_t>(name[i] >> 32);
    for (int64_t j = 0; j < m; ++j) {  // as pair_bits() in core/ops/attention/call.h
      uint32_t x = low + static_cast<uint32_t>(token[j]) * 0x9e3779b9u;
      x = (x ^ (x >> 16)) * 0x7feb352du;
      x ^= high;
      x = (x ^ (x >> 15)) * 0x846ca68bu;
      x ^= x >> 16;
      s[j] *= x < threshold ? 0 : kept;
    }
  }
}

namespace {

/// t[rho_j] += s_j for j in [from, to). Neighbours of the same index are summed first: added one by one to the same place, each would
/// wait for the store of the one before.
template <class T>
void scatter_each(const T* s, int64_t from, int64_t to, T* t, const int32_t* rho) {
  for (int64_t j = from; j < to;) {
    const int32_t at = rho[j];
    T sum = s[j];
    while (++j < to && rho[j] == at) sum += s[j];
    if (at >= 0) t[at] += sum;
  }
}

}  // namespace

#if defined(__AVX512F__)
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // g++ 12 warns of its own _mm512_undefined_*
#endif
namespace {

/// Relative indices mostly run: along a row of keys the offset grows or falls by one, on a grid of width 8 or more for at least 8 keys,
/// and that along the other axis stays. Then a gather is two loads and a scatter two additions in place. Without those that stay, and with
/// 16s that began at a class token with a row of its own, a step of the 0.3M ViT in bf16 with shaw_axial_kv took 2.23 times that with none,
/// with them 1.50; shaw 1.35 and 1.23 (one thread of a Xeon with AMX, medians of six turns).
struct Runs {
  __m512i at;
  __m256i first, second;  ///< unused but for their lowest lane
  enum : int { no, up, down, level } direction;
  explicit Runs(__m512i index) : at(index), direction(no) {
    const __m512i starts = _mm512_set_epi32(8, 8, 8, 8, 8, 8, 8, 8, 0, 0, 0, 0, 0, 0, 0, 0);
    const __m512i steps = _mm512_set_epi32(7, 6, 5, 4, 3, 2, 1, 0, 7, 6, 5, 4, 3, 2, 1, 0);
    const __m512i from_start = _mm512_sub_epi32(at, _mm512_permutexvar_epi32(starts, at));
    first = _mm512_castsi512_si256(at), second = _mm512_extracti64x4_epi64(at, 1);
    if (_mm512_movepi32_mask(at)) return;  // some pair has no row
    if (_mm512_cmpeq_epi32_mask(from_start, steps) == 0xffff) {
      direction = up;
    } else if (_mm512_cmpeq_epi32_mask(_mm512_add_epi32(from_start, steps), _mm512_setzero_si512()) == 0xffff) {
      direction = down;
    } else if (_mm512_test_epi32_mask(from_start, from_start) == 0) {
      direction = level;
    }
  }
  int one() const { return _mm256_extract_epi32(first, 0); }
  int two() const { return _mm256_extract_epi32(second, 0); }
};
inline __m256 reversed(__m256 v) { return _mm256_permutevar8x32_ps(v, _mm256_set_epi32(0, 1, 2, 3, 4, 5, 6, 7)); }
inline float sum_of(__m256 v) {
  __m128 x = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  x = _mm_add_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}
inline void add_to(float* to, __m256 v) { _mm256_storeu_ps(to, _mm256_add_ps(_mm256_loadu_ps(to), v)); }

/// Keys of a row come in 16s from here on: what is beyond a multiple of 8 are class tokens and registers, and they come first.
inline int64_t first_key(int64_t m) { return m % 8; }
inline bool same(__m512i x, __m512i y) { return _mm512_cmpneq_epi32_mask(x, y) == 0; }

/// What 16 keys find in t.
inline __m512 found_in(const float* t, __m512i index) {
  const Runs r(index);
  const auto join = [](__m256 x, __m256 y) { return _mm512_insertf32x8(_mm512_castps256_ps512(x), y, 1); };
  switch (r.direction) {
    case Runs::up:
      return join(_mm256_loadu_ps(t + r.one()), _mm256_loadu_ps(t + r.two()));
    case Runs::down:
      return join(reversed(_mm256_loadu_ps(t + r.one() - 7)), reversed(_mm256_loadu_ps(t + r.two() - 7)));
    case Runs::level:
      return join(_mm256_set1_ps(t[r.one()]), _mm256_set1_ps(t[r.two()]));
    case Runs::no:
      break;
  }
  const __mmask16 has_row = static_cast<__mmask16>(~_mm512_movepi32_mask(index));
  return _mm512_mask_i32gather_ps(_mm512_setzero_ps(), has_row, index, t, 4);
}

/// s += t[rho] for the whole 16s of a row from j on; returns how far it came. On a grid of width 8 or 16 the offsets of columns are those
/// of the keys before.
inline int64_t gather_runs(int64_t j, float* s, int64_t m, const float* t, const int32_t* rho) {
  __m512i last = _mm512_set1_epi32(-1);
  __m512 found = _mm512_setzero_ps();
  for (; j + 16 <= m; j += 16) {
    const __m512i index = _mm512_loadu_si512(rho + j);
    if (!same(index, last)) found = found_in(t, index);
    last = index;
    _mm512_storeu_ps(s + j, _mm512_add_ps(_mm512_loadu_ps(s + j), found));
  }
  return j;
}

/// t[rho] += s likewise; keys with the indices of those before them are summed first.
inline int64_t scatter_runs(int64_t j, const float* s, int64_t m, float* t, const int32_t* rho) {
  while (j + 16 <= m) {
    const int32_t* at = rho + j;
    const __m512i index = _mm512_loadu_si512(at);
    __m512 sum = _mm512_loadu_ps(s + j);
    for (j += 16; j + 16 <= m && same(index, _mm512_loadu_si512(rho + j)); j += 16)
      sum = _mm512_add_ps(sum, _mm512_loadu_ps(s + j));
    const Runs r(index);
    const __m256 one = _mm512_castps512_ps256(sum), two = _mm512_extractf32x8_ps(sum, 1);
    switch (r.direction) {
      case Runs::up:
        add_to(t + r.one(), one), add_to(t + r.two(), two);
        break;
      case Runs::down:
        add_to(t + r.one() - 7, reversed(one)), add_to(t + r.two() - 7, reversed(two));
        break;
      case Runs::level:
        t[r.one()] += sum_of(one), t[r.two()] += sum_of(two);
        break;
      case Runs::no:
        float each[16];
        _mm512_storeu_ps(each, sum);
        scatter_each(each, 0, 16, t, at);
    }
  }
  return j;
}

}  // namespace
#endif

void pair_gather(real* s, int64_t ld, int64_t rows, int64_t m, const real* t, int64_t row, int64_t step, int64_t column,
                 const int32_t* rho, int64_t ldrho, int32_t base) {
  const bool plain = step == 1 && column == 0;
  for (int64_t i = 0; i < rows; ++i, s += ld, t += row, rho += ldrho) {
    int64_t j = 0;
#if defined(__AVX512F__)
    if constexpr (single) {
      if (plain) {
        for (; j < first_key(m); ++j)
          if (rho[j] >= 0) s[j] += t[rho[j] - base];
        j = gather_runs(j, s, m, t - base, rho);
      } else {
        const __m512i iota = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
        const __m512i columns = _mm512_mullo_epi32(iota, _mm512_set1_epi32(static_cast<int>(column)));
        for (; j + 16 <= m; j += 16) {
          const __m512i index = _mm512_loadu_si512(rho + j);
          const __m512i at = _mm512_mullo_epi32(_mm512_sub_epi32(index, _mm512_set1_epi32(base)),
                                                _mm512_set1_epi32(static_cast<int>(step)));
          const __m512 found =
              _mm512_mask_i32gather_ps(_mm512_setzero_ps(), static_cast<__mmask16>(~_mm512_movepi32_mask(index)),
                                       _mm512_add_epi32(at, columns), t + j * column, 4);
          _mm512_storeu_ps(s + j, _mm512_add_ps(_mm512_loadu_ps(s + j), found));
        }
      }
    }
#endif
    if (plain) {
      for (; j < m; ++j)
        if (rho[j] >= 0) s[j] += t[rho[j] - base];
    } else {
      for (; j < m; ++j)
        if (rho[j] >= 0) s[j] += t[(rho[j] - base) * step + j * column];
    }
  }
}

void pair_scatter(const real* s, int64_t ld, int64_t rows, int64_t m, real* t, int64_t row, int64_t step,
                  int64_t column, const int32_t* rho, int64_t ldrho, int32_t base) {
  const bool plain = step == 1 && column == 0;
  for (int64_t i = 0; i < rows; ++i, s += ld, t += row, rho += ldrho) {
    int64_t j = 0;
    if (plain) {
#if defined(__AVX512F__)
      if constexpr (single) {
        scatter_each(s, 0, first_key(m), t - base, rho);
        j = scatter_runs(first_key(m), s, m, t - base, rho);
      }
#endif
      scatter_each(s, j, m, t - base, rho);
    } else {
      for (; j < m; ++j)
        if (rho[j] >= 0) t[(rho[j] - base) * step + j * column] += s[j];
    }
  }
}

namespace {

enum : int { most_gates = 12 };

/// Rows of the gates that pair (i, j) sees. Their tables begin with a row of ones, for pairs without one, so nothing branches.
template <int NG>
struct GateRows {
  const PairGate* gates;
  int64_t count, ld, at[NG > 0 ? NG : most_gates];
  GateRows(const PairGate* g, int64_t n, int64_t ldrow) : gates(g), count(NG > 0 ? NG : n), ld(ldrow) {}
  void find(int64_t i, int64_t j) {
    for (int64_t t = 0; t < count; ++t) at[t] = (gates[t].rho[i * gates[t].ldrho + j] + 1) * ld;
  }
  /// x times the weights of all gates but one in the channels from c on.
  vec operator()(vec x, int64_t c, int64_t but = -1) const {
    for (int64_t t = 0; t < count; ++t)
      if (t != but) x *= load(gates[t].table + at[t] + c);
    return x;
  }
};

/// NV vectors a head, NG gates; 0: as many as the arguments say. The channels of a pair are two or four vectors, so products with the
/// gate go along them whatever its index is, and the sums of 16 pairs are made at once.
template <int NV, int NG>
void gated(real* s, int64_t ld, int64_t rows, int64_t m, int64_t d, real scale, const real* q, const real* k,
           const PairGate* gates, int64_t count) {
  const int64_t vectors = NV > 0 ? NV : d / lanes;
  GateRows<NG> gate(gates, count, d);
  for (int64_t i = 0; i < rows; ++i, q += d, s += ld)
    for (int64_t j = 0; j < m; j += lanes) {
      const int64_t n = m - j < lanes ? m - j : int64_t{lanes};
      vec part[lanes] = {};
      for (int64_t l = 0; l < n; ++l) {
        gate.find(i, j + l);
        const real* key = k + (j + l) * d;
#pragma GCC unroll 4
        for (int64_t v = 0; v < vectors; ++v) part[l] += gate(load(q + v * lanes) * load(key + v * lanes), v * lanes);
      }
      store(s + j, scale * across(part, [](vec x, vec y) { return x + y; }));
    }
}

template <int NV, int NG>
void gated_backward(const real* ds, int64_t ld, int64_t rows, int64_t m, int64_t d, const real* q, const real* k,
                    const PairGate* gates, int64_t count, real* dq, real* dk) {
  GateRows<NG> gate(gates, count, d);
  const auto pair = [&](int64_t j, int64_t c, vec g, vec a, vec& da) {
    const vec b = load(k + j * d + c), ga = g * a;
    da += gate(g * b, c);
    store(dk + j * d + c, load(dk + j * d + c) + gate(ga, c));
    for (int64_t t = 0; t < gate.count; ++t) {
      real* to = gates[t].dtable + gate.at[t] + c;
      store(to, load(to) + gate(ga, c, t) * b);
    }
  };
  for (int64_t i = 0; i < rows; ++i, q += d, dq += d, ds += ld) {
    if constexpr (NV > 0) {
      vec a[NV], da[NV] = {};
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) a[v] = load(q + v * lanes);
      for (int64_t j = 0; j < m; ++j) {
        gate.find(i, j);
        const vec g = splat(ds[j]);
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) pair(j, v * lanes, g, a[v], da[v]);
      }
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) store(dq + v * lanes, da[v]);
    } else {
      for (int64_t c = 0; c < d; c += lanes) store(dq + c, vec{});
      for (int64_t j = 0; j < m; ++j) {
        gate.find(i, j);
        for (int64_t c = 0; c < d; c += lanes) {
          vec da = load(dq + c);
          pair(j, c, splat(ds[j]), load(q + c), da);
          store(dq + c, da);
        }
      }
    }
  }
}

}  // namespace

void gated_scores(real* s, int64_t ld, int64_t rows, int64_t m, int64_t d, real scale, const real* q, const real* k,
                  const PairGate* gates, int64_t count) {
  by_length<4>(d / lanes, [&]<int NV> {
    if (count == 1) return gated<NV, 1>(s, ld, rows, m, d, scale, q, k, gates, count);
    gated<NV, 0>(s, ld, rows, m, d, scale, q, k, gates, count);
  });
}

void gated_scores_backward(const real* ds, int64_t ld, int64_t rows, int64_t m, int64_t d, const real* q, const real* k,
                           const PairGate* gates, int64_t count, real* dq, real* dk) {
  by_length<4>(d / lanes, [&]<int NV> {
    if (count == 1) return gated_backward<NV, 1>(ds, ld, rows, m, d, q, k, gates, count, dq, dk);
    gated_backward<NV, 0>(ds, ld, rows, m, d, q, k, gates, count, dq, dk);
  });
}

extern constinit const AttentionPairKernels attention_pair_kernels{
    .pair_drop = pair_drop,
    .pair_gather = pair_gather,
    .pair_scatter = pair_scatter,
    .gated_scores = gated_scores,
    .gated_scores_backward = gated_scores_backward,
};

TESSERA_KERNELS_END
