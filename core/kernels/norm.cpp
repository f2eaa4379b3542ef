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

extern constinit const NormKernels norm_kernels{
    .layernorm = layernorm,
    .layernorm_backward = layernorm_backward,
};

TESSERA_KERNELS_END
