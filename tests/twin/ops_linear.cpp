// Rows of linear, point_mlp and layernorm.
#include "tessera/core/ops/arithmetic.h"
#include "tessera/core/ops/layernorm.h"
#include "tessera/core/ops/linear.h"
#include "tessera/core/ops/point_mlp.h"
#include "tests/twin/op_table.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

Array plain_linear(const Array& x, const Array& W, const Array* b) {
  const int out = W.dim(0), in = static_cast<int>(W.size() / out);
  const int64_t M = x.size() / in;
  Shape s = x.shape;
  s[-1] = out;
  Array y(s);
  for (int64_t i = 0; i < M; ++i)
    for (int o = 0; o < out; ++o) {
      double t = b ? (*b)[o] : 0;
      for (int c = 0; c < in; ++c) t += x[i * in + c] * W[int64_t{o} * in + c];
      y[i * out + o] = t;
    }
  return y;
}

OP_ROWS(linear) {
  for (const auto& [M, in, out] :
       std::vector<std::array<int, 3>>{{1, 1, 1}, {7, 3, 2}, {31, 33, 32}, {2, 32, 31}, {33, 7, 1}}) {
    const std::string size = fmt::format("{}x{}x{}", M, in, out);
    const double K = std::max({M, in, out});
    rows.push_back({.op = "linear",
                    .name = size + " with bias",
                    .in = {{{M, in}}, {{out, in}}, {{out}}},
                    .run = [](const Tensors& x) { return linear(x[0], x[1], x[2]); },
                    .reference = [](const Arrays& x) { return plain_linear(x[0], x[1], &x[2]); },
                    .K = K});
    rows.push_back({.op = "linear",
                    .name = size + " without bias, 3 dimensions",
                    .in = {{{2, M, in}}, {{out, in}}},
                    .run = [](const Tensors& x) { return linear(x[0], x[1]); },
                    .reference = [](const Arrays& x) { return plain_linear(x[0], x[1], nullptr); },
                    .K = 2 * K});
  }
  rows.push_back({.op = "linear",
                  .name = "weight of 4 dimensions",
                  .in = {{{5, 12}}, {{3, 3, 2, 2}}, {{3}}},
                  .run = [](const Tensors& x) { return linear(x[0], x[1], x[2]); },
                  .reference = [](const Arrays& x) { return plain_linear(x[0], x[1], &x[2]); },
                  .K = 12});
  errors.push_back({"linear", "width", [] { linear(zeros({2, 3}), zeros({4, 5})); }, "(2, 3) but weight is (4, 5)"});
  errors.push_back({"linear", "bias", [] { linear(zeros({2, 5}), zeros({4, 5}), zeros({5})); }, "bias (5,)"});
  errors.push_back({"linear", "scalar", [] { linear(zeros({}), zeros({4, 5})); }, "input is ()"});
}

/// Far from the kinks: units are open and closed in turn.
double offset(int unit) { return unit % 2 ? -3 : 3; }

Array plain_point_mlp(const Array& x, const Array& w0, const Array& b0, const Array& w2) {
  const int R = x.dim(0), D = x.dim(1), F = w0.dim(0), O = w2.dim(0);
  Array y({R, O});
  for (int r = 0; r < R; ++r)
    for (int f = 0; f < F; ++f) {
      double h = b0[f] + offset(f);
      for (int c = 0; c < D; ++c) h += x[r * D + c] * w0[f * D + c];
      for (int o = 0; o < O; ++o) y[r * O + o] += std::max(h, 0.0) * w2[o * F + f];
    }
  return y;
}

OP_ROWS(point_mlp) {
  for (const auto& [R, D, F, O] :
       std::vector<std::array<int, 4>>{{1, 1, 2, 1}, {7, 2, 33, 4}, {31, 3, 32, 1}, {32, 1, 31, 7}, {33, 2, 70, 17}})
    rows.push_back({.op = "point_mlp",
                    .name = fmt::format("{} points of {}, {} units, {} outputs", R, D, F, O),
                    .in = {{{R, D}, -0.5, 0.5}, {{F, D}, -1, 1}, {{F}, -1, 1}, {{O, F}}},
                    .run =
                        [F = F](const Tensors& x) {
                          std::vector<double> more;
                          for (int f = 0; f < F; ++f) more.push_back(offset(f));
                          return point_mlp(x[0], x[1], add(x[2], tensor({F}, more)), x[3]);
                        },
                    .reference = [](const Arrays& x) { return plain_point_mlp(x[0], x[1], x[2], x[3]); },
                    .K = static_cast<double>(R * (D + O) + F)});
  errors.push_back({"point_mlp", "first layer",
                    [] {
                      point_mlp(zeros({5, 2}), zeros({8, 3}), zeros({8}), zeros({4, 8}));
                    },
                    "(8, 3)"});
  errors.push_back({"point_mlp", "second layer",
                    [] {
                      point_mlp(zeros({5, 2}), zeros({8, 2}), zeros({8}), zeros({4, 7}));
                    },
                    "(4, 7)"});
}

double plain_gelu(double z) { return 0.5 * z * std::erfc(-z / std::sqrt(2.0)); }

OP_ROWS(linear_fused) {
  for (const auto& [M, in, out] :
       std::vector<std::array<int, 3>>{{1, 1, 1}, {7, 3, 2}, {31, 33, 32}, {2, 32, 31}, {33, 7, 67}}) {
    const std::string size = fmt::format("{}x{}x{}", M, in, out);
    const double K = std::max({M, in, out});
    rows.push_back({.op = "linear_gelu",
                    .name = size,
                    .in = {{{M, in}}, {{out, in}}, {{out}}},
                    .run = [](const Tensors& x) { return linear_gelu(x[0], x[1], x[2]); },
                    .reference = [](const Arrays& x) { return map(plain_linear(x[0], x[1], &x[2]), plain_gelu); },
                    .K = K});
    rows.push_back({.op = "linear_gelu",
                    .name = size + " without bias",
                    .in = {{{M, in}}, {{out, in}}},
                    .run = [](const Tensors& x) { return linear_gelu(x[0], x[1]); },
                    .reference = [](const Arrays& x) { return map(plain_linear(x[0], x[1], nullptr), plain_gelu); },
                    .K = K});
    rows.push_back({.op = "linear_add",
                    .name = size,
                    .in = {{{1, M, in}}, {{out, in}}, {{out}}, {{1, M, out}}},
                    .run = [](const Tensors& x) { return linear_add(x[0], x[1], x[2], x[3]); },
                    .reference =
                        [](const Arrays& x) {
                          Array y = plain_linear(x[0], x[1], &x[2]);
                          for (int64_t i = 0; i < y.size(); ++i) y[i] += x[3][i];
                          return y;
                        },
                    .K = K});
  }
  errors.push_back({"linear_gelu", "width",
                    [] {
                      linear_gelu(zeros({2, 3}), zeros({4, 5}));
                    },
                    "(2, 3) but weight is (4, 5)"});
  errors.push_back({"linear_add", "residual",
                    [] {
                      linear_add(zeros({2, 5}), zeros({4, 5}), {}, zeros({2, 5}));
                    },
                    "residual is (2, 5)"});
}

Array plain_layernorm(const Array& x, const Array* w, const Array* b, double eps) {
  const int C = x.dim(-1);
  Array y(x.shape);
  for (int64_t i = 0; i < x.size(); i += C) {
    double m = 0, v = 0;
    for (int c = 0; c < C; ++c) m += x[i + c] / C;
    for (int c = 0; c < C; ++c) v += (x[i + c] - m) * (x[i + c] - m) / C;
    for (int c = 0; c < C; ++c) y[i + c] = (x[i + c] - m) / std::sqrt(v + eps) * (w ? (*w)[c] : 1) + (b ? (*b)[c] : 0);
  }
  return y;
}

OP_ROWS(layernorm) {
  for (const auto& [M, C] : std::vector<std::array<int, 2>>{{1, 7}, {7, 31}, {31, 32}, {2, 33}, {33, 2}}) {
    const std::string size = fmt::format("{}x{}", M, C);
    const double K = std::max(M, C);
    rows.push_back({.op = "layernorm",
                    .name = size,
                    .in = {{{M, C}}, {{C}}, {{C}}},
                    .run = [](const Tensors& x) { return layernorm(x[0], x[1], x[2], 1e-2); },
                    .reference = [](const Arrays& x) { return plain_layernorm(x[0], &x[1], &x[2], 1e-2); },
                    .K = K});
    rows.push_back({.op = "layernorm",
                    .name = size + " plain",
                    .in = {{{1, M, C}}},
                    .run = [](const Tensors& x) { return layernorm(x[0], {}, {}, 1e-2); },
                    .reference = [](const Arrays& x) { return plain_layernorm(x[0], nullptr, nullptr, 1e-2); },
                    .K = K});
  }
  rows.push_back({.op = "layernorm",
                  .name = "width 1: the bias alone",
                  .in = {{{3, 1}, 0.5, 1, {}, false, false}, {{1}, -2, 2, {}, false, false}, {{1}}},
                  .run = [](const Tensors& x) { return layernorm(x[0], x[1], x[2], 1e-5); },
                  .reference = [](const Arrays& x) { return plain_layernorm(x[0], &x[1], &x[2], 1e-5); },
                  .K = 3});
  errors.push_back({"layernorm", "width",
                    [] {
                      layernorm(zeros({2, 3}), zeros({4}), zeros({4}), 1e-5);
                    },
                    "(2, 3) but weight is (4,)"});
  errors.push_back({"layernorm", "bias",
                    [] {
                      layernorm(zeros({2, 4}), zeros({4}), zeros({3}), 1e-5);
                    },
                    "weight is (4,) and bias (3,); both"});
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
