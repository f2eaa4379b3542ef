// Rows of the ops of learned rotations: skew_exp, rotate_blocks.
#include "tessera/core/ops/rotate_blocks.h"
#include "tessera/core/ops/skew_exp.h"
#include "tests/twin/op_table.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

/// A square matrix of doubles, row by row.
using Square = std::vector<double>;
size_t side_of(const Square& m) { return static_cast<size_t>(std::lround(std::sqrt(static_cast<double>(m.size())))); }
Square product(const Square& a, const Square& b) {
  const size_t n = side_of(a);
  Square c(n * n);
  for (size_t r = 0; r < n; ++r)
    for (size_t k = 0; k < n; ++k)
      for (size_t j = 0; j < n; ++j) c[r * n + j] += a[r * n + k] * b[k * n + j];
  return c;
}
/// U - U^T of the strict upper triangle U of b x b numbers.
Square skew(const double* x, int b) {
  Square m(static_cast<size_t>(b * b));
  for (int r = 0; r < b; ++r)
    for (int c = r + 1; c < b; ++c)
      m[static_cast<size_t>(r * b + c)] = x[r * b + c], m[static_cast<size_t>(c * b + r)] = -x[r * b + c];
  return m;
}
/// exp(m): halved until the power series is short, then squared.
Square exponential(Square m) {
  const size_t n = side_of(m);
  double norm = 0;
  for (const double v : m) norm += std::abs(v);
  if (!std::isfinite(norm)) return Square(n * n, std::numeric_limits<double>::quiet_NaN());
  int halved = 0;
  for (; norm > 0.5; norm /= 2) ++halved;
  for (double& v : m) v = std::ldexp(v, -halved);
  Square sum(n * n), power(n * n);
  for (size_t i = 0; i < n; ++i) sum[i * n + i] = power[i * n + i] = 1;
  for (int k = 1; k < 24; ++k) {
    power = product(power, m);
    for (size_t i = 0; i < n * n; ++i) power[i] /= k, sum[i] += power[i];
  }
  for (; halved; --halved) sum = product(sum, sum);
  return sum;
}

OP_ROWS(skew_exp) {
  // one, two and four have formulas of their own; small ones are computed side by side, large ones one by one
  for (const Shape& s : {Shape{1, 1}, Shape{2, 2}, Shape{7, 2, 2}, Shape{3, 3}, Shape{131, 3, 3}, Shape{4, 4},
                         Shape{2, 3, 4, 4}, Shape{5, 5}, Shape{2, 9, 8, 8}, Shape{2, 17, 17}})
    rows.push_back({.op = "skew_exp",
                    .name = s.str(),
                    .in = {{s}},
                    .run = [](const Tensors& x) { return skew_exp(x[0]); },
                    .reference =
                        [](const Arrays& x) {
                          Array y(x[0].shape);
                          const int b = x[0].shape[-1];
                          for (int64_t i = 0; i < y.size(); i += b * b) {
                            const Square R = exponential(skew(x[0].v.data() + i, b));
                            for (int64_t k = 0; k < b * b; ++k) y[i + k] = R[static_cast<size_t>(k)];
                          }
                          return y;
                        },
                    .K = 16.0 * s[-1]});
  errors.push_back({"skew_exp", "not square", [] { skew_exp(zeros({2, 3})); }, "(2, 3) holds no square matrices"});
  errors.push_back({"skew_exp", "a vector", [] { skew_exp(zeros({3})); }, "(3,) holds no square matrices"});
}

Tensor waves(const Shape& s, double size) {
  Tensor x(s);
  for (int64_t i = 0; i < x.size(); ++i) x[i] = static_cast<real>(size * std::sin(1.7 * static_cast<double>(i) + 0.3));
  return x;
}
double apart(const Tensor& a, const Tensor& b) {
  double most = 0;
  for (int64_t i = 0; i < a.size(); ++i)
    most = std::max(most, std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
  return most;
}

TWIN_CASE("skew_exp: formulas of two, three and four are what the general one gives, gradients too") {
  const double close = sizeof(real) == 8 ? 1e-13 : 2e-5;
  for (const double size : {1e-9, 1e-3, 0.3, 2.0, 9.0}) {
    // a matrix in the corner of one of five rows, which has no formula of its own
    for (const int b : {2, 4}) {
      const Tensor x = waves({b, b}, size), dR = waves({b, b}, 1);
      Tensor wide = zeros({5, 5}), dwide = zeros({5, 5});
      for (int r = 0; r < b; ++r)
        for (int c = 0; c < b; ++c) wide[5 * r + c] = x[b * r + c], dwide[5 * r + c] = dR[b * r + c];
      const auto corner = [b](const Tensor& t) {
        Tensor y({b, b});
        for (int r = 0; r < b; ++r)
          for (int c = 0; c < b; ++c) y[b * r + c] = t[5 * r + c];
        return y;
      };
      const auto both = [](const Tensor& from, const Tensor& slope) {
        Tape tape;
        Grads none;
        const Tensor in = tape.watch(from), y = skew_exp(in);
        const Tensor value = y.copy();
        tape.backward(y, slope, none);
        return std::pair(value, tape.grad(in).copy());
      };
      const auto own = both(x, dR), general = both(wide, dwide);
      CHECK(apart(own.first, corner(general.first)) < close);
      CHECK(apart(own.second, corner(general.second)) < close);
    }
    // Rodrigues: I + sin t / t K + (1 - cos t) / t^2 K^2
    const Tensor x = waves({3, 3}, size), R = skew_exp(x);
    std::vector<double> in(9);
    for (int64_t i = 0; i < 9; ++i) in[static_cast<size_t>(i)] = static_cast<double>(x[i]);
    const Square K = skew(in.data(), 3), K2 = product(K, K);
    const double t = std::sqrt(K[1] * K[1] + K[2] * K[2] + K[5] * K[5]), h = std::sin(t / 2) / t;
    for (int64_t i = 0; i < 9; ++i) {
      const auto at = static_cast<size_t>(i);
      CHECK(std::abs(static_cast<double>(R[i]) - ((i % 4 == 0) + std::sin(t) / t * K[at] + 2 * h * h * K2[at])) <
            close);
    }
  }
}

TWIN_CASE("skew_exp: rotations of large generators keep lengths, whatever stands beside them") {
  for (const int b : {2, 3, 4, 8, 16, 20}) {
    const double norm = 40, close = sizeof(real) == 8 ? 1e-12 : 2e-4;
    const Tensor x = waves({3, b, b}, norm / b), R = skew_exp(x);
    for (int64_t m = 0; m < 3; ++m)
      for (int64_t r = 0; r < b; ++r)
        for (int64_t c = 0; c <= r; ++c) {
          double dot = 0;
          for (int64_t k = 0; k < b; ++k)
            dot += static_cast<double>(R[(m * b + r) * b + k]) * static_cast<double>(R[(m * b + c) * b + k]);
          CHECK(std::abs(dot - (r == c)) < close);
        }
    // the same bits alone, and beside one that is larger or not finite
    Tensor other = x.copy();
    for (int64_t i = 0; i < b * b; ++i) other[i] *= 8, other[2 * b * b + i] = std::numeric_limits<real>::infinity();
    const Tensor S = skew_exp(other);
    for (int64_t i = b * b; i < 2 * b * b; ++i) CHECK(S[i] == R[i]);
    for (int64_t i = 2 * b * b; i < 3 * b * b; ++i) CHECK(std::isnan(S[i]));
  }
}

OP_ROWS(rotate_blocks) {
  struct Case {
    const char* name;
    int tokens, heads, d, parts, part;
    Shape R;
    Index at;
  };
  const std::vector<Case> cases{
      {"a place a token", 3, 2, 4, 1, 0, {3, 2, 2, 2, 2}, {}},
      {"heads share", 3, 3, 2, 1, 0, {3, 1, 1, 2, 2}, {}},
      {"class token, shared places, one of none", 5, 1, 6, 1, 0, {3, 1, 2, 3, 3}, {-1, 2, 0, 2, 2}},
      {"keys of a packed projection", 2, 2, 4, 3, 1, {2, 2, 1, 4, 4}, {1, 0}},
      {"wide", 2, 1, 17, 2, 1, {2, 1, 1, 17, 17}, {1, -1}},
      {"one place for all", 5, 2, 4, 3, 0, {1, 2, 2, 2, 2}, {0, 0, 0, 0, 0}},
      {"one wide place for all", 3, 2, 17, 1, 0, {1, 2, 1, 17, 17}, {0, 0, 0}},
      {"no place at all", 2, 1, 2, 1, 0, {1, 1, 1, 2, 2}, {-1, -1}},
  };
  for (const Case& c : cases) {
    const auto view = [c](const Tensor& x) { return heads(x, c.heads, c.part, c.parts); };
    rows.push_back({.op = "rotate_blocks",
                    .name = c.name,
                    .in = {{{2, c.tokens, c.parts * c.heads * c.d}}, {c.R}},
                    .run = [c, view](const Tensors& x) { return rotate_blocks(view(x[0]), x[1], c.at); },
                    .reference =
                        [c](const Arrays& x) {
                          const int blocks = c.R[2], b = c.R[3];
                          Array y({2, c.tokens, c.heads * c.d});
                          for (int s = 0; s < 2; ++s)
                            for (int n = 0; n < c.tokens; ++n)
                              for (int h = 0; h < c.heads; ++h)
                                for (int i = 0; i < blocks; ++i)
                                  for (int r = 0; r < b; ++r) {
                                    const int place = c.at.empty() ? n : c.at[static_cast<size_t>(n)];
                                    const auto in = [&](int k) {
                                      return x[0].at(s, n, (c.part * c.heads + h) * c.d + i * b + k);
                                    };
                                    double sum = place < 0 ? in(r) : 0;
                                    for (int k = 0; k < b && place >= 0; ++k)
                                      sum += x[1].at(place, c.R[1] == 1 ? 0 : h, i, r, k) * in(k);
                                    y.at(s, n, h * c.d + i * b + r) = sum;
                                  }
                          return y;
                        },
                    .K = 20});
  }
  const auto bad = [&](const char* name, const Shape& R, const Index& at, const char* says) {
    errors.push_back({"rotate_blocks", name,
                      [R, at] {
                        rotate_blocks(heads(zeros({1, 3, 8}), 2), zeros(R), at);
                      },
                      says});
  };
  bad("block width", {3, 2, 2, 3, 3}, {}, "(3, 2, 2, 3, 3) for 2 heads of 4");
  bad("not square", {3, 2, 1, 4, 2}, {}, "(places, heads or 1, d / b, b, b)");
  bad("heads", {3, 3, 2, 2, 2}, {}, "for 2 heads of 4");
  bad("tokens", {2, 2, 2, 2, 2}, {}, "3 tokens, but matrices of 2 places");
  bad("places", {2, 2, 2, 2, 2}, {0, 1}, "3 tokens, but places of 2");
  bad("no such place", {2, 2, 2, 2, 2}, {0, 1, 2}, "place 2 is outside of [0, 2)");
  errors.push_back({"rotate_blocks", "no view",
                    [] {
                      rotate_blocks({zeros({1, 3, 8}), 4, 8, 2, 4, 3}, zeros({3, 1, 1, 4, 4}));
                    },
                    "2 heads of 4 are no part of (1, 3, 8)"});
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
