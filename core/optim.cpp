// AdamW and SGD are kernels, since every model is trained by them. The loops of the others are plain: as SSE2 they take 0.8 and 1.1 ms where
// AdamW's AVX-512 takes 0.9, of 540 ms a step of the 0.8M ViT on an AMD Zen 4, and Muon's 26 ms are its products (docs/optimisers.md).
#include "tessera/core/optim.h"

#include <algorithm>
#include <cmath>

#include "tessera/core/gemm.h"
#include "tessera/core/kernels/kernels.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

real r(double v) { return static_cast<real>(v); }

double kept(const StepNow& now, double weight_decay) { return 1 - (now.decay ? now.lr * weight_decay : 0); }

/// Scales w so that its Frobenius norm is `norm`; zeros stay zeros.
void to_norm(double norm, real* w, int64_t n) {
  double square = 0;
  kernels().square_sum(w, &square, n);
  const real factor = square > 0 ? r(norm / std::sqrt(square)) : 1;
  for (int64_t i = 0; i < n; ++i) w[i] *= factor;
}

}  // namespace

void scaled_sum(real a, const real* x, real b, real* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = a * x[i] + b * y[i];
}

void take_step(const AdamWOptions& o, const StepNow& now, const Slice& at) {
  const AdamWStep s{r(now.clip),
                    r(kept(now, o.weight_decay)),
                    r(1 - o.beta1),
                    r(o.beta2),
                    r(1 - o.beta2),
                    r(now.lr / (1 - std::pow(o.beta1, now.t))),
                    r(1 / std::sqrt(1 - std::pow(o.beta2, now.t))),
                    r(o.eps),
                    r(1 - o.ema_decay)};
  kernels().adamw(&s, at.g, at.w, at.m, at.v, at.ema, at.n);
}

void take_step(const SgdOptions& o, const StepNow& now, const Slice& at) {
  const SgdStep s{r(now.clip),
                  r(now.lr),
                  r(now.decay ? o.weight_decay : 0),
                  r(o.momentum),
                  r(o.nesterov ? 1 : 0),
                  r(o.nesterov ? o.momentum : 1),
                  r(1 - o.ema_decay)};
  kernels().sgd(&s, at.g, at.w, at.m, at.ema, at.n);
}

void take_step(const LionOptions& o, const StepNow& now, const Slice& at) {
  const real clip = r(now.clip), keep = r(kept(now, o.weight_decay)), rate = r(now.lr);
  const real beta1 = r(o.beta1), share1 = r(1 - o.beta1), beta2 = r(o.beta2), share2 = r(1 - o.beta2);
  const auto [g, w, m, v, ema, n] = at;
  for (int64_t i = 0; i < n; ++i) {
    const real d = g[i] * clip, c = m[i] * beta1 + d * share1;
    w[i] = w[i] * keep - (c > 0 ? rate : c < 0 ? -rate : 0);
    m[i] = m[i] * beta2 + d * share2;
  }
  if (ema) kernels().average(w, ema, r(1 - o.ema_decay), n);
}

// ---- schedule-free AdamW --------------------------------------------------------------------------------------------

void take_step(const ScheduleFreeAdamWOptions& o, const StepNow& now, const Slice& at) {
  const real clip = r(now.clip), beta2 = r(o.beta2), share2 = r(1 - o.beta2), eps = r(o.eps), rate = r(now.lr);
  const real inverse_root = r(1 / std::sqrt(1 - std::pow(o.beta2, now.t)));
  const real weight_decay = r(now.decay ? o.weight_decay : 0), c = r(now.c);
  const real along = r(now.lr * (1 - o.beta1 * (1 - now.c)));
  const auto [g, y, z, v, ema, n] = at;
  for (int64_t i = 0; i < n; ++i) {
    const real d = g[i] * clip;
    v[i] = v[i] * beta2 + d * d * share2;
    const real u = d / (std::sqrt(v[i]) * inverse_root + eps) + weight_decay * y[i];
    y[i] += (z[i] - y[i]) * c - along * u;
    z[i] -= rate * u;
  }
}

void schedule_free_average(const ScheduleFreeAdamWOptions& o, const real* y, const real* z, real* x, int64_t n) {
  std::copy_n(y, n, x);
  kernels().average(z, x, r(1 - 1 / o.beta1), n);
}

// ---- Muon -----------------------------------------------------------------------------------------------------------

void take_step(const MuonOptions& o, const StepNow& now, const Slice& at) {
  StepNow adamw = now;
  adamw.lr *= o.adamw_rate;
  take_step(AdamWOptions{o.beta1, o.beta2, o.eps, o.weight_decay, o.clip_grad, o.ema_decay}, adamw, at);
}

OrthogonalRoom::OrthogonalRoom(int64_t numbers, int64_t side)
    : x({static_cast<int>(numbers)}),
      y({static_cast<int>(numbers)}),
      gram({static_cast<int>(side), static_cast<int>(side)}),
      polynomial(gram.shape()) {}

int64_t OrthogonalRoom::bytes() const {
  return (x.size() + y.size() + gram.size() + polynomial.size()) * static_cast<int64_t>(sizeof(real));
}

const real* orthogonal(int64_t rows, int64_t cols, int steps, OrthogonalRoom& room) {
  constexpr double a = 3.4445, b = -4.7750, c = 2.0315;
  constexpr double smallest = 1e-7;  // of the norm: a gradient of nothing but zeros stays one
  constexpr Precision exact = Precision::f32;
  const int64_t side = std::min(rows, cols), n = rows * cols;
  real *x = room.x.data(), *y = room.y.data(), *G = room.gram.data(), *P = room.polynomial.data();
  double square = 0;
  kernels().square_sum(x, &square, n);
  kernels().div_by(x, r(std::max(std::sqrt(square), smallest)), x, n);
  for (int i = 0; i < steps; ++i) {
    const bool wide = rows <= cols;
    if (wide) {
      gemm_nt(side, side, cols, x, cols, x, cols, 0, G, side, nullptr, nullptr, exact);
    } else {
      gemm_tn(side, side, rows, x, cols, x, cols, 0, G, side, exact);
    }
    gemm_nn(side, side, side, G, side, G, side, 0, P, side, nullptr, {}, exact);
    scaled_sum(r(b), G, r(c), P, side * side);
    if (wide) {
      gemm_nn(rows, cols, side, P, side, x, cols, 0, y, cols, nullptr, {}, exact);
    } else {
      gemm_nn(rows, cols, side, x, cols, P, side, 0, y, cols, nullptr, {}, exact);
    }
    scaled_sum(r(a), x, 1, y, n);
    std::swap(x, y);
  }
  return x;
}

double adjusted(AdjustLr how, int64_t rows, int64_t cols) {
  const auto A = static_cast<double>(rows), B = static_cast<double>(cols);
  return how == AdjustLr::original ? std::sqrt(std::max(1.0, A / B)) : 0.2 * std::sqrt(std::max(A, B));
}

void take_matrix_step(const MuonOptions& o, const StepNow& now, int64_t rows, int64_t cols, const Slice& at,
                      OrthogonalRoom& room) {
  const real clip = r(now.clip), share = r(1 - o.momentum), along = r(o.nesterov ? o.momentum : 1);
  const auto [g, w, m, v, ema, n] = at;
  real* const u = room.x.data();
  for (int64_t i = 0; i < n; ++i) {
    const real d = g[i] * clip;
    m[i] += (d - m[i]) * share;
    u[i] = d + (m[i] - d) * along;
  }
  const real* const o_of_u = orthogonal(rows, cols, o.ns_steps, room);
  if (o.normalize_weights) to_norm(std::sqrt(static_cast<double>(rows)), w, n);
  scaled_sum(r(-now.lr * adjusted(o.adjust_lr, rows, cols)), o_of_u, r(kept(now, o.weight_decay)), w, n);
  if (ema) kernels().average(w, ema, r(1 - o.ema_decay), n);
}

}  // namespace TESSERA_NS
}  // namespace tessera
