// LayerNorm and BatchNorm, their sums in double.
//
// Measured on one core of an AMD Zen 4 (`tessera bench ops` under TESSERA_ISA), us on vectors of 16, 32 and 64 bytes:
//   layernorm of 520 x 192, forward 34 19 11, with backward 189 62 54      batchnorm of 2048 x 64, 82 50 40 and 283 148 128
#include "tessera/core/kernels/norm.h"

#include "tessera/core/kernels/math.h"

TESSERA_KERNELS_BEGIN

void layernorm(const real* x, const real* w, const real* b, real eps, real* y, real* mean, real* rstd, int64_t rows,
               int64_t C) {
  const real inverse = static_cast<real>(1) / static_cast<real>(C);
  for (int64_t i = 0; i < rows; ++i, x += C, y += C) {
    vec s = {}, q = {};
    int64_t c = 0;
    for (; c + lanes <= C; c += lanes) s += load(x + c);
    if (c < C) s += load_part(x + c, C - c);
    const real m = sum(s) * inverse;
    for (c = 0; c + lanes <= C; c += lanes) {
      const vec t = load(x + c) - m;
      q += t * t;
    }
    real tail = 0;
    for (int64_t k = c; k < C; ++k) tail += (x[k] - m) * (x[k] - m);
    const real r = static_cast<real>(1) / static_cast<real>(__builtin_sqrt((sum(q) + tail) * inverse + eps));
    mean[i] = m, rstd[i] = r;
    for (c = 0; c + lanes <= C; c += lanes) {
      vec t = (load(x + c) - m) * r;
      if (w) t *= load(w + c);
      if (b) t += load(b + c);
      store(y + c, t);
    }
    for (; c < C; ++c) y[c] = (x[c] - m) * r * (w ? w[c] : 1) + (b ? b[c] : 0);
  }
}

void layernorm_backward(const real* x, const real* w, const real* mean, const real* rstd, const real* dy, real* dx,
                        real beta, real* dw, real* db, int64_t rows, int64_t C) {
  const real inverse = static_cast<real>(1) / static_cast<real>(C);
  for (int64_t i = 0; i < rows; ++i, x += C, dy += C, dx = dx ? dx + C : dx) {
    const real m = mean[i], r = rstd[i];
    // a = sum of dxhat, e = sum of dxhat xhat, where dxhat = dy w
    vec va = {}, ve = {};
    int64_t c = 0;
    for (; c + lanes <= C; c += lanes) {
      const vec g = load(dy + c), h = (load(x + c) - m) * r, t = w ? g * load(w + c) : g;
      va += t, ve += t * h;
      if (dw) store(dw + c, load(dw + c) + g * h);
      if (db) store(db + c, load(db + c) + g);
    }
    real a = sum(va), e = sum(ve);
    for (; c < C; ++c) {
      const real h = (x[c] - m) * r, t = dy[c] * (w ? w[c] : 1);
      a += t, e += t * h;
      if (dw) dw[c] += dy[c] * h;
      if (db) db[c] += dy[c];
    }
    if (!dx) continue;
    a *= inverse, e *= inverse;
    for (c = 0; c + lanes <= C; c += lanes) {
      const vec h = (load(x + c) - m) * r, t = w ? load(dy + c) * load(w + c) : load(dy + c);
      vec d = (t - a - h * e) * r;
      if (beta != 0) d += beta * load(dx + c);
      store(dx + c, d);
    }
    for (; c < C; ++c) {
      const real h = (x[c] - m) * r, d = (dy[c] * (w ? w[c] : 1) - a - h * e) * r;
      dx[c] = beta == 0 ? d : beta * dx[c] + d;
    }
  }
}

void layernorm_tables(const real* x, const real* mean, const real* rstd, const real* dy, int64_t ld, real* dw, real* db,
                      int64_t rows, int64_t columns) {
  for (int64_t i = 0; i < rows; ++i, x += ld, dy += ld) {
    const real m = mean[i], r = rstd[i];
    int64_t c = 0;
    for (; c + lanes <= columns; c += lanes) {
      const vec g = load(dy + c), h = (load(x + c) - m) * r;
      if (dw) store(dw + c, load(dw + c) + g * h);
      if (db) store(db + c, load(db + c) + g);
    }
    for (; c < columns; ++c) {
      const real h = (x[c] - m) * r;
      if (dw) dw[c] += dy[c] * h;
      if (db) db[c] += dy[c];
    }
  }
}

// ---- batchnorm -----------------------------------------------------------------------------------------------------------

/// As many reals as make a register of doubles.
enum : int { part_lanes = TESSERA_VECTOR_BYTES / 8 };
using dvec = double __attribute__((vector_size(TESSERA_VECTOR_BYTES)));
using part = real __attribute__((vector_size(part_lanes * sizeof(real))));

static inline part load_half(const real* p) {
  part v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
static inline dvec doubles(part v) { return __builtin_convertvector(v, dvec); }
static inline dvec load_sums(const double* p) {
  dvec v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

/// sum[s][c] += f_s(row i, c), row after row, with `S` sums at once: two stretches have the bits of one. f(at, c) -> Terms<S, part>, of
/// part_lanes columns from c on, or g(at, c) -> Terms<S, real>, of column c alone; at = i C + c. Two registers of columns a pass: a line
/// of the cache.
template <int S, class T>
struct Terms {
  T of[S];
};
template <int S, class F, class G>
static inline void sum_columns(int64_t rows, int64_t C, double* const (&sums)[S], F f, G g) {
  int64_t c = 0;
  for (; c + 2 * part_lanes <= C; c += 2 * part_lanes) {
    dvec a[S], b[S];
    for (int s = 0; s < S; ++s) a[s] = load_sums(sums[s] + c), b[s] = load_sums(sums[s] + c + part_lanes);
    for (int64_t i = 0, at = c; i < rows; ++i, at += C) {
      const Terms<S, part> left = f(at, c), right = f(at + part_lanes, c + part_lanes);
      for (int s = 0; s < S; ++s) a[s] += doubles(left.of[s]), b[s] += doubles(right.of[s]);
    }
    for (int s = 0; s < S; ++s) {
      __builtin_memcpy(sums[s] + c, &a[s], sizeof a[s]);
      __builtin_memcpy(sums[s] + c + part_lanes, &b[s], sizeof b[s]);
    }
  }
  for (; c < C; ++c) {
    double a[S];
    for (int s = 0; s < S; ++s) a[s] = sums[s][c];
    for (int64_t i = 0, at = c; i < rows; ++i, at += C) {
      const Terms<S, real> here = g(at, c);
      for (int s = 0; s < S; ++s) a[s] += static_cast<double>(here.of[s]);
    }
    for (int s = 0; s < S; ++s) sums[s][c] = a[s];
  }
}

void batchnorm_sum(const real* x, int64_t rows, int64_t C, double* sum) {
  sum_columns<1>(
      rows, C, {sum}, [=](int64_t at, int64_t) { return Terms<1, part>{{load_half(x + at)}}; },
      [=](int64_t at, int64_t) { return Terms<1, real>{{x[at]}}; });
}

void batchnorm_squares(const real* x, const real* mean, int64_t rows, int64_t C, double* sum) {
  const auto square = [](auto d) { return d * d; };
  sum_columns<1>(
      rows, C, {sum},
      [=](int64_t at, int64_t c) { return Terms<1, part>{{square(load_half(x + at) - load_half(mean + c))}}; },
      [=](int64_t at, int64_t c) { return Terms<1, real>{{square(x[at] - mean[c])}}; });
}

void batchnorm_sums(const real* x, const real* mean, const real* rstd, const real* dy, int64_t rows, int64_t C,
                    double* sum, double* dot, double* over) {
  const auto terms = [](auto d, auto h) { return Terms<3, decltype(d)>{{d, d * h, h}}; };
  sum_columns<3>(
      rows, C, {sum, dot, over},
      [=](int64_t at, int64_t c) {
        return terms(load_half(dy + at), (load_half(x + at) - load_half(mean + c)) * load_half(rstd + c));
      },
      [=](int64_t at, int64_t c) { return terms(dy[at], (x[at] - mean[c]) * rstd[c]); });
}

void batchnorm(const real* x, const real* mean, const real* rstd, const real* w, const real* b, real* y, int64_t rows,
               int64_t C) {
  for (int64_t i = 0; i < rows; ++i, x += C, y += C) {
    int64_t c = 0;
    for (; c + lanes <= C; c += lanes)
      store(y + c, (load(x + c) - load(mean + c)) * load(rstd + c) * load(w + c) + load(b + c));
    for (; c < C; ++c) y[c] = (x[c] - mean[c]) * rstd[c] * w[c] + b[c];
  }
}

void batchnorm_backward(const real* x, const real* mean, const real* rstd, const real* w, const real* dy,
                        const real* sum, const real* dot, const real* over, real* dx, real beta, int64_t rows,
                        int64_t C) {
  const auto slope = [](auto h, auto ws, auto d, auto s, auto p, auto o) { return ws * (d - s - (h - o) * p); };
  for (int64_t i = 0; i < rows; ++i, x += C, dy += C, dx += C) {
    int64_t c = 0;
    for (; c + lanes <= C; c += lanes) {
      const vec r = load(rstd + c), ws = load(w + c) * r;
      vec d = ws * load(dy + c);
      if (sum)
        d = slope((load(x + c) - load(mean + c)) * r, ws, load(dy + c), load(sum + c), load(dot + c), load(over + c));
      store(dx + c, beta == 0 ? d : beta * load(dx + c) + d);
    }
    for (; c < C; ++c) {
      const real ws = w[c] * rstd[c];
      real d = ws * dy[c];
      if (sum) d = slope((x[c] - mean[c]) * rstd[c], ws, dy[c], sum[c], dot[c], over[c]);
      dx[c] = beta == 0 ? d : beta * dx[c] + d;
    }
  }
}

extern constinit const NormKernels norm_kernels{
    .layernorm = layernorm,
    .layernorm_backward = layernorm_backward,
    .layernorm_tables = layernorm_tables,
    .batchnorm_sum = batchnorm_sum,
    .batchnorm_squares = batchnorm_squares,
    .batchnorm = batchnorm,
    .batchnorm_sums = batchnorm_sums,
    .batchnorm_backward = batchnorm_backward,
};

TESSERA_KERNELS_END
