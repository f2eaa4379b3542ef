// The transforms of Winograd's convolutions, additions only: 16 numbers of a channel are 16 vectors, which stay in registers.
//
// Measured on one core of an AMD Zen 4, 8 images (tests/bench/conv_bench.cpp), in % of the multiply-add peak if the definition's were done, forward,
// dx and dw, beside the map read in lines (conv_lines.cpp):
//   3x3 16 channels, 32x32    69  76  86 / 64 67 63          3x3 64 channels, 8x8      135 152 116 / 95 94 85
//   3x3 32 channels, 16x16   115 137 147 / 95 97 93          3x3 128 channels, 16x16   193 187 154 / 98 98 89
#include "tessera/core/kernels/winograd.h"

#include "tessera/core/kernels/simd.h"

TESSERA_KERNELS_BEGIN

enum : int { most_channels = 1024 };
alignas(64) static constexpr real nothing[most_channels] = {};

/// f(tile's number, its image, its first cell's row and column)
template <class F>
static inline void each_tile(const WinogradTiles& t, F f) {
  const int64_t per_image = t.tiles_y * t.tiles_x;
  int64_t image = t.first / per_image, ty = t.first % per_image / t.tiles_x, tx = t.first % t.tiles_x;
  for (int64_t n = 0; n < t.count; ++n) {
    f(n, image, 2 * ty - t.top, 2 * tx - t.left);
    if (++tx < t.tiles_x) continue;
    tx = 0;
    if (++ty < t.tiles_y) continue;
    ty = 0, ++image;
  }
}

/// B^T applied to four vectors.
static inline void to_sums(vec& a, vec& b, vec& c, vec& d) {
  const vec first = a - c, second = b + c, third = c - b, fourth = b - d;
  a = first, b = second, c = third, d = fourth;
}

void winograd_cells(const WinogradTiles& t, const real* x, real* planes) {
  each_tile(t, [&](int64_t n, int64_t image, int64_t y0, int64_t x0) {
    const real* at[4][4];
    for (int i = 0; i < 4; ++i)
      for (int j = 0; j < 4; ++j) {
        const int64_t y = y0 + i, column = x0 + j;
        const bool inside = y >= 0 && y < t.H && column >= 0 && column < t.W;
        at[i][j] = inside ? x + ((image * t.H + y) * t.W + column) * t.C : nothing;
      }
    for (int64_t c = 0; c < t.C; c += lanes) {
      vec d[4][4];
      for (int i = 0; i < 4; ++i)
        for (int j = 0; j < 4; ++j) d[i][j] = load(at[i][j] + c);
      for (int j = 0; j < 4; ++j) to_sums(d[0][j], d[1][j], d[2][j], d[3][j]);
      real* to = planes + n * t.C + c;
      for (int i = 0; i < 4; ++i) {
        to_sums(d[i][0], d[i][1], d[i][2], d[i][3]);
        for (int j = 0; j < 4; ++j, to += t.plane) store(to, d[i][j]);
      }
    }
  });
}

void winograd_cotangents(const WinogradTiles& t, const real* dy, real* planes) {
  each_tile(t, [&](int64_t n, int64_t image, int64_t y0, int64_t x0) {
    const bool below = y0 + 1 < t.H, right = x0 + 1 < t.W;
    const real *a = dy + ((image * t.H + y0) * t.W + x0) * t.C, *b = right ? a + t.C : nothing;
    const real *c = below ? a + t.W * t.C : nothing, *d = below && right ? a + (t.W + 1) * t.C : nothing;
    for (int64_t k = 0; k < t.C; k += lanes) {
      const vec top[4] = {load(a + k), load(a + k) + load(b + k), load(a + k) - load(b + k), -load(b + k)};
      const vec low[4] = {load(c + k), load(c + k) + load(d + k), load(c + k) - load(d + k), -load(d + k)};
      real* to = planes + n * t.C + k;
      for (int j = 0; j < 4; ++j, to += t.plane) {
        store(to, top[j]);
        store(to + 4 * t.plane, top[j] + low[j]);
        store(to + 8 * t.plane, top[j] - low[j]);
        store(to + 12 * t.plane, -low[j]);
      }
    }
  });
}

void winograd_outputs(const WinogradTiles& t, const real* planes, const real* bias, real beta, real* y) {
  each_tile(t, [&](int64_t n, int64_t image, int64_t y0, int64_t x0) {
    real* to[2][2];
    for (int i = 0; i < 2; ++i)
      for (int j = 0; j < 2; ++j) to[i][j] = y + ((image * t.H + y0 + i) * t.W + x0 + j) * t.C;
    const int rows = y0 + 1 < t.H ? 2 : 1, columns = x0 + 1 < t.W ? 2 : 1;
    for (int64_t c = 0; c < t.C; c += lanes) {
      vec s[2][4];
      const real* from = planes + n * t.C + c;
      for (int j = 0; j < 4; ++j, from += t.plane) {
        const vec a = load(from), b = load(from + 4 * t.plane), d = load(from + 8 * t.plane),
                  e = load(from + 12 * t.plane);
        s[0][j] = a + b + d, s[1][j] = b - d - e;
      }
      const vec offset = bias ? load(bias + c) : vec{};
      for (int i = 0; i < rows; ++i)
        for (int j = 0; j < columns; ++j) {
          vec v = (j == 0 ? s[i][0] + s[i][1] + s[i][2] : s[i][1] - s[i][2] - s[i][3]) + offset;
          if (beta != 0) v += beta * load(to[i][j] + c);
          store(to[i][j] + c, v);
        }
    }
  });
}

void winograd_taps(const real* u, int64_t n, real* taps) {
  const vec half = splat(static_cast<real>(0.5));
  for (int64_t c = 0; c < n; c += lanes) {
    vec s[3][4];
    for (int j = 0; j < 4; ++j) {
      const vec a = load(u + j * n + c), b = load(u + (4 + j) * n + c), d = load(u + (8 + j) * n + c),
                e = load(u + (12 + j) * n + c);
      const vec sum = half * (b + d);
      s[0][j] = a + sum, s[1][j] = half * (b - d), s[2][j] = sum + e;
    }
    for (int i = 0; i < 3; ++i) {
      const vec sum = half * (s[i][1] + s[i][2]);
      store(taps + 3 * i * n + c, s[i][0] + sum);
      store(taps + (3 * i + 1) * n + c, half * (s[i][1] - s[i][2]));
      store(taps + (3 * i + 2) * n + c, sum + s[i][3]);
    }
  }
}

extern constinit const WinogradKernels winograd_kernels{
    .winograd_cells = winograd_cells,
    .winograd_cotangents = winograd_cotangents,
    .winograd_outputs = winograd_outputs,
    .winograd_taps = winograd_taps,
};

TESSERA_KERNELS_END
