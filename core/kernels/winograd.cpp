// The transforms of Winograd's convolutions, additions only: 16 numbers of a channel are 16 vectors, which stay in registers.
//
// Measured on one core of an AMD Zen 4, 8 images (tests/bench/conv_bench.cpp), in % of the multiply-add peak if the definition's were done, forward,
// dx and dw, beside the map read in lines (conv_lines.cpp):
//   3x3 16 channels, 32x32    71  84 113 / 64 67 63          3x3 64 channels, 8x8      139 170 146 / 95 94 85
//   3x3 32 channels, 16x16   115 142 154 / 95 97 93          3x3 128 channels, 16x16   185 182 157 / 98 98 89
// and in bf16 (`conv_bench 9 bf16`), where products take half the time:
//   3x3 64 channels, 8x8     103 134 108 / 96 97 86          3x3 128 channels, 16x16   150 152 111 / 96 96 85
#include "tessera/core/kernels/winograd.h"

#include "tessera/core/kernels/simd.h"

TESSERA_KERNELS_BEGIN

enum : int { most_channels = 1024 };
alignas(64) static constexpr real nothing[most_channels] = {};

/// f(the first tile's number, how many tiles side by side, their image, row and column of the first one's first cell)
template <class F>
static inline void each_row(const WinogradTiles& t, F f) {
  const int64_t per_image = t.tiles_y * t.tiles_x;
  int64_t image = t.first / per_image, ty = t.first % per_image / t.tiles_x, tx = t.first % t.tiles_x;
  for (int64_t n = 0; n < t.count;) {
    const int64_t here = t.tiles_x - tx < t.count - n ? t.tiles_x - tx : t.count - n;
    f(n, here, image, 2 * ty - t.top, 2 * tx - t.left);
    n += here, tx = 0;
    if (++ty == t.tiles_y) ty = 0, ++image;
  }
}

struct Two {
  vec a, b;
};
struct Four {
  vec a, b, c, d;
};
/// B^T of four.
static inline Four cells_form(Four v) { return {v.a - v.c, v.b + v.c, v.c - v.b, v.b - v.d}; }

void winograd_cells(const WinogradTiles& t, const real* x, real* planes) {
  each_row(t, [&](int64_t n, int64_t tiles, int64_t image, int64_t y0, int64_t x0) {
    const real* row[4];
    int64_t step[4];  // from cell to cell
    for (int i = 0; i < 4; ++i) {
      const bool inside = y0 + i >= 0 && y0 + i < t.H;
      row[i] = inside ? x + (image * t.H + y0 + i) * t.W * t.C : nothing, step[i] = inside ? t.C : 0;
    }
    for (int64_t c = 0; c < t.C; c += lanes) {
      // a column of a tile in the form B^T d; two of them serve the next tile, too
      const auto column = [&](int64_t at) -> Four {
        if (at < 0 || at >= t.W) return Four{vec{}, vec{}, vec{}, vec{}};
        return cells_form({load(row[0] + at * step[0] + c), load(row[1] + at * step[1] + c),
                           load(row[2] + at * step[2] + c), load(row[3] + at * step[3] + c)});
      };
      Four left = column(x0), right = column(x0 + 1);
      real* to = planes + n * t.C + c;
      for (int64_t k = 0; k < tiles; ++k, to += t.C) {
        const Four next = column(x0 + 2 * k + 2), last = column(x0 + 2 * k + 3);
        const auto put = [&](int i, Four v) {
          const Four f = cells_form(v);
          real* at = to + 4 * i * t.plane;
          store(at, f.a), store(at + t.plane, f.b), store(at + 2 * t.plane, f.c), store(at + 3 * t.plane, f.d);
        };
        put(0, {left.a, right.a, next.a, last.a});
        put(1, {left.b, right.b, next.b, last.b});
        put(2, {left.c, right.c, next.c, last.c});
        put(3, {left.d, right.d, next.d, last.d});
        left = next, right = last;
      }
    }
  });
}

void winograd_cotangents(const WinogradTiles& t, const real* dy, real* planes) {
  each_row(t, [&](int64_t n, int64_t tiles, int64_t image, int64_t y0, int64_t x0) {
    const bool below = y0 + 1 < t.H;
    for (int64_t k = 0; k < tiles; ++k) {
      const bool right = x0 + 2 * k + 1 < t.W;
      const real *a = dy + ((image * t.H + y0) * t.W + x0 + 2 * k) * t.C, *b = right ? a + t.C : nothing;
      const real *c = below ? a + t.W * t.C : nothing, *d = below && right ? a + (t.W + 1) * t.C : nothing;
      for (int64_t l = 0; l < t.C; l += lanes) {
        const vec e = load(a + l), f = load(b + l), g = load(c + l), h = load(d + l);
        real* to = planes + (n + k) * t.C + l;
        const auto put = [&](vec top, vec low) {
          store(to, top), store(to + 4 * t.plane, top + low), store(to + 8 * t.plane, top - low);
          store(to + 12 * t.plane, -low);
          to += t.plane;
        };
        put(e, g), put(e + f, g + h), put(e - f, g - h), put(-f, -h);
      }
    }
  });
}

void winograd_outputs(const WinogradTiles& t, const real* planes, const real* bias, real beta, real* y) {
  each_row(t, [&](int64_t n, int64_t tiles, int64_t image, int64_t y0, int64_t x0) {
    const bool below = y0 + 1 < t.H;
    for (int64_t k = 0; k < tiles; ++k) {
      const bool right = x0 + 2 * k + 1 < t.W;
      real* first = y + ((image * t.H + y0) * t.W + x0 + 2 * k) * t.C;
      for (int64_t c = 0; c < t.C; c += lanes) {
        const real* from = planes + (n + k) * t.C + c;
        const auto column = [&](int j) -> Two {  // A^T m
          const real* at = from + j * t.plane;
          const vec b = load(at + 4 * t.plane), d = load(at + 8 * t.plane);
          return {load(at) + b + d, b - d - load(at + 12 * t.plane)};
        };
        const Two p = column(0), q = column(1), r = column(2), s = column(3);
        const vec offset = bias ? load(bias + c) : vec{};
        const auto put = [&](real* to, vec v) {
          v += offset;
          if (beta != 0) v += beta * load(to);
          store(to, v);
        };
        put(first + c, p.a + q.a + r.a);
        if (right) put(first + t.C + c, q.a - r.a - s.a);
        if (below) put(first + t.W * t.C + c, p.b + q.b + r.b);
        if (below && right) put(first + (t.W + 1) * t.C + c, q.b - r.b - s.b);
      }
    }
  });
}

typedef double wide __attribute__((vector_size(lanes * sizeof(double))));
struct Forms {
  wide a, b, c, d;
};
/// G of three.
static inline Forms taps_form(wide a, wide b, wide c) { return {a, (a + b + c) / 2, (a - b + c) / 2, c}; }

void winograd_weights(const real* taps, int64_t n, int64_t plane, real* u) {
  for (int64_t c = 0; c < n; c += lanes) {
    const auto tap = [&](int t) { return __builtin_convertvector(load(taps + t * n + c), wide); };
    const Forms x = taps_form(tap(0), tap(3), tap(6)), y = taps_form(tap(1), tap(4), tap(7)),
                z = taps_form(tap(2), tap(5), tap(8));
    const auto put = [&](int i, wide p, wide q, wide r) {
      const Forms f = taps_form(p, q, r);
      real* to = u + 4 * i * plane + c;
      store(to, __builtin_convertvector(f.a, vec)), store(to + plane, __builtin_convertvector(f.b, vec));
      store(to + 2 * plane, __builtin_convertvector(f.c, vec)),
          store(to + 3 * plane, __builtin_convertvector(f.d, vec));
    };
    put(0, x.a, y.a, z.a), put(1, x.b, y.b, z.b), put(2, x.c, y.c, z.c), put(3, x.d, y.d, z.d);
  }
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
    .winograd_weights = winograd_weights,
    .winograd_taps = winograd_taps,
};

TESSERA_KERNELS_END
