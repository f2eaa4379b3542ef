//   h  = (x - mean) rstd          y = h w + b              over the n valid rows of a shard, per channel
//   dw = sum dy h     db = sum dy
//   training:    dx = w rstd (dy - mean(dy) - h mean(dy h))          saved: x, mean, rstd
//   evaluation:  dx = w rstd dy
//   rows of padding:  y = 0, dx = 0, and no part of any sum
#include "tessera/core/ops/batchnorm.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace tessera {
inline namespace TESSERA_NS {
namespace {

/// Which of n rows count: all, or the first lengths[b] of every T.
struct Rows {
  int64_t n, T;
  Ints lengths;

  Rows(const Tensor& x, const Ints& valid) : n(x.size() / x.dim(-1)), T(valid ? x.dim(1) : n), lengths(valid) {}
  /// f(i) for every row that counts, rest(i) for every row of padding.
  template <class F, class G>
  void each(F f, G rest) const {
    for (int64_t first = 0, b = 0; first < n; first += T, ++b) {
      const int64_t valid = lengths ? lengths[static_cast<size_t>(b)] : T;
      for (int64_t t = 0; t < valid; ++t) f(first + t);
      for (int64_t t = valid; t < T; ++t) rest(first + t);
    }
  }
  template <class F>
  void each(F f) const {
    each(f, [](int64_t) {});
  }
  int64_t count() const {
    int64_t valid = 0;
    each([&](int64_t) { ++valid; });
    return valid;
  }
};

/// to[c] = the sum of f(i C + c, c) over the rows i that count, in double: what a mean leaves over is small beside its terms. Sixteen
/// channels at a time, a cache line of x.
template <class F>
void sum_rows(const Rows& rows, int64_t C, Tensor& to, F f) {
  constexpr int64_t width = 16;
  for (int64_t first = 0; first < C; first += width) {
    const int64_t n = std::min(width, C - first);
    std::array<double, width> sum{};
    rows.each([&](int64_t i) {
      for (int64_t c = 0; c < n; ++c)
        sum[static_cast<size_t>(c)] += static_cast<double>(f(i * C + first + c, first + c));
    });
    for (int64_t c = 0; c < n; ++c) to[first + c] = static_cast<real>(sum[static_cast<size_t>(c)]);
  }
}

// mean and M2 = sum (x - mean)^2 of every channel: two passes, so that large offsets lose nothing
void moments(const Tensor& x, const Rows& rows, int64_t count, Tensor& mean, Tensor& m2) {
  const int64_t C = x.dim(-1);
  const real *px = x.data(), *pm = mean.data();
  sum_rows(rows, C, mean, [=](int64_t at, int64_t) { return px[at]; });
  for (int64_t c = 0; c < C; ++c) mean[c] /= static_cast<real>(count);
  sum_rows(rows, C, m2, [=](int64_t at, int64_t c) { return (px[at] - pm[c]) * (px[at] - pm[c]); });
}

void forward(const Tensor& x, const Tensor& w, const Tensor& b, const Tensor& mean, const Tensor& rstd,
             const Rows& rows, Tensor& y) {
  const int64_t C = x.dim(-1);
  const real *px = x.data(), *pw = w.read().data(), *pb = b.read().data(), *pm = mean.data(), *pr = rstd.data();
  real* py = y.data();
  rows.each(
      [=](int64_t i) {
        for (int64_t c = 0, at = i * C; c < C; ++c, ++at) py[at] = (px[at] - pm[c]) * pr[c] * pw[c] + pb[c];
      },
      [=](int64_t i) { std::fill_n(py + i * C, C, real(0)); });
}

void backward(const Tensor& x, const Tensor& w, const Tensor& b, const Tensor& mean, const Tensor& rstd,
              const Rows& rows, bool training, const Tensor& dy, Back& back) {
  const int C = x.dim(-1);
  const real *px = x.data(), *pm = mean.data(), *pr = rstd.data(), *pd = dy.data();
  Tensor sum({C}), dot({C});  // sum dy, sum dy h
  sum_rows(rows, C, sum, [=](int64_t at, int64_t) { return pd[at]; });
  sum_rows(rows, C, dot, [=](int64_t at, int64_t c) { return pd[at] * (px[at] - pm[c]) * pr[c]; });
  if (back.wants(x)) {
    // h sums to 0 but for the rounding of the mean. A bias before this op has the sum of dx for its gradient, 0, and would see the rest.
    Tensor over = zeros({C});
    if (training) sum_rows(rows, C, over, [=](int64_t at, int64_t c) { return (px[at] - pm[c]) * pr[c]; });
    const real *pw = w.read().data(), *ps = sum.data(), *pdot = dot.data(), *po = over.data();
    const real share = real(1) / static_cast<real>(rows.count());
    const Sink dx = back.into(x);
    rows.each(
        [=](int64_t i) {
          for (int64_t c = 0, at = i * C; c < C; ++c, ++at) {
            const real h = (px[at] - pm[c]) * pr[c] - share * po[c];
            // in evaluation nothing else is part of it, not even as 0 times the NaN of another sample
            const real rest = training ? share * (ps[c] + h * pdot[c]) : real(0);
            const real d = pw[c] * pr[c] * (pd[at] - rest);
            dx.to[at] = dx.beta == 0 ? d : dx.to[at] + d;
          }
        },
        [=](int64_t i) {
          if (dx.beta == 0) std::fill_n(dx.to + i * C, C, real(0));
        });
  }
  back.add(w, dot), back.add(b, sum);
}

/// For messages: the op and the parameter it was called with.
std::string where(const Tensor& w) { return w.leaf() ? "batchnorm " + w.leaf()->name : "batchnorm"; }

}  // namespace

Tensor batchnorm(const Tensor& x, const Tensor& w, const Tensor& b, const Tensor& running_mean,
                 const Tensor& running_var, double eps, const Run& run, const Ints& lengths) {
  if (x.rank() < 2) fail(where(w), "needs (..., C), got {}", x.shape().str());
  const int C = x.dim(-1);
  for (const Tensor* t : {&w, &b, &running_mean, &running_var})
    if (t->size() != C) fail(where(w), "input is {} but a parameter is {}", x.shape().str(), t->shape().str());
  if (C == 0) fail(where(w), "{} has no channels", x.shape().str());
  if (lengths && (x.rank() != 3 || lengths.size() != static_cast<size_t>(x.dim(0))))
    fail(where(w), "{} lengths need a batch ({}, T, C), got {}", lengths.size(), lengths.size(), x.shape().str());
  for (const int32_t length : lengths)
    if (length < 0 || length > x.dim(1))
      fail(where(w), "length {} of {}, expected 0 to {}", length, x.shape().str(), x.dim(1));
  const Rows rows(x, lengths);
  Tensor mean({C}), rstd({C});
  if (run.training()) {
    const int64_t n = rows.count();
    if (n < 2) fail(where(w), "training needs at least 2 values a channel, got {}; use a larger batch or map", n);
    Tensor m2({C});
    moments(x, rows, n, mean, m2);
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
  forward(x, w, b, mean, rstd, rows, y);
  const bool training = run.training();
  return record({"batchnorm", {{"eps", eps}, {"training", training}, {"lengths", lengths.view()}}}, y,
                {&x, &w, &b, &running_mean, &running_var},
                [=](const Tensor& dy, Back& back) { backward(x, w, b, mean, rstd, rows, training, dy, back); });
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
