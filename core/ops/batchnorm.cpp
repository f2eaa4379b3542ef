//   h  = (x - mean) rstd          y = h w + b              over the n valid rows of a shard, per channel
//   dw = sum dy h     db = sum dy
//   training:    dx = w rstd (dy - mean(dy) - h mean(dy h))          saved: x, mean, rstd
//   evaluation:  dx = w rstd dy
//   rows of padding:  y = 0, dx = 0, and no part of any sum
#include "tessera/core/ops/batchnorm.h"

#include <algorithm>
#include <cmath>

#include "tessera/core/kernels/kernels.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

/// Which of n rows count: all, or the first lengths[b] of every T.
struct Rows {
  int64_t n, T;
  Ints lengths;

  Rows(const Tensor& x, const Ints& valid) : n(x.size() / x.dim(-1)), T(valid ? x.dim(1) : n), lengths(valid) {}
  /// f(first row, rows) of every stretch that counts, rest(first row, rows) of every stretch of padding.
  template <class F, class G>
  void each(F f, G rest) const {
    for (int64_t first = 0, b = 0; first < n; first += T, ++b) {
      const int64_t valid = lengths ? lengths[static_cast<size_t>(b)] : T;
      if (valid > 0) f(first, valid);
      if (valid < T) rest(first + valid, T - valid);
    }
  }
  template <class F>
  void each(F f) const {
    each(f, [](int64_t, int64_t) {});
  }
  int64_t count() const {
    int64_t valid = 0;
    each([&](int64_t, int64_t rows) { valid += rows; });
    return valid;
  }
};

/// Sums over rows, a double a channel: add(stretch's first element, its rows, the sums).
class Sums {
 public:
  explicit Sums(int64_t C) : room_({static_cast<int>(C * per_double)}), C_(C) { std::fill_n(data(), C, 0.0); }
  double* data() { return reinterpret_cast<double*>(room_.data()); }
  /// to[c] = scale sum[c]
  void read(Tensor& to, double scale = 1) {
    for (int64_t c = 0; c < C_; ++c) to[c] = static_cast<real>(scale * data()[c]);
  }

 private:
  static constexpr int per_double = sizeof(double) / sizeof(real);
  Tensor room_;  // from the pool, like every array of a step
  int64_t C_;
};

// mean and M2 = sum (x - mean)^2 of every channel: two passes, so that large offsets lose nothing
void moments(const Tensor& x, const Rows& rows, int64_t count, Tensor& mean, Tensor& m2) {
  const int64_t C = x.dim(-1);
  Sums sum(C), squares(C);
  rows.each([&](int64_t first, int64_t n) { kernels().batchnorm_sum(x.data() + first * C, n, C, sum.data()); });
  sum.read(mean, 1 / static_cast<double>(count));
  rows.each([&](int64_t first, int64_t n) {
    kernels().batchnorm_squares(x.data() + first * C, mean.data(), n, C, squares.data());
  });
  squares.read(m2);
}

void forward(const Tensor& x, const Tensor& w, const Tensor& b, const Tensor& mean, const Tensor& rstd,
             const Rows& rows, Tensor& y) {
  const int64_t C = x.dim(-1);
  rows.each(
      [&](int64_t first, int64_t n) {
        kernels().batchnorm(x.data() + first * C, mean.data(), rstd.data(), w.read().data(), b.read().data(),
                            y.data() + first * C, n, C);
      },
      [&](int64_t first, int64_t n) { std::fill_n(y.data() + first * C, n * C, real(0)); });
}

void backward(const Tensor& x, const Tensor& w, const Tensor& b, const Tensor& mean, const Tensor& rstd,
              const Rows& rows, bool training, const Tensor& dy, Back& back) {
  const int64_t C = x.dim(-1);
  Sums sums(C), dots(C), overs(C);  // of dy, dy h, h
  rows.each([&](int64_t first, int64_t n) {
    kernels().batchnorm_sums(x.data() + first * C, mean.data(), rstd.data(), dy.data() + first * C, n, C, sums.data(),
                             dots.data(), overs.data());
  });
  const auto tensor = [&](Sums& of, double scale) {
    Tensor t({static_cast<int>(C)});
    of.read(t, scale);
    return t;
  };
  if (back.wants(x)) {
    // h sums to 0 but for the rounding of the mean. A bias before this op has the sum of dx for its gradient, 0, and would see the rest.
    const double share = 1 / static_cast<double>(rows.count());
    const Tensor sum = tensor(sums, share), dot = tensor(dots, share), over = tensor(overs, share);
    const Sink dx = back.into(x);
    rows.each(
        [&](int64_t first, int64_t n) {
          kernels().batchnorm_backward(x.data() + first * C, mean.data(), rstd.data(), w.read().data(),
                                       dy.data() + first * C, training ? sum.data() : nullptr, dot.data(), over.data(),
                                       dx.to + first * C, dx.beta, n, C);
        },
        [&](int64_t first, int64_t n) {
          if (dx.beta == 0) std::fill_n(dx.to + first * C, n * C, real(0));
        });
  }
  back.add(w, tensor(dots, 1)), back.add(b, tensor(sums, 1));
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
