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

// mean and M2 = sum (x - mean)^2 of every channel: two passes, so that large offsets lose nothing
void moments(const Tensor& x, Tensor& mean, Tensor& m2) {
  const int64_t C = x.dim(-1), n = x.size() / C;
  std::fill_n(mean.data(), C, real(0)), std::fill_n(m2.data(), C, real(0));
  for (int64_t i = 0; i < n; ++i)
    for (int64_t c = 0; c < C; ++c) mean[c] += x[i * C + c];
  for (int64_t c = 0; c < C; ++c) mean[c] /= static_cast<real>(n);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t c = 0; c < C; ++c) m2[c] += (x[i * C + c] - mean[c]) * (x[i * C + c] - mean[c]);
}

void backward(const Tensor& x, const Tensor& w, const Tensor& b, const Tensor& mean, const Tensor& rstd, bool training,
              const Tensor& dy, Back& back) {
  const int64_t C = x.dim(-1), n = x.size() / C;
  Tensor sum = zeros({static_cast<int>(C)}), dot = zeros({static_cast<int>(C)});  // sum dy, sum dy h
  for (int64_t i = 0; i < n; ++i)
    for (int64_t c = 0; c < C; ++c) {
      sum[c] += dy[i * C + c];
      dot[c] += dy[i * C + c] * (x[i * C + c] - mean[c]) * rstd[c];
    }
  if (back.wants(x)) {
    const auto [dx, beta] = back.into(x);
    const real share = real(1) / static_cast<real>(n);
    for (int64_t i = 0; i < n; ++i)
      for (int64_t c = 0; c < C; ++c) {
        const real h = (x[i * C + c] - mean[c]) * rstd[c];
        // in evaluation nothing else is part of it, not even as 0 times the NaN of another sample
        const real rest = training ? share * (sum[c] + h * dot[c]) : real(0);
        const real d = w[c] * rstd[c] * (dy[i * C + c] - rest);
        dx[i * C + c] = beta == 0 ? d : dx[i * C + c] + d;
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
  for (int64_t i = 0; i < n; ++i)
    for (int c = 0; c < C; ++c) y[i * C + c] = (x[i * C + c] - mean[c]) * rstd[c] * w[c] + b[c];
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
