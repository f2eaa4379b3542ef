#pragma once
// Convolutions for the tests of their ways: cases, a plain loop in double, and how far from it a sum may be.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "tessera/core/gemm.h"
#include "tessera/core/ops/conv.h"
#include "tessera/core/ops/detail/conv_plan.h"
#include "tessera/core/rng.h"

namespace tessera::conv_cases {

constexpr float nan = std::numeric_limits<float>::quiet_NaN();

struct Case {
  int B, H, W, I, O, kh, kw;  // I and O of all groups
  ConvOptions o;
};

inline std::string text(const Case& c) {
  return fmt::format("{}x{}x{}x{} -> {}, {}x{}, stride {} {}, padding {} {} {} {}, dilation {} {}, {} groups", c.B, c.H,
                     c.W, c.I, c.O, c.kh, c.kw, c.o.stride_y, c.o.stride_x, c.o.top, c.o.bottom, c.o.left, c.o.right,
                     c.o.dilation_y, c.o.dilation_x, c.o.groups);
}

inline Tensor random(const Shape& shape, uint64_t seed) {
  Tensor t(shape);
  const rng::Stream stream(seed);
  for (int64_t i = 0; i < t.size(); ++i) t[i] = static_cast<float>(stream.uniform(static_cast<uint64_t>(i)) - 0.5);
  return t;
}
inline Tensor unwritten(const Shape& shape) { return full(shape, nan); }

inline float rounded(float x) {
  int exponent = 0;
  std::frexp(x, &exponent);
  const float step = std::ldexp(1.0F, exponent - 8);
  return std::nearbyint(x / step) * step;
}
inline Tensor rounded(const Tensor& x) {
  Tensor y(x.shape());
  for (int64_t i = 0; i < x.size(); ++i) y[i] = rounded(x[i]);
  return y;
}

inline conv::Plan plan(const Case& c) {
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
inline void compare(const std::string& what, const Tensor& got, const std::vector<double>& want, double before,
                    double K) {
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

inline void check(const Case& c, Precision precision, Forward* forward, Gradient* input, Gradient* weight,
                  const char* how) {
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

}  // namespace tessera::conv_cases
