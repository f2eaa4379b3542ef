//   h  = (x - mean) rstd          y = h w + b              over the n valid rows of a shard, per channel
//   dw = sum dy h     db = sum dy
//   training:    dx = w rstd (dy - mean(dy) - h mean(dy h))          saved: x, mean, rstd
//   evaluation:  dx = w rstd dy
//   rows of padding:  y = 0, dx = 0, and no part of any sum
#include "tessera/core/ops/batchnorm.h"

#include <algorithm>
#include <cmath>

#include "tessera/core/kernels/kernels.h"
#include "tessera/core/parallel.h"

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
  /// The same, idle workers helping: f and rest write rows, and no more.
  template <class F, class G>
  void write(int64_t C, F f, G rest) const {
    if (lengths) return each(f, rest);
    parallel::rows(n, parallel::grain(C), [&](int64_t i, int64_t e) { f(i, e - i); });
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

/// `S` sums over rows, a double a channel each. Long stretches are cut into blocks of a fixed size, which idle workers share; a block's sums
/// are added in order, so the bits depend on the sizes alone.
template <int S>
class Sums {
 public:
  /// add(first row, rows, S rows of sums to add to)
  template <class Add>
  Sums(const Rows& rows, int64_t C, Add add) : C_(C) {
    if (rows.lengths || rows.n <= block) {
      room_ = zeros(1);
      rows.each([&](int64_t first, int64_t n) { add(first, n, at(room_, 0)); });
      return;
    }
    const int64_t blocks = (rows.n - 1) / block + 1;
    room_ = zeros(blocks);
    parallel::rows(blocks, 1, [&](int64_t i, int64_t e) {
      for (; i < e; ++i) add(i * block, std::min(block, rows.n - i * block), at(room_, i));
    });
    for (int64_t i = 1; i < blocks; ++i)
      for (int64_t c = 0; c < S * C; ++c) at(room_, 0)[c] += at(room_, i)[c];
  }
  /// scale times sum s, as a tensor (C)
  Tensor scaled(int s, double scale) const {
    Tensor t({static_cast<int>(C_)});
    for (int64_t c = 0; c < C_; ++c) t[c] = static_cast<real>(scale * at(room_, 0)[s * C_ + c]);
    return t;
  }

 private:
  static constexpr int64_t block = 8192, per_double = sizeof(double) / sizeof(real);
  Tensor zeros(int64_t blocks) const {
    Tensor t({static_cast<int>(blocks * S * C_ * per_double)});
    std::fill_n(at(t, 0), blocks * S * C_, 0.0);
    return t;
  }
  double* at(const Tensor& room, int64_t i) const {
    return reinterpret_cast<double*>(const_cast<real*>(room.data())) + i * S * C_;
  }
  int64_t C_;
  Tensor room_;  // (blocks, S, C), from the pool, like every array of a step
};

// mean and M2 = sum (x - mean)^2 of every channel: two passes, so that large offsets lose nothing
void moments(const Tensor& x, const Rows& rows, int64_t count, Tensor& mean, Tensor& m2) {
  const int64_t C = x.dim(-1);
  const Sums<1> sum(
      rows, C, [&](int64_t first, int64_t n, double* to) { kernels().batchnorm_sum(x.data() + first * C, n, C, to); });
  mean = sum.scaled(0, 1 / static_cast<double>(count));
  const Sums<1> squares(rows, C, [&](int64_t first, int64_t n, double* to) {
    kernels().batchnorm_squares(x.data() + first * C, mean.data(), n, C, to);
  });
  m2 = squares.scaled(0, 1);
}

void forward(const Tensor& x, const Tensor& w, const Tensor& b, const Tensor& mean, const Tensor& rstd,
             const Rows& rows, Tensor& y) {
  const int64_t C = x.dim(-1);
  rows.write(
      C,
      [&](int64_t first, int64_t n) {
        kernels().batchnorm(x.data() + first * C, mean.data(), rstd.data(), w.read().data(), b.read().data(),
                            y.data() + first * C, n, C);
      },
      [&](int64_t first, int64_t n) { std::fill_n(y.data() + first * C, n * C, real(0)); });
}

void backward(const Tensor& x, const Tensor& w, const Tensor& b, const Tensor& mean, const Tensor& rstd,
              const Rows& rows, bool training, const Tensor& dy, Back& back) {
  const int64_t C = x.dim(-1);
  enum : int { of_dy, of_dy_h, of_h };
  const Sums<3> sums(rows, C, [&](int64_t first, int64_t n, double* to) {
    kernels().batchnorm_sums(x.data() + first * C, mean.data(), rstd.data(), dy.data() + first * C, n, C,
                             to + of_dy * C, to + of_dy_h * C, to + of_h * C);
  });
  if (back.wants(x)) {
    // h sums to 0 but for the rounding of the mean. A bias before this op has the sum of dx for its gradient, 0, and would see the rest.
    const double share = 1 / static_cast<double>(rows.count());
    const Tensor sum = sums.scaled(of_dy, share), dot = sums.scaled(of_dy_h, share), over = sums.scaled(of_h, share);
    const Sink dx = back.into(x);
    rows.write(
        C,
        [&](int64_t first, int64_t n) {
          kernels().batchnorm_backward(x.data() + first * C, mean.data(), rstd.data(), w.read().data(),
                                       dy.data() + first * C, training ? sum.data() : nullptr, dot.data(), over.data(),
                                       dx.to + first * C, dx.beta, n, C);
        },
        [&](int64_t first, int64_t n) {
          if (dx.beta == 0) std::fill_n(dx.to + first * C, n * C, real(0));
        });
  }
  back.add(w, sums.scaled(of_dy_h, 1)), back.add(b, sums.scaled(of_dy, 1));
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
