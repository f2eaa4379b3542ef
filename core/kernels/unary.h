#pragma once
#include <stdint.h>

#include "tessera/core/real.h"

// Every elementwise function of one tensor and its slope, in one table. NAME(saved, value of x, slope from what is saved): `x` saves the
// input; `y` saves the output, where the slope is cheaper from it. The helpers are in unary.cpp; numbers are of type real (0.5_r).
// clang-format off
#define TESSERA_UNARY_TABLE(MAP, ...)                                                                                                     \
  /*              name       saved  y(x)                               dy/dx                                                   */         \
  MAP(__VA_ARGS__, relu,       x,   select(x < 0, zero, x),            slope_but(x <= 0))                                                 \
  MAP(__VA_ARGS__, relu6,      x,   clip(x, 0, 6),                     slope_but((x <= 0) | (x >= 6)))                                    \
  MAP(__VA_ARGS__, hardswish,  x,   x * clip(x + 3_r, 0, 6) * (1_r/6), select(x > 3, splat(1), select(x <= -3, zero, x * (1_r/3) + 0.5_r)))\
  MAP(__VA_ARGS__, sigmoid,    y,   sigmoid(x),                        y * (1_r - y))                                                     \
  MAP(__VA_ARGS__, tanh,       y,   tanh(x),                           1_r - y * y)                                                       \
  MAP(__VA_ARGS__, silu,       x,   x * sigmoid(x),                    swish_slope(x, sigmoid(x), 1))                                     \
  MAP(__VA_ARGS__, gelu,       x,   x * normal(x).cdf,                 gelu_slope_at(x))                                                  \
  MAP(__VA_ARGS__, gelu_tanh,  x,   0.5_r * x * (1_r + gelu_t(x)),     gelu_tanh_slope(x, gelu_t(x)))                                     \
  MAP(__VA_ARGS__, quick_gelu, x,   x * sigmoid(1.702_r * x),          swish_slope(x, sigmoid(1.702_r * x), 1.702_r))                     \
  MAP(__VA_ARGS__, softplus,   x,   select(x < 0, zero, x) + log1p_exp(-abs(x)), sigmoid(x))                                              \
  MAP(__VA_ARGS__, exp,        y,   exp(x),                            y)                                                                 \
  MAP(__VA_ARGS__, log,        x,   log(x),                            1_r / x)                                                           \
  MAP(__VA_ARGS__, sqrt,       y,   sqrt(x),                           0.5_r / y)                                                         \
  MAP(__VA_ARGS__, square,     x,   x * x,                             x + x)                                                             \
  MAP(__VA_ARGS__, sin,        x,   sin(x),                            cos(x))                                                            \
  MAP(__VA_ARGS__, cos,        x,   cos(x),                            -sin(x))

// clang-format on

namespace tessera {
inline namespace TESSERA_NS {

/// Elementwise functions of one tensor.
struct UnaryKernels {
  // of every row of the table: y = f(x);  dx = beta dx + dy f'(saved)
#define TESSERA_UNARY_MEMBERS(IGNORED, NAME, SAVED, VALUE, SLOPE) \
  void (*NAME)(const real* x, real* y, int64_t n);                \
  void (*NAME##_backward)(const real* saved, const real* dy, real* dx, real beta, int64_t n);
  TESSERA_UNARY_TABLE(TESSERA_UNARY_MEMBERS, )
#undef TESSERA_UNARY_MEMBERS
  /// y = lo, x or hi
  void (*clamp)(const real* x, real* y, real lo, real hi, int64_t n);
  /// dx = beta dx + dy where lo <= x <= hi
  void (*clamp_backward)(const real* x, const real* dy, real* dx, real beta, real lo, real hi, int64_t n);
  /// y = beta y + a x + b
  void (*affine)(const real* x, real* y, real beta, real a, real b, int64_t n);
};

}  // namespace TESSERA_NS
}  // namespace tessera
