//   h  = (x - mean) rstd          y = h w + b              over the n = rows of a shard, per channel
//   dw = sum dy h     db = sum dy
//   training:    dx = w rstd (dy - mean(dy) - h mean(dy h))          saved: x, mean, rstd
//   evaluation:  dx = w rstd dy
#include "tessera/core/ops/batchnorm.h"

#include <algorithm>
#include <cmath>

namespace tessera {
inline namespace TESSERA_NS {
namespace {

// The loops below go along rows, over the channels, through pointers that do not overlap, so that the compiler makes vectors of them.
using In = const real* __restrict;
using Out = real* __restrict;

// mean and M2 = sum (x - mean)^2 of every channel: two passes, so that large offsets lose nothing
void moments(const Tensor& x, const Tensor& mean, const Tensor& m2) {
  const int64_t C = x.dim(-1), n = x.size() / C;
  const In from = x.data();
  const Out m = mean.data(), s = m2.data();
  std::fill_n(m, C, real(0)), std::fill_n(s, C, real(0));
  for (int64_t i = 0; i < n; ++i)
    for (int64_t c = 0; c < C; ++c) m[c] += from[i * C + c];
  for (int64_t c = 0; c < C; ++c) m[c] /= static_cast<real>(n);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t c = 0; c < C; ++c) s[c] += (from[i * C + c] - m[c]) * (from[i * C + c] - m[c]);
}

void forward(const Tensor& x, const Tensor& w, const Tensor& b, const Tensor& mean, const Tensor& rstd, Tensor& y) {
  const int64_t C = x.dim(-1), n = x.size() / C;
  const In from = x.data(), m = mean.data(), r = rstd.data(), gamma = w.data(), beta = b.data();
  const Out to = y.data();
  for (int64_t i = 0; i < n; ++i)
    for (int64_t c = 0; c < C; ++c) to[i * C + c] = (from[i * C + c] - m[c]) * r[c] * gamma[c] + beta[c];
}

// what x gets in evaluation: nothing else is part of it, not even as 0 times the NaN of another sample
void scaled(const Tensor& factor, const Tensor& dy, Sink dx) {
  const int64_t C = factor.size(), n = dy.size() / C;
  const In d = dy.data(), f = factor.data();
  const Out to = dx.to;
  for (int64_t i = 0; i < n; ++i)
    for (int64_t c = 0; c < C; ++c) {
      const real v = f[c] * d[i * C + c];
      to[i * C + c] = dx.beta == 0 ? v : to[i * C + c] + v;
    }
}

void backward(const Tensor& x, const Tensor& w, const Tensor& b, const Tensor& mean, const Tensor& rstd, bool training,
              const Tensor& dy, Back& back) {
  const int64_t C = x.dim(-1), n = x.size() / C;
  const Shape channels{static_cast<int>(C)};
  Tensor sum = zeros(channels), dot = zeros(channels), factor(channels);  // sum dy, sum dy h, w rstd
  const In from = x.data(), d = dy.data(), m = mean.data(), r = rstd.data(), gamma = w.data();
  const Out s = sum.data(), t = dot.data(), f = factor.data();
  for (int64_t i = 0; i < n; ++i)
    for (int64_t c = 0; c < C; ++c) {
      s[c] += d[i * C + c];
      t[c] += d[i * C + c] * (from[i * C + c] - m[c]) * r[c];
    }
  for (int64_t c = 0; c < C; ++c) f[c] = gamma[c] * r[c];
  if (back.wants(x)) {
    const Sink dx = back.into(x);
    if (!training) {
      scaled(factor, dy, dx);
    } else {
      const Out to = dx.to;
      const real share = real(1) / static_cast<real>(n);
      for (int64_t i = 0; i < n; ++i)
        for (int64_t c = 0; c < C; ++c) {
          const real h = (from[i * C + c] - m[c]) * r[c];
          const real v = f[c] * (d[i * C + c] - share * (s[c] + h * t[c]));
          to[i * C + c] = dx.beta == 0 ? v : to[i * C + c] + v;
        }
    }
  }
  back.add(w, dot), back.add(b, sum);
}

/// For messages: the op and the parameter it was called with.
std::string where(const Tensor& w) { return w.leaf() ? "batchnorm " + w.leaf()->name : "batchnorm"; }

}  // namespace

Tensor batchnorm(const Tensor& x, const Tensor& w, const Tensor& b, const Tensor& running_mean,
                 const Tensor& running_var, double eps, const Run& run) {
  if (x.rank() < 2) fail(where(w), "needs (..., C), got {}", x.shape().str());
  const int C = x.dim(-1);
  for (const Tensor* t : {&w, &b, &running_mean, &running_var})
    if (t->size() != C) fail(where(w), "input is {} but a parameter is {}", x.shape().str(), t->shape().str());
  if (C == 0) fail(where(w), "{} has no channels", x.shape().str());
  const int64_t n = x.size() / C;
  Tensor mean({C}), rstd({C});
  if (run.training()) {
    if (n < 2) fail(where(w), "training needs at least 2 values a channel, got {}; use a larger batch or map", n);
    Tensor m2({C});
    moments(x, mean, m2);
    for (int c = 0; c < C; ++c)
      rstd[c] = static_cast<real>(1 / std::sqrt(static_cast<double>(m2[c]) / static_cast<double>(n) + eps));
    if (auto* statistics = context().statistics) statistics->push_back({running_mean, running_var, n, mean, m2});
  } else {
    for (int c = 0; c < C; ++c) {
      mean[c] = running_mean[c];
      rstd[c] = static_cast<real>(1 / std::sqrt(static_cast<double>(running_var[c]) + eps));
    }
  }
  Tensor y(x.shape());
  forward(x, w, b, mean, rstd, y);
  const bool training = run.training();
  return record({"batchnorm", {{"eps", eps}, {"training", training}}}, y, {&x, &w, &b, &running_mean, &running_var},
                [=](const Tensor& dy, Back& back) { backward(x, w, b, mean, rstd, training, dy, back); });
}

void update_running(std::span<const BatchStatistics> statistics, double momentum) {
  for (size_t first = 0; first < statistics.size(); ++first) {
    const BatchStatistics& s = statistics[first];
    const auto same = [&](const BatchStatistics& o) { return o.running_mean.storage() == s.running_mean.storage(); };
    // done with the first one of these buffers; a search instead of marks, so that a step allocates nothing
    if (std::any_of(statistics.begin(), statistics.begin() + static_cast<std::ptrdiff_t>(first), same)) continue;
    for (int64_t c = 0; c < s.mean.size(); ++c) {
      double count = 0, mean = 0, m2 = 0;
      for (size_t i = first; i < statistics.size(); ++i) {
        const BatchStatistics& o = statistics[i];
        if (!same(o)) continue;
        const double n = static_cast<double>(o.count), delta = static_cast<double>(o.mean[c]) - mean;
        mean += delta * n / (count + n);
        m2 += static_cast<double>(o.m2[c]) + delta * delta * count * n / (count + n);
        count += n;
      }
      const auto move = [&](const Tensor& running, double value) {
        running[c] = static_cast<real>((1 - momentum) * static_cast<double>(running[c]) + momentum * value);
      };
      move(s.running_mean, mean), move(s.running_var, m2 / (count - 1));
    }
  }
}

}  // namespace TESSERA_NS
}  // namespace tessera
