//   l  = s sum_b (T_b lse_b - sum_k t'_bk z_bk),   lse = ln sum_k e^z_k,   T = sum_k t'_k,   t' = (1 - e) t + e / K
//   dz = dl s (T softmax(z) - t')                                                          saved: z, lse, t or labels
//
//   mse  l = mean (x - y)^2      dx = dl 2 (x - y) / n      dy = -dx                       saved: x - y
#include "tessera/core/ops/loss.h"

#include "tessera/core/kernels/kernels.h"
#include "tessera/core/ops/detail/loops.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

struct Rows {
  int64_t count, K;
};
Rows rows_of(const Tensor& z, double smoothing) {
  if (z.rank() < 1 || z.dim(-1) < 1) fail("soft_cross_entropy", "logits {} have no classes", z.shape().str());
  if (!(smoothing >= 0 && smoothing <= 1)) fail("soft_cross_entropy", "smoothing {} is outside of [0, 1]", smoothing);
  return {z.size() / z.dim(-1), z.dim(-1)};
}

Tensor scalar(double v) { return full({1}, static_cast<real>(v)); }

double total(const real* x, int64_t n) {
  double s = 0;
  for (int64_t i = 0; i < n; ++i) s += static_cast<double>(x[i]);
  return s;
}

}  // namespace

Tensor soft_cross_entropy(const Tensor& z, std::span<const int32_t> labels, double smoothing, double scale) {
  const auto [rows, K] = rows_of(z, smoothing);
  if (static_cast<int64_t>(labels.size()) != rows)
    fail("soft_cross_entropy", "{} labels for logits {}", labels.size(), z.shape().str());
  for (int32_t l : labels)
    if (l < 0 || l >= K) fail("soft_cross_entropy", "label {} is outside of [0, {})", l, K);
  const double rest = smoothing / static_cast<double>(K);
  Tensor lse({static_cast<int>(rows)});
  kernels().logsumexp(z.data(), lse.data(), rows, K);
  double loss = 0;
  for (int64_t b = 0; b < rows; ++b) {
    const real* row = z.data() + b * K;
    loss += static_cast<double>(lse[b]) - (1 - smoothing) * static_cast<double>(row[labels[static_cast<size_t>(b)]]);
    if (rest > 0) loss -= rest * total(row, K);
  }
  const Tensor kept = detail::save(labels);
  return record({"soft_cross_entropy", {{"labels", labels}, {"smoothing", smoothing}, {"scale", scale}}},
                scalar(loss * scale), {&z},
                [z, lse, kept, rows = rows, K = K, smoothing, scale, rest](const Tensor& dl, Back& back) {
                  const double g = static_cast<double>(dl[0]) * scale;
                  const auto [dz, beta] = back.into(z);
                  for (int64_t b = 0; b < rows; ++b) {
                    kernels().add_exp(z.data() + b * K, lse[b], static_cast<real>(g), static_cast<real>(-g * rest),
                                      dz + b * K, beta, K);
                    dz[b * K + detail::indices_of(kept)[b]] -= static_cast<real>(g * (1 - smoothing));
                  }
                });
}

Tensor soft_cross_entropy(const Tensor& z, const Tensor& targets, double smoothing, double scale) {
  const auto [rows, K] = rows_of(z, smoothing);
  if (!(targets.shape() == z.shape()))
    fail("soft_cross_entropy", "targets {} for logits {}", targets.shape().str(), z.shape().str());
  if (tracked(targets)) fail("soft_cross_entropy", "targets get no gradient; pass targets.detach()");
  const double rest = smoothing / static_cast<double>(K);
  Tensor lse({static_cast<int>(rows)});
  kernels().logsumexp(z.data(), lse.data(), rows, K);
  double loss = 0;
  for (int64_t b = 0; b < rows; ++b)
    for (int64_t k = b * K; k < (b + 1) * K; ++k)
      loss += ((1 - smoothing) * static_cast<double>(targets[k]) + rest) *
              (static_cast<double>(lse[b]) - static_cast<double>(z[k]));
  return record({"soft_cross_entropy", {{"smoothing", smoothing}, {"scale", scale}}}, scalar(loss * scale),
                {&z, &targets},
                [z, lse, t = targets, rows = rows, K = K, smoothing, scale, rest](const Tensor& dl, Back& back) {
                  const double g = static_cast<double>(dl[0]) * scale;
                  const auto [dz, beta] = back.into(z);
                  for (int64_t b = 0; b < rows; ++b) {
                    const real* row = t.data() + b * K;
                    const double T = (1 - smoothing) * total(row, K) + smoothing;
                    kernels().add_exp(z.data() + b * K, lse[b], static_cast<real>(g * T), static_cast<real>(-g * rest),
                                      dz + b * K, beta, K);
                    kernels().affine(row, dz + b * K, 1, static_cast<real>(-g * (1 - smoothing)), 0, K);
                  }
                });
}

Tensor mse(const Tensor& x, const Tensor& y) {
  if (!(x.shape() == y.shape()) || x.size() == 0)
    fail("mse", "{} and {} are not two of one shape with elements", x.shape().str(), y.shape().str());
  const int64_t n = x.size();
  Tensor d(x.shape());
  kernels().sub(x.data(), y.data(), d.data(), n);
  double loss = 0;
  for (int64_t i = 0; i < n; ++i) loss += static_cast<double>(d[i]) * static_cast<double>(d[i]);
  return record("mse", scalar(loss / static_cast<double>(n)), {&x, &y},
                [d, n, a = x.slot(), b = y.slot()](const Tensor& dl, Back& back) {
                  const auto g = static_cast<real>(2 * static_cast<double>(dl[0]) / static_cast<double>(n));
                  for (const auto& [in, sign] : {std::pair<const Tensor&, real>{a, 1}, {b, -1}}) {
                    if (!back.wants(in)) continue;
                    const auto [dx, beta] = back.into(in);
                    kernels().affine(d.data(), dx, beta, sign * g, 0, n);
                  }
                });
}

}  // namespace TESSERA_NS
}  // namespace tessera
