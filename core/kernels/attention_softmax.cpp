// Scores to weights, forward and backward, row by row. Measured together with attention_products.cpp.
#include "tessera/core/kernels/attention_softmax.h"

#include "tessera/core/kernels/attention_lanes.h"
#include "tessera/core/kernels/math.h"

TESSERA_KERNELS_BEGIN

namespace {

constexpr real none = static_cast<real>(-__builtin_inf());

/// A score and what is added to it. -inf hides the pair whatever its score is: a NaN or +inf, too, of a padded column or a masked key.
inline vec added(vec score, vec b) { return select(b == none, b, score + b); }

/// The scores of one row as softmax sees them. Reading them twice is cheaper than keeping them.
struct Row {
  const real *s, *bias, *column;
  int64_t from;
  vec operator()(int64_t v) const {
    vec x = load(s + v * lanes);
    if (bias) x = added(x, load(bias + v * lanes));
    return v < from ? x : added(x, load(column + v * lanes));
  }
};

/// The largest score of a row, lane by lane, in four chains. A NaN may get lost here; the sum of the powers has it.
template <int NV>
inline vec tops(const Row& row, int64_t vectors) {
  if constexpr (NV > 0) vectors = NV;
  vec top[4] = {splat(none), splat(none), splat(none), splat(none)};
  int64_t v = 0;
#pragma GCC unroll 2
  for (; v + 4 <= vectors; v += 4)
#pragma GCC unroll 4
    for (int t = 0; t < 4; ++t) top[t] = max(top[t], row(v + t));
#pragma GCC unroll 4
  for (; v < vectors; ++v) top[0] = max(top[0], row(v));
  return max(max(top[0], top[1]), max(top[2], top[3]));
}
/// What is subtracted from a row: its maximum; 0 where that is -inf, since the row may see nothing.
inline vec shift_of(vec top) { return select(top == none, vec{}, top); }

/// Stores e^(row - shift) and returns its sum lane by lane.
template <int NV>
inline vec powers(const Row& row, int64_t vectors, vec shift, real* to) {
  if constexpr (NV > 0) vectors = NV;
  vec total = {};
#pragma GCC unroll 8
  for (int64_t v = 0; v < vectors; ++v) {
    const vec p = exp_negative(row(v) - shift);
    total += p;
    store(to + v * lanes, p);
  }
  return total;
}

/// 1 / sum of n rows; a row that may see nothing has sum 0 and gets zeros, a row with NaN keeps it.
inline void invert(vec total, real* inverse, int64_t n) {
  store_part(inverse, select(total == 0, vec{}, static_cast<real>(1) / total), n);
}

/// NV vectors a row; 0: as many as ld says.
template <int NV>
void softmax(real* s, int64_t ld, int64_t rows, const real* bias, const real* column, int64_t from, real* shift,
             real* inverse) {
  const int64_t vectors = NV > 0 ? NV : ld / lanes;
  const auto row = [&](int64_t i) { return Row{s + i * ld, bias ? bias + i * ld : nullptr, column, from}; };
  for (int64_t i = 0; i < rows; i += lanes) {
    const int64_t n = rows - i < lanes ? rows - i : int64_t{lanes};
    if (n <= 2) {  // a few left over, as the last of 65
      for (int64_t r = i; r < rows; ++r) {
        const vec top = shift_of(splat(max_of(tops<NV>(row(r), vectors))));
        store_part(shift + r, top, 1);
        invert(splat(sum(powers<NV>(row(r), vectors, top, s + r * ld))), inverse + r, 1);
      }
      return;
    }
    vec part[lanes] = {};
    for (int64_t r = 0; r < n; ++r) part[r] = tops<NV>(row(i + r), vectors);
    store_part(shift + i, shift_of(across(part, [](vec x, vec y) { return max(x, y); })), n);
    for (int64_t r = 0; r < n; ++r) part[r] = powers<NV>(row(i + r), vectors, splat(shift[i + r]), s + (i + r) * ld);
    invert(across(part, [](vec x, vec y) { return x + y; }), inverse + i, n);
  }
}

/// The bits of softmax's powers again, over their sum: so the weights of a row sum to 1 as those of any softmax. From one number, the
/// logarithm of the sum, they would be off by its rounding, which grows with the scores.
template <int NV>
void weights(real* s, int64_t ld, int64_t rows, const real* bias, const real* column, int64_t from, const real* shift,
             const real* inverse) {
  const int64_t vectors = NV > 0 ? NV : ld / lanes;
  for (int64_t i = 0; i < rows; ++i, s += ld) {
    const Row row{s, bias ? bias + i * ld : nullptr, column, from};
    const vec top = splat(shift[i]), share = splat(inverse[i]);
#pragma GCC unroll 8
    for (int64_t v = 0; v < vectors; ++v) store(s + v * lanes, exp_negative(row(v) - top) * share);
  }
}

template <int NV>
void dscores(const real* p, real* d, int64_t ld, int64_t rows) {
  const int64_t vectors = NV > 0 ? NV : ld / lanes;
  for (int64_t i = 0; i < rows; ++i, p += ld, d += ld) {
    vec total[2] = {};
#pragma GCC unroll 8
    for (int64_t v = 0; v < vectors; ++v) total[v % 2] += load(p + v * lanes) * load(d + v * lanes);
    const vec mean = splat(sum(total[0] + total[1]));
#pragma GCC unroll 8
    for (int64_t v = 0; v < vectors; ++v) store(d + v * lanes, load(p + v * lanes) * (load(d + v * lanes) - mean));
  }
}

}  // namespace

void softmax_rows(real* s, int64_t ld, int64_t rows, const real* bias, const real* column, int64_t from, real* shift,
                  real* inverse) {
  by_length(ld / lanes, [&]<int NV> { softmax<NV>(s, ld, rows, bias, column, from, shift, inverse); });
}

void weight_rows(real* s, int64_t ld, int64_t rows, const real* bias, const real* column, int64_t from,
                 const real* shift, const real* inverse) {
  by_length(ld / lanes, [&]<int NV> { weights<NV>(s, ld, rows, bias, column, from, shift, inverse); });
}

void dscore_rows(const real* p, real* d, int64_t ld, int64_t rows) {
  by_length(ld / lanes, [&]<int NV> { dscores<NV>(p, d, ld, rows); });
}

extern constinit const AttentionSoftmaxKernels attention_softmax_kernels{
    .softmax_rows = softmax_rows,
    .weight_rows = weight_rows,
    .dscore_rows = dscore_rows,
};

TESSERA_KERNELS_END
