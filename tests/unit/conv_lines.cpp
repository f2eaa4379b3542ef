// Convolutions that read the map in lines, and those of gathered patches, against a plain loop in double: forward and both gradients, written and
// added, in both precisions, on memory full of NaN, over odd shapes. The op table holds the same in double against differences.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "tessera/core/gemm.h"
#include "tessera/core/kernels/kernels.h"
#include "tessera/core/ops/conv.h"
#include "tessera/core/ops/detail/conv_plan.h"
#include "tessera/core/parallel.h"
#include "tessera/core/rng.h"

namespace tessera {
namespace {

constexpr float nan = std::numeric_limits<float>::quiet_NaN();

struct Case {
  int B, H, W, I, O, kh, kw;  // I and O of all groups
  ConvOptions o;
};

std::string text(const Case& c) {
  return fmt::format("{}x{}x{}x{} -> {}, {}x{}, stride {} {}, padding {} {} {} {}, dilation {} {}, {} groups", c.B, c.H,
                     c.W, c.I, c.O, c.kh, c.kw, c.o.stride_y, c.o.stride_x, c.o.top, c.o.bottom, c.o.left, c.o.right,
                     c.o.dilation_y, c.o.dilation_x, c.o.groups);
}

Tensor random(const Shape& shape, uint64_t seed) {
  Tensor t(shape);
  const rng::Stream stream(seed);
  for (int64_t i = 0; i < t.size(); ++i) t[i] = static_cast<float>(stream.uniform(static_cast<uint64_t>(i)) - 0.5);
  return t;
}
Tensor unwritten(const Shape& shape) { return full(shape, nan); }

float rounded(float x) {
  int exponent = 0;
  std::frexp(x, &exponent);
  const float step = std::ldexp(1.0F, exponent - 8);
  return std::nearbyint(x / step) * step;
}
Tensor rounded(const Tensor& x) {
  Tensor y(x.shape());
  for (int64_t i = 0; i < x.size(); ++i) y[i] = rounded(x[i]);
  return y;
}

conv::Plan plan(const Case& c) {
  const ConvOptions& o = c.o;
  const int Ho = (c.H + o.top + o.bottom - o.dilation_y * (c.kh - 1) - 1) / o.stride_y + 1;
  const int Wo = (c.W + o.left + o.right - o.dilation_x * (c.kw - 1) - 1) / o.stride_x + 1;
  const int I = c.I / o.groups;
  const ConvShape s{c.B,  c.H,        c.W,        c.I,   Ho,     Wo,           c.kh,
                    c.kw, o.stride_y, o.stride_x, o.top, o.left, o.dilation_y, o.dilation_x};
  return {s, c.O, o.groups, I, c.O / o.groups, int64_t{c.kh} * c.kw * I, false, false};
}

/// Sums in double of products of what x, w and dy hold.
struct Plain {
  std::vector<double> y, dx, dw;
  Plain(const Case& c, const conv::Plan& p, const Tensor& x, const Tensor& w, const Tensor& dy) {
    y.assign(static_cast<size_t>(dy.size()), 0), dx.assign(static_cast<size_t>(x.size()), 0);
    dw.assign(static_cast<size_t>(w.size()), 0);
    const int64_t Ho = p.s.Ho, Wo = p.s.Wo;
    for (int64_t b = 0; b < c.B; ++b)
      for (int64_t oy = 0; oy < Ho; ++oy)
        for (int64_t ox = 0; ox < Wo; ++ox)
          for (int64_t ky = 0; ky < c.kh; ++ky)
            for (int64_t kx = 0; kx < c.kw; ++kx) {
              const int64_t iy = oy * c.o.stride_y - c.o.top + ky * c.o.dilation_y;
              const int64_t ix = ox * c.o.stride_x - c.o.left + kx * c.o.dilation_x;
              if (iy < 0 || iy >= c.H || ix < 0 || ix >= c.W) continue;
              for (int64_t o = 0; o < c.O; ++o)
                for (int64_t i = 0; i < p.I; ++i) {
                  const int64_t at_x = ((b * c.H + iy) * c.W + ix) * c.I + o / p.Og * p.I + i;
                  const int64_t at_w = ((o * p.I + i) * c.kh + ky) * c.kw + kx,
                                at_y = ((b * Ho + oy) * Wo + ox) * c.O + o;
                  const double vx = double{x[at_x]}, vw = double{w[at_w]}, vy = double{dy[at_y]};
                  y[static_cast<size_t>(at_y)] += vx * vw;
                  dx[static_cast<size_t>(at_x)] += vy * vw;
                  dw[static_cast<size_t>(at_w)] += vy * vx;
                }
            }
  }
};

/// got = before + want, to the rounding of a sum of K products of numbers below 1/2.
void compare(const std::string& what, const Tensor& got, const std::vector<double>& want, double before, double K) {
  const double bound = 1e-6 * (2 + std::sqrt(K));
  double worst = 0;
  for (int64_t i = 0; i < got.size(); ++i) {
    const double error = std::abs(double{got[i]} - want[static_cast<size_t>(i)] - before);
    worst = error <= worst ? worst : error;  // a NaN is the worst
    if (std::isnan(error)) worst = std::numeric_limits<double>::infinity();
  }
  CHECK_MESSAGE(worst <= bound, what, ": ", worst, " > ", bound);
}

using Forward = void(const conv::Plan&, const Tensor&, const Tensor&, const real*, Tensor&);
using Gradient = void(const conv::Plan&, const Tensor&, const Tensor&, Sink);

void check(const Case& c, Precision precision, Forward* forward, Gradient* input, Gradient* weight, const char* how) {
  const conv::Plan p = plan(c);
  const Computing in(precision);
  Tensor x = random({c.B, c.H, c.W, c.I}, 1), w = random({c.O, static_cast<int>(p.I), c.kh, c.kw}, 2);
  Tensor dy = random({c.B, static_cast<int>(p.s.Ho), static_cast<int>(p.s.Wo), c.O}, 3);
  const Tensor bias = full({c.O}, 0.25F);
  const bool bf16 = precision == Precision::bf16;
  const Plain want(c, p, bf16 ? rounded(x) : x, bf16 ? rounded(w) : w, bf16 ? rounded(dy) : dy);
  const std::string at = fmt::format("{}, {}, {}: ", text(c), name(precision), how);
  const auto K = static_cast<double>(p.K), places = static_cast<double>(dy.size() / c.O);
  for (const bool add : {false, true}) {
    const real beta = add ? 1 : 0;
    Tensor y = unwritten(dy.shape()), dx = add ? full(x.shape(), 1) : unwritten(x.shape()),
           dw = add ? full(w.shape(), 1) : unwritten(w.shape());
    forward(p, x, w, add ? bias.data() : nullptr, y);
    input(p, w, dy, {dx.data(), beta});
    weight(p, x, dy, {dw.data(), beta});
    compare(at + "y", y, want.y, add ? 0.25 : 0, K);
    compare(at + "dx", dx, want.dx, add ? 1 : 0, K / static_cast<double>(p.I) * static_cast<double>(p.Og));
    compare(at + "dw", dw, want.dw, add ? 1 : 0, places);
  }
}

bool lines_take(const Case& c) {
  const ConvOptions& o = c.o;
  return !(o.stride_y > 1 && o.dilation_y > 1) && !(o.stride_x > 1 && o.dilation_x > 1);
}

/// All ways in which this convolution can be computed.
void check_all(const Case& c) {
  for (const Precision p : {Precision::f32, Precision::bf16}) {
    check(c, p, conv::forward_patches, conv::input_gradient_patches, conv::weight_gradient_patches, "patches");
    const bool has = p == Precision::f32 || kernels().conv_lines_bf16.pair > 0;
    if (has && lines_take(c))
      check(c, p, conv::forward_lines, conv::input_gradient_lines, conv::weight_gradient_lines, "lines");
  }
  const bool plain_3x3 = c.kh == 3 && c.kw == 3 && c.o.stride_y == 1 && c.o.stride_x == 1 && c.o.dilation_y == 1 &&
                         c.o.dilation_x == 1 && c.o.groups == 1 && c.I % 16 == 0 && c.O % 16 == 0;
  if (plain_3x3)
    check(c, Precision::f32, conv::forward_winograd, conv::input_gradient_winograd, conv::weight_gradient_winograd,
          "Winograd");
}

TEST_CASE("conv: lines and patches against a plain loop, odd shapes") {
  for (const Case& c :
       std::vector<Case>{{2, 5, 7, 5, 7, 1, 1, conv_options(1, 0)},
                         {2, 5, 7, 5, 7, 1, 1, conv_options(2, 0)},
                         {1, 1, 1, 1, 1, 3, 3, conv_options(1, 1)},
                         {2, 2, 3, 2, 3, 5, 7, conv_options(1, 3)},  // a kernel larger than the map
                         {2, 9, 8, 3, 16, 3, 3, conv_options(1, 1)},
                         {3, 8, 8, 16, 16, 3, 3, conv_options(1, 1)},
                         {2, 6, 15, 33, 31, 3, 3, conv_options(1, 1)},
                         {2, 9, 11, 6, 40, 3, 3, conv_options(2, 1)},
                         {2, 10, 12, 4, 32, 3, 3, conv_options(3, 1)},
                         {1, 12, 9, 2, 3, 7, 7, conv_options(4, 2)},
                         {1, 11, 13, 3, 5, 2, 2, conv_options(3, 0)},  // inputs that no tap reaches
                         {1, 9, 9, 4, 6, 3, 3, conv_options(1, 2, 1, 2)},
                         {1, 9, 12, 3, 5, 3, 2, {2, 1, 0, 1, 3, 0, 1, 3, 1}},
                         {2, 6, 7, 2, 2, 2, 3, {2, 1, 1, 0, 2, 1, 1, 2, 1}},
                         {1, 7, 6, 4, 4, 3, 3, {2, 2, 1, 1, 1, 1, 2, 2, 1}},  // strides and dilations: patches only
                         {2, 6, 7, 6, 8, 3, 3, conv_options(1, 1, 2)},
                         {1, 7, 7, 9, 6, 3, 3, conv_options(2, 1, 3)},
                         {2, 5, 6, 12, 36, 1, 3, conv_options(1, 0, 2)},
                         {1, 4, 4, 3, 6, 3, 3, conv_options(1, 1, 3)},
                         {1, 5, 6, 2, 4, 3, 3, conv_options(1, 4)},  // more padding than the kernel reaches
                         {1, 1, 40, 5, 9, 1, 31, {1, 1, 0, 0, 15, 15, 1, 1, 1}},
                         {9, 4, 4, 70, 20, 3, 3, conv_options(1, 1)},
                         {1, 40, 45, 17, 8, 3, 3, conv_options(1, 1)},  // several strips of an image
                         {1, 6, 6, 600, 3, 3, 3, conv_options(1, 1)},   // a tap in several slices
                         {40, 8, 8, 24, 48, 3, 3, conv_options(2, 1)},
                         {1, 1, 1, 16, 16, 3, 3, conv_options(1, 1)},
                         {3, 7, 9, 32, 16, 3, 3, conv_options(1, 1)},
                         {2, 6, 5, 16, 48, 3, 3, conv_options(1, 0)},
                         {2, 5, 6, 16, 16, 3, 3, {1, 1, 3, 0, 1, 4, 1, 1, 1}},
                         {8, 16, 16, 32, 32, 3, 3, conv_options(1, 1)}})
    check_all(c);
}

TEST_CASE("conv: lines and patches against a plain loop, channels from 1 to 33") {
  for (int channels = 1; channels <= 33; ++channels)
    check_all({1, 4, 5, channels, 34 - channels, 3, 2, conv_options(1 + channels % 2, 1)});
}

/// y and dx, and dw, of one call outside of a shard, where strips of outputs go to several workers.
std::vector<float> all_of(const Case& c, Precision precision, int threads) {
  const conv::Plan p = plan(c);
  const Computing in(precision);
  parallel::set_threads(threads);
  const Tensor x = random({c.B, c.H, c.W, c.I}, 1), w = random({c.O, c.I, c.kh, c.kw}, 2);
  const Tensor dy = random({c.B, static_cast<int>(p.s.Ho), static_cast<int>(p.s.Wo), c.O}, 3);
  Tensor y = unwritten(dy.shape()), dx = unwritten(x.shape()), dw = unwritten(w.shape());
  if (conv::by_winograd(p)) {
    conv::forward_winograd(p, x, w, nullptr, y), conv::input_gradient_winograd(p, w, dy, {dx.data(), 0});
    conv::weight_gradient_winograd(p, x, dy, {dw.data(), 0});
  } else {
    conv::forward_lines(p, x, w, nullptr, y), conv::input_gradient_lines(p, w, dy, {dx.data(), 0});
    conv::weight_gradient_lines(p, x, dy, {dw.data(), 0});
  }
  std::vector<float> all(y.values().begin(), y.values().end());
  all.insert(all.end(), dx.values().begin(), dx.values().end());
  all.insert(all.end(), dw.values().begin(), dw.values().end());
  return all;
}

TEST_CASE("conv: any number of threads gives the same bits") {
  const int before = parallel::threads();
  for (const Case& c : std::vector<Case>{{1, 17, 16, 16, 16, 3, 3, conv_options(1, 1)},
                                         {1, 17, 16, 5, 9, 3, 3, conv_options(2, 1)},
                                         {3, 12, 13, 48, 32, 3, 3, conv_options(1, 1)},
                                         {6, 40, 41, 20, 8, 5, 5, conv_options(1, 2)}})
    for (const Precision p : {Precision::f32, Precision::bf16}) {
      if (p == Precision::bf16 && kernels().conv_lines_bf16.pair == 0) continue;
      const std::vector<float> one = all_of(c, p, 1);
      for (const int threads : {2, 3, 5})
        CHECK_MESSAGE(all_of(c, p, threads) == one, text(c), ", ", threads, " threads");
    }
  parallel::set_threads(before);
}

}  // namespace
}  // namespace tessera
