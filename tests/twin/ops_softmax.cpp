// Rows of softmax, log_softmax, normalize and the losses.
#include <algorithm>

#include "tessera/core/ops/loss.h"
#include "tessera/core/ops/softmax.h"
#include "tests/twin/op_table.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

/// f(row, width) in place on every row.
template <class F>
Array by_row(Array x, F f) {
  const int C = x.dim(-1);
  for (int64_t i = 0; i < x.size(); i += C) f(&x.v[static_cast<size_t>(i)], C);
  return x;
}
/// The largest is subtracted first, as everybody does: it decides what infinities become.
double plain_log_sum(const double* x, int C, double& top) {
  top = *std::max_element(x, x + C);
  double s = 0;
  for (int c = 0; c < C; ++c) s += std::exp(x[c] - top);
  return std::log(s);
}
void plain_softmax(double* x, int C) {
  double top;
  const double s = std::exp(plain_log_sum(x, C, top));
  for (int c = 0; c < C; ++c) x[c] = std::exp(x[c] - top) / s;
}
void plain_normalize(double* x, int C, double eps) {
  double s = 0;
  for (int c = 0; c < C; ++c) s += x[c] * x[c];
  for (int c = 0; c < C; ++c) x[c] /= std::max(std::sqrt(s), eps);
}

const Shape shapes[] = {{1}, {7}, {31}, {3, 32}, {2, 33}, {2, 3, 5}, {7, 65}, {33, 1}, {0, 4}};

OP_ROWS(softmax) {
  for (const Shape& s : shapes) {
    const double K = s[-1];
    // of one class, softmax is 1 and has no slope: neither has it digits to compare
    const bool alone = s[-1] == 1;
    rows.push_back({.op = "softmax",
                    .name = s.str(),
                    .in = {{s, -4, 4, {}, false, !alone}},
                    .run = [](const Tensors& x) { return softmax(x[0]); },
                    .reference = [](const Arrays& x) { return by_row(x[0], plain_softmax); },
                    .K = K});
    if (!alone)
      rows.push_back(
          {.op = "log_softmax",
           .name = s.str(),
           .in = {{s, -4, 4}},
           .run = [](const Tensors& x) { return log_softmax(x[0]); },
           .reference =
               [](const Arrays& x) { return map(by_row(x[0], plain_softmax), [](double v) { return std::log(v); }); },
           .K = K});
    rows.push_back(
        {.op = "normalize",
         .name = s.str(),
         .in = {{s, -2, 2, {0}, false, !alone}},
         .run = [](const Tensors& x) { return normalize(x[0]); },
         .reference =
             [](const Arrays& x) { return by_row(x[0], [](double* v, int C) { plain_normalize(v, C, 1e-12); }); },
         .K = K});
  }
  rows.push_back(
      {.op = "normalize",
       .name = "shorter than eps",
       .in = {{{3, 5}, -0.1, 0.1}},
       .run = [](const Tensors& x) { return normalize(x[0], 2); },
       .reference = [](const Arrays& x) { return by_row(x[0], [](double* v, int C) { plain_normalize(v, C, 2); }); }});
  errors.push_back({"softmax", "scalar", [] { softmax(zeros({})); }, "no last dimension"});
  errors.push_back({"log_softmax", "scalar", [] { log_softmax(zeros({})); }, "no last dimension"});
  errors.push_back({"normalize", "eps", [] { normalize(zeros({2}), 0); }, "eps is 0"});
}

TWIN_CASE("softmax: large logits do not overflow, -inf is nothing, zeros normalise to zeros") {
  const real inf = std::numeric_limits<real>::infinity();
  const Tensor y = softmax(tensor({2, 3}, std::vector<double>{1000, 1000, -1000, 0, -INFINITY, 0}));
  const double want[] = {0.5, 0.5, 0, 0.5, 0, 0.5};
  for (int i = 0; i < 6; ++i) CHECK(std::abs(static_cast<double>(y[i]) - want[i]) < 1e-7);
  CHECK(log_softmax(tensor({2}, std::vector<double>{0, -INFINITY}))[1] == -inf);
  CHECK(std::abs(static_cast<double>(log_softmax(tensor({2}, std::vector<double>{5000, 0}))[1]) + 5000) < 1e-3);
  const Tensor zero = normalize(zeros({2, 3}));
  for (real v : zero.values()) CHECK(v == 0);
}

Array plain_cross_entropy(const Array& z, const Array& t, double smoothing, double scale, bool labels) {
  const int K = z.dim(-1);
  Array l({1});
  for (int64_t i = 0; i < z.size(); i += K) {
    double top;
    const double s = plain_log_sum(&z.v[static_cast<size_t>(i)], K, top);
    for (int k = 0; k < K; ++k) {
      const double weight = (1 - smoothing) * t[i + k] + smoothing / K;
      if (labels && weight == 0) continue;  // that logit has no part in the loss, -inf or not
      l[0] -= scale * weight * (z[i + k] - top - s);
    }
  }
  return l;
}

OP_ROWS(loss) {
  for (const Shape& s : {Shape{7}, Shape{5, 10}, Shape{31, 33}, Shape{2, 3, 4}})
    for (double smoothing : {0.0, 0.1}) {
      const int K = s[-1];
      const double scale = 0.25;
      Index labels;
      Array hot(s);
      for (int64_t b = 0; b * K < s.size(); ++b) {
        labels.push_back(static_cast<int32_t>((b * 7 + 3) % K));
        hot[b * K + labels.back()] = 1;
      }
      const std::string name = fmt::format("{} smoothing {}", s.str(), smoothing);
      const double terms = static_cast<double>(s.size());
      rows.push_back(
          {.op = "soft_cross_entropy",
           .name = "labels " + name,
           .in = {{s, -3, 3}},
           .run = [=](const Tensors& x) { return soft_cross_entropy(x[0], labels, smoothing, scale); },
           .reference = [=](const Arrays& x) { return plain_cross_entropy(x[0], hot, smoothing, scale, true); },
           .K = terms});
      rows.push_back(
          {.op = "soft_cross_entropy",
           .name = "targets " + name,
           .in = {{s, -3, 3}, {s, 0, 1, {}, false, false}},
           .run = [=](const Tensors& x) { return soft_cross_entropy(x[0], x[1], smoothing, scale); },
           .reference = [=](const Arrays& x) { return plain_cross_entropy(x[0], x[1], smoothing, scale, false); },
           .K = terms});
    }
  for (const Shape& s : {Shape{1}, Shape{7, 5}, Shape{33}})
    rows.push_back({.op = "mse",
                    .name = s.str(),
                    .in = {{s}, {s, 3, 5}},
                    .run = [](const Tensors& x) { return mse(x[0], x[1]); },
                    .reference =
                        [](const Arrays& x) {
                          Array l({1});
                          for (int64_t i = 0; i < x[0].size(); ++i)
                            l[0] += (x[0][i] - x[1][i]) * (x[0][i] - x[1][i]) / static_cast<double>(x[0].size());
                          return l;
                        }});
  errors.push_back({"soft_cross_entropy", "count",
                    [] {
                      soft_cross_entropy(zeros({2, 3}), Index{1}, 0, 1);
                    },
                    "1 labels for logits (2, 3)"});
  errors.push_back({"soft_cross_entropy", "label",
                    [] {
                      soft_cross_entropy(zeros({1, 3}), Index{3}, 0, 1);
                    },
                    "label 3 is outside of [0, 3)"});
  errors.push_back({"soft_cross_entropy", "negative",
                    [] {
                      soft_cross_entropy(zeros({1, 3}), Index{-1}, 0, 1);
                    },
                    "label -1"});
  errors.push_back({"soft_cross_entropy", "targets",
                    [] {
                      soft_cross_entropy(zeros({1, 3}), zeros({3}), 0, 1);
                    },
                    "targets (3,)"});
  errors.push_back({"soft_cross_entropy", "smoothing",
                    [] {
                      soft_cross_entropy(zeros({1, 3}), Index{0}, 1.5, 1);
                    },
                    "smoothing 1.5"});
  errors.push_back({"soft_cross_entropy", "no classes",
                    [] {
                      soft_cross_entropy(zeros({2, 0}), Index{}, 0, 1);
                    },
                    "no classes"});
  errors.push_back({"soft_cross_entropy", "tracked targets",
                    [] {
                      Tape tape;
                      soft_cross_entropy(zeros({1, 3}), tape.watch(zeros({1, 3})), 0, 1);
                    },
                    "targets get no gradient"});
  errors.push_back({"mse", "shapes", [] { mse(zeros({3}), zeros({1, 3})); }, "(3,) and (1, 3)"});
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
