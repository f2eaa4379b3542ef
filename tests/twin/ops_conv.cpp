// Rows of convolution, pooling and batch normalisation.
#include "tessera/core/ops/batchnorm.h"
#include "tessera/core/ops/conv.h"
#include "tessera/core/ops/pool.h"
#include "tests/twin/op_table.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

// ---- convolution -------------------------------------------------------------------------------------------------------

Array plain_conv2d(const Array& x, const Array& w, const Array* b, const ConvOptions& o) {
  const int B = x.dim(0), H = x.dim(1), W = x.dim(2), O = w.dim(0), I = w.dim(1), kh = w.dim(2), kw = w.dim(3);
  const int Ho = (H + o.top + o.bottom - o.dilation_y * (kh - 1) - 1) / o.stride_y + 1;
  const int Wo = (W + o.left + o.right - o.dilation_x * (kw - 1) - 1) / o.stride_x + 1;
  Array y({B, Ho, Wo, O});
  for (int n = 0; n < B; ++n)
    for (int i = 0; i < Ho; ++i)
      for (int j = 0; j < Wo; ++j)
        for (int out = 0; out < O; ++out) {
          const int group = out / (O / o.groups);
          double t = b ? (*b)[out] : 0;
          for (int c = 0; c < I; ++c)
            for (int u = 0; u < kh; ++u)
              for (int v = 0; v < kw; ++v) {
                const int a = i * o.stride_y - o.top + u * o.dilation_y, e = j * o.stride_x - o.left + v * o.dilation_x;
                if (a >= 0 && a < H && e >= 0 && e < W) t += x.at(n, a, e, group * I + c) * w.at(out, c, u, v);
              }
          y.at(n, i, j, out) = t;
        }
  return y;
}

struct ConvCase {
  const char* name;
  Shape x, w;
  ConvOptions o;
};

OP_ROWS(conv2d) {
  const std::vector<ConvCase> cases{
      {"1x1", {2, 3, 4, 5}, {7, 5, 1, 1}, conv_options(1, 0)},
      {"3x3 padded", {2, 5, 4, 3}, {4, 3, 3, 3}, conv_options(1, 1)},
      {"strided", {1, 7, 8, 3}, {5, 3, 3, 3}, conv_options(2, 1)},
      {"kernel 7 stride 4 (CvT)", {1, 12, 9, 2}, {3, 2, 7, 7}, conv_options(4, 2)},
      {"dilated", {1, 7, 7, 2}, {3, 2, 3, 3}, conv_options(1, 2, 1, 2)},
      {"uneven padding, strides and dilations", {2, 6, 7, 2}, {2, 2, 2, 3}, {2, 1, 1, 0, 2, 1, 1, 2, 1}},
      {"groups", {2, 4, 4, 6}, {4, 3, 3, 3}, conv_options(1, 1, 2)},
      {"rows dropped at the end", {1, 6, 5, 1}, {2, 1, 4, 4}, conv_options(4, 0)},
      {"3x3 of 16 channels",
       {1, 4, 5, 16},
       {16, 16, 3, 3},
       conv_options(1, 1)},  // by Winograd's tiles, as the next one
      {"3x3 of 16 channels, uneven padding", {1, 3, 6, 16}, {32, 16, 3, 3}, {1, 1, 0, 1, 2, 0, 1, 1, 1}},
      {"more images than one sum of dw takes", {37, 3, 4, 2}, {3, 2, 3, 3}, conv_options(1, 1)},
      {"more images than all sums of dw together take", {260, 2, 2, 1}, {2, 1, 3, 3}, conv_options(1, 1)},
      {"more than one, depthwise", {19, 3, 3, 2}, {2, 1, 3, 3}, conv_options(1, 1, 2)},
      {"depthwise 33 channels", {2, 4, 5, 33}, {33, 1, 3, 3}, conv_options(1, 1, 33)},
      {"depthwise 1 channel", {1, 3, 3, 1}, {1, 1, 3, 3}, conv_options(1, 1, 1)},
      {"depthwise, a wide map", {2, 3, 11, 18}, {18, 1, 3, 3}, conv_options(1, 1, 18)},
      {"depthwise strided, a wide map", {1, 5, 19, 3}, {3, 1, 3, 3}, conv_options(2, 1, 3)},
      {"depthwise strided, dilated", {1, 8, 7, 32}, {32, 1, 3, 2}, {2, 3, 2, 1, 1, 0, 2, 1, 32}},
      {"depthwise with a multiplier", {1, 4, 4, 3}, {6, 1, 3, 3}, conv_options(1, 1, 3)},
  };
  for (const ConvCase& c : cases) {
    const int64_t products = c.w[1] * c.w[2] * c.w[3], places = c.x.size() / c.x[-1];
    const auto K = static_cast<double>(products + places);
    const ConvOptions o = c.o;
    rows.push_back({.op = "conv2d",
                    .name = c.name,
                    .in = {{c.x}, {c.w}, {{c.w[0]}}},
                    .run = [o](const Tensors& x) { return conv2d(x[0], x[1], x[2], o); },
                    .reference = [o](const Arrays& x) { return plain_conv2d(x[0], x[1], &x[2], o); },
                    .K = K});
    rows.push_back({.op = "conv2d",
                    .name = std::string(c.name) + ", no bias",
                    .in = {{c.x}, {c.w}},
                    .run = [o](const Tensors& x) { return conv2d(x[0], x[1], {}, o); },
                    .reference = [o](const Arrays& x) { return plain_conv2d(x[0], x[1], nullptr, o); },
                    .K = K});
  }
  errors.push_back({"conv2d", "channels",
                    [] {
                      conv2d(zeros({1, 4, 4, 3}), zeros({2, 4, 3, 3}), {}, conv_options(1, 1));
                    },
                    "3 channels but weight is (2, 4, 3, 3)"});
  errors.push_back({"conv2d", "groups",
                    [] {
                      conv2d(zeros({1, 4, 4, 4}), zeros({3, 2, 3, 3}), {}, conv_options(1, 1, 2));
                    },
                    "2 groups"});
  errors.push_back({"conv2d", "too large",
                    [] {
                      conv2d(zeros({1, 2, 2, 1}), zeros({1, 1, 5, 5}), {}, conv_options(1, 1));
                    },
                    "larger than the padded 2x2 map"});
  errors.push_back({"conv2d", "bias",
                    [] {
                      conv2d(zeros({1, 2, 2, 1}), zeros({3, 1, 1, 1}), zeros({2}), conv_options(1, 0));
                    },
                    "bias is (2,) for 3 outputs"});
  errors.push_back({"conv2d", "rank",
                    [] {
                      conv2d(zeros({2, 2, 1}), zeros({3, 1, 1, 1}), {}, conv_options(1, 0));
                    },
                    "(B,H,W,C)"});
  errors.push_back({"conv2d", "stride",
                    [] {
                      conv2d(zeros({1, 2, 2, 1}), zeros({3, 1, 1, 1}), {}, conv_options(0, 0));
                    },
                    "stride"});
}

OP_ROWS(conv1d) {
  struct Case {
    const char* name;
    Shape x, w;
    int stride, left, right, groups, dilation;
  };
  const std::vector<Case> cases{{"same padding", {2, 7, 3}, {4, 3, 3}, 1, 1, 1, 1, 1},
                                {"even kernel", {2, 6, 2}, {3, 2, 4}, 1, 2, 1, 1, 1},
                                {"causal, dilated", {1, 9, 2}, {2, 2, 3}, 1, 4, 0, 1, 2},
                                {"depthwise 31", {1, 33, 7}, {7, 1, 31}, 1, 15, 15, 7, 1},
                                {"strided groups", {1, 9, 4}, {6, 2, 3}, 2, 0, 0, 2, 1}};
  for (const Case& c : cases) {
    rows.push_back(
        {.op = "conv1d",
         .name = c.name,
         .in = {{c.x}, {c.w}, {{c.w[0]}}},
         .run =
             [c](const Tensors& x) {
               return conv1d(x[0], x[1], x[2], c.stride, c.left, c.right, c.groups, c.dilation);
             },
         .reference =
             [c](const Arrays& x) {
               Array map = x[0], w = x[1];
               map.shape = {c.x[0], 1, c.x[1], c.x[2]}, w.shape = {c.w[0], c.w[1], 1, c.w[2]};
               Array y = plain_conv2d(map, w, &x[2], {1, c.stride, 0, 0, c.left, c.right, 1, c.dilation, c.groups});
               y.shape = {y.dim(0), y.dim(2), y.dim(3)};
               return y;
             },
         .K = static_cast<double>(c.w[1] * c.w[2] + c.x[0] * c.x[1])});
  }
  errors.push_back({"conv1d", "rank", [] { conv1d(zeros({1, 4, 4, 3}), zeros({2, 3, 3}), {}); }, "(B,T,C)"});
}

// ---- pooling -----------------------------------------------------------------------------------------------------------

// Windows from left to right: whole ones only, or with ceil_mode until one reaches the end, if it starts inside of the map.
int pooled(int in, const PoolOptions& o) {
  int out = 0;
  for (int start = -o.padding;; start += o.stride) {
    const int end = start + o.kernel;
    if (o.ceil_mode ? start >= in : end > in + o.padding) return out;
    ++out;
    if (end >= in + o.padding) return out;
  }
}

template <class F>
Array plain_pool(const Array& x, const PoolOptions& o, F f) {
  Array y({x.dim(0), pooled(x.dim(1), o), pooled(x.dim(2), o), x.dim(3)});
  for (int b = 0; b < y.dim(0); ++b)
    for (int i = 0; i < y.dim(1); ++i)
      for (int j = 0; j < y.dim(2); ++j)
        for (int c = 0; c < y.dim(3); ++c) {
          std::vector<double> inside;
          int padded = 0;
          for (int u = 0; u < o.kernel; ++u)
            for (int v = 0; v < o.kernel; ++v) {
              const int a = i * o.stride - o.padding + u, e = j * o.stride - o.padding + v;
              if (a >= 0 && a < x.dim(1) && e >= 0 && e < x.dim(2)) inside.push_back(x.at(b, a, e, c));
              if (a < x.dim(1) + o.padding && e < x.dim(2) + o.padding) ++padded;
            }
          y.at(b, i, j, c) = f(inside, padded);
        }
  return y;
}

OP_ROWS(pooling) {
  for (const auto& [name, shape, o] : std::vector<std::tuple<std::string, Shape, PoolOptions>>{
           {"2x2", {2, 4, 6, 3}, {2, 2, 0, false, true}},
           {"3x3 stride 2 padded", {1, 7, 5, 2}, {3, 2, 1, false, true}},
           {"ceil mode", {1, 6, 5, 2}, {3, 2, 0, true, true}},
           {"padding not counted", {1, 5, 5, 1}, {3, 2, 1, true, false}},
           {"33 channels", {1, 4, 5, 33}, {3, 1, 1, false, true}}}) {
    const PoolOptions options = o;
    rows.push_back({.op = "avg_pool2d",
                    .name = name,
                    .in = {{shape}},
                    .run = [options](const Tensors& x) { return avg_pool2d(x[0], options); },
                    .reference =
                        [options](const Arrays& x) {
                          return plain_pool(x[0], options, [&](const std::vector<double>& v, int padded) {
                            double s = 0;
                            for (double e : v) s += e;
                            return s / (options.count_include_pad ? padded : static_cast<int>(v.size()));
                          });
                        },
                    .K = 9});
    rows.push_back({.op = "max_pool2d",
                    .name = name,
                    .in = {{shape, -2, 2, {}, true}},
                    .run = [options](const Tensors& x) { return max_pool2d(x[0], options); },
                    .reference =
                        [options](const Arrays& x) {
                          return plain_pool(x[0], options, [](const std::vector<double>& v, int) {
                            for (const double e : v)
                              if (std::isnan(e)) return e;
                            return *std::max_element(v.begin(), v.end());
                          });
                        },
                    .K = 9});
  }
  for (const auto& [h, w] : {std::pair(1, 1), {3, 2}, {7, 5}}) {
    rows.push_back({.op = "adaptive_avg_pool2d",
                    .name = fmt::format("{}x{}", h, w),
                    .in = {{{2, 7, 5, 3}}},
                    .run = [h = h, w = w](const Tensors& x) { return adaptive_avg_pool2d(x[0], h, w); },
                    .reference =
                        [h = h, w = w](const Arrays& x) {
                          const Array& a = x[0];
                          Array y({a.dim(0), h, w, a.dim(3)});
                          for (int b = 0; b < a.dim(0); ++b)
                            for (int i = 0; i < h; ++i)
                              for (int j = 0; j < w; ++j)
                                for (int c = 0; c < a.dim(3); ++c) {
                                  double s = 0;
                                  int n = 0;
                                  for (int u = 0; u < a.dim(1); ++u)
                                    for (int v = 0; v < a.dim(2); ++v) {
                                      const bool inside = u >= i * a.dim(1) / h && u * h < (i + 1) * a.dim(1) &&
                                                          v >= j * a.dim(2) / w && v * w < (j + 1) * a.dim(2);
                                      if (inside) s += a.at(b, u, v, c), ++n;
                                    }
                                  y.at(b, i, j, c) = s / n;
                                }
                          return y;
                        },
                    .K = 35});
  }
  errors.push_back({"avg_pool2d", "padding",
                    [] {
                      avg_pool2d(zeros({1, 4, 4, 1}), {2, 2, 2, false, true});
                    },
                    "at most half"});
  errors.push_back({"max_pool2d", "too large",
                    [] {
                      max_pool2d(zeros({1, 2, 2, 1}), {5, 1, 0, false, true});
                    },
                    "larger than"});
  errors.push_back({"adaptive_avg_pool2d", "size",
                    [] {
                      adaptive_avg_pool2d(zeros({1, 2, 2, 1}), 0, 1);
                    },
                    "no output size"});
}

// ---- batch normalisation -----------------------------------------------------------------------------------------------

Array plain_batchnorm(const Arrays& x, double eps, bool training) {
  const int C = x[0].dim(-1);
  const int64_t n = x[0].size() / C;
  Array y = x[0];
  for (int c = 0; c < C; ++c) {
    double m = 0, v = 0;
    for (int64_t i = 0; i < n; ++i) m += x[0][i * C + c] / static_cast<double>(n);
    for (int64_t i = 0; i < n; ++i) v += (x[0][i * C + c] - m) * (x[0][i * C + c] - m) / static_cast<double>(n);
    if (!training) m = x[3][c], v = x[4][c];
    for (int64_t i = 0; i < n; ++i) y[i * C + c] = (x[0][i * C + c] - m) / std::sqrt(v + eps) * x[1][c] + x[2][c];
  }
  return y;
}

OP_ROWS(batchnorm) {
  for (const auto& shape : std::vector<Shape>{{7, 3}, {2, 3, 3, 33}, {31, 1}, {8200, 2}}) {
    const int C = shape[-1];
    const int64_t places = shape.size() / C;
    const auto K = static_cast<double>(places);
    for (bool training : {true, false}) {
      const Run run{training ? Mode::train : Mode::eval, 0, 0, 0};
      rows.push_back({.op = "batchnorm",
                      .name = shape.str() + (training ? " training" : " evaluation"),
                      .in = {{shape}, {{C}}, {{C}}, {{C}, -1, 1, {}, false, false}, {{C}, 0.5, 2, {}, false, false}},
                      .run = [run](const Tensors& x) { return batchnorm(x[0], x[1], x[2], x[3], x[4], 1e-2, run); },
                      .reference = [training](const Arrays& x) { return plain_batchnorm(x, 1e-2, training); },
                      .K = K});
    }
  }
  errors.push_back(
      {"batchnorm", "one value",
       [] {
         batchnorm(zeros({1, 3}), zeros({3}), zeros({3}), zeros({3}), zeros({3}), 1e-5, {Mode::train, 0, 0, 0});
       },
       "at least 2 values"});
  errors.push_back({"batchnorm", "width",
                    [] {
                      batchnorm(zeros({4, 3}), zeros({2}), zeros({3}), zeros({3}), zeros({3}), 1e-5, {});
                    },
                    "(2,)"});
}

TWIN_CASE("batchnorm: running statistics are those of the whole step, in any split") {
  const int C = 5;
  Tensor x({12, C}), w = full({C}, 1), b = zeros({C});
  for (int64_t i = 0; i < x.size(); ++i)
    x[i] = static_cast<real>(std::sin(static_cast<double>(3 * i)) + 0.1 * static_cast<double>(i % C));
  const Run train{Mode::train, 0, 0, 0};
  for (const auto& cuts : std::vector<std::vector<int>>{{0, 12}, {0, 5, 12}, {0, 2, 4, 9, 12}}) {
    Tensor mean = full({C}, static_cast<real>(0.5)), var = full({C}, 2);
    std::vector<BatchStatistics> seen;
    {
      const Collecting collect(seen);
      for (size_t i = 0; i + 1 < cuts.size(); ++i)
        batchnorm(x.rows(cuts[i], cuts[i + 1]), w, b, mean, var, 1e-5, train);
    }
    CHECK(seen.size() == cuts.size() - 1);
    CHECK(mean[0] == static_cast<real>(0.5));  // nothing moves before the end of the step
    update_running(seen);
    for (int c = 0; c < C; ++c) {
      double m = 0, v = 0;
      for (int i = 0; i < 12; ++i) m += static_cast<double>(x[i * C + c]) / 12;
      for (int i = 0; i < 12; ++i) v += std::pow(static_cast<double>(x[i * C + c]) - m, 2) / 11;
      CHECK(static_cast<double>(mean[c]) == doctest::Approx(0.9 * 0.5 + 0.1 * m).epsilon(1e-5));
      CHECK(static_cast<double>(var[c]) == doctest::Approx(0.9 * 2 + 0.1 * v).epsilon(1e-5));
    }
  }
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
