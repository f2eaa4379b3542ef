#include "tessera/core/kernels/conv.h"

#include "tessera/core/kernels/simd.h"

TESSERA_KERNELS_BEGIN

// On channels-last maps every tap of a depthwise convolution is a product of channel vectors, so the whole kernel is FMAs over C; and a
// row of a patch is one stretch of memory.

static inline vec load_upto(const real* p, int64_t n) { return n >= lanes ? load(p) : load_part(p, n); }
static inline void store_upto(real* p, vec v, int64_t n) {
  if (n >= lanes) {
    store(p, v);
  } else {
    store_part(p, v, n);
  }
}

// ---- patches -------------------------------------------------------------------------------------------------------------

static inline void clear(real* to, int64_t n) {
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) store(to + i, vec{});
  if (i < n) store_part(to + i, vec{}, n - i);
}
static inline void copy(const real* from, real* to, int64_t n) {
  map(n, to, from, [](vec v) { return v; });
}
static inline void add(const real* from, real* to, int64_t n) {
  map(n, to, to, from, [](vec a, vec b) { return a + b; });
}

/// The taps of a row of the kernel lie side by side in the map, if all its channels are meant and none is left out between them.
static inline int64_t taps_together(const ConvShape& s, int64_t I) { return s.dilation_x == 1 && I == s.C ? s.kw : 1; }

/// The patches of some lines of outputs, piece by piece: inside(piece of the patch, where it lies in its image, how many reals),
/// outside(piece, reals) for what is beyond the map.
template <class Inside, class Outside>
static inline void each_piece(const ConvShape& s, int64_t I, int64_t first, int64_t last, Inside inside,
                              Outside outside) {
  const int64_t together = taps_together(s, I), width = s.kh * s.kw * I;
  for (int64_t line = first; line < last; ++line) {
    const int64_t image = line / s.Ho, top = line % s.Ho * s.stride_y - s.pad_y;
    for (int64_t ox = 0; ox < s.Wo; ++ox) {
      int64_t piece = ((line - first) * s.Wo + ox) * width;
      for (int64_t ky = 0; ky < s.kh; ++ky) {
        const int64_t iy = top + ky * s.dilation_y;
        const bool row_inside = iy >= 0 && iy < s.H;
        for (int64_t kx = 0; kx < s.kw; kx += together, piece += together * I) {
          const int64_t ix = ox * s.stride_x - s.pad_x + kx * s.dilation_x;
          int64_t lo = ix < 0 ? -ix : 0, hi = s.W - ix < together ? s.W - ix : together;
          if (!row_inside || lo >= hi) lo = hi = together;
          if (lo > 0) outside(piece, lo * I);
          if (hi > lo) inside(piece + lo * I, ((image * s.H + iy) * s.W + ix + lo) * s.C, (hi - lo) * I);
          if (hi < together) outside(piece + hi * I, (together - hi) * I);
        }
      }
    }
  }
}

void gather_patches(const ConvShape& s, const real* x, int64_t I, int64_t first, int64_t last, real* patches) {
  each_piece(
      s, I, first, last, [=](int64_t piece, int64_t at, int64_t n) { copy(x + at, patches + piece, n); },
      [=](int64_t piece, int64_t n) { clear(patches + piece, n); });
}

void scatter_patches(const ConvShape& s, const real* patches, int64_t I, int64_t first, int64_t last, real* dx) {
  each_piece(
      s, I, first, last, [=](int64_t piece, int64_t at, int64_t n) { add(patches + piece, dx + at, n); },
      [](int64_t, int64_t) {});
}

// ---- depthwise -----------------------------------------------------------------------------------------------------------

void depthwise(const ConvShape& s, const real* x, const real* w, const real* bias, real* y) {
  for (int64_t b = 0; b < s.B; ++b, x += s.H * s.W * s.C) {
    for (int64_t oy = 0; oy < s.Ho; ++oy) {
      for (int64_t ox = 0; ox < s.Wo; ++ox, y += s.C) {
        for (int64_t c = 0; c < s.C; c += lanes) {
          const int64_t n = s.C - c;
          vec sum = bias ? load_upto(bias + c, n) : vec{};
          for (int64_t ky = 0; ky < s.kh; ++ky) {
            const int64_t iy = oy * s.stride_y - s.pad_y + ky * s.dilation_y;
            if (iy < 0 || iy >= s.H) continue;
            for (int64_t kx = 0; kx < s.kw; ++kx) {
              const int64_t ix = ox * s.stride_x - s.pad_x + kx * s.dilation_x;
              if (ix < 0 || ix >= s.W) continue;
              sum += load_upto(x + (iy * s.W + ix) * s.C + c, n) * load_upto(w + (ky * s.kw + kx) * s.C + c, n);
            }
          }
          store_upto(y + c, sum, n);
        }
      }
    }
  }
}

void depthwise_dx(const ConvShape& s, const real* dy, const real* w, real* dx, real beta) {
  for (int64_t b = 0; b < s.B; ++b, dy += s.Ho * s.Wo * s.C) {
    for (int64_t iy = 0; iy < s.H; ++iy) {
      for (int64_t ix = 0; ix < s.W; ++ix, dx += s.C) {
        for (int64_t c = 0; c < s.C; c += lanes) {
          const int64_t n = s.C - c;
          vec sum = beta == 0 ? vec{} : beta * load_upto(dx + c, n);
          for (int64_t ky = 0; ky < s.kh; ++ky) {
            const int64_t ty = iy + s.pad_y - ky * s.dilation_y;  // = oy stride
            if (ty < 0 || ty % s.stride_y || ty / s.stride_y >= s.Ho) continue;
            for (int64_t kx = 0; kx < s.kw; ++kx) {
              const int64_t tx = ix + s.pad_x - kx * s.dilation_x;
              if (tx < 0 || tx % s.stride_x || tx / s.stride_x >= s.Wo) continue;
              sum += load_upto(dy + (ty / s.stride_y * s.Wo + tx / s.stride_x) * s.C + c, n) *
                     load_upto(w + (ky * s.kw + kx) * s.C + c, n);
            }
          }
          store_upto(dx + c, sum, n);
        }
      }
    }
  }
}

void depthwise_dw(const ConvShape& s, const real* x, const real* dy, real* dw) {
  for (int64_t c = 0; c < s.C; c += lanes) {
    const int64_t n = s.C - c;
    for (int64_t ky = 0; ky < s.kh; ++ky) {
      for (int64_t kx = 0; kx < s.kw; ++kx) {
        vec sum = {};
        for (int64_t b = 0; b < s.B; ++b) {
          for (int64_t oy = 0; oy < s.Ho; ++oy) {
            const int64_t iy = oy * s.stride_y - s.pad_y + ky * s.dilation_y;
            if (iy < 0 || iy >= s.H) continue;
            for (int64_t ox = 0; ox < s.Wo; ++ox) {
              const int64_t ix = ox * s.stride_x - s.pad_x + kx * s.dilation_x;
              if (ix < 0 || ix >= s.W) continue;
              sum += load_upto(x + ((b * s.H + iy) * s.W + ix) * s.C + c, n) *
                     load_upto(dy + ((b * s.Ho + oy) * s.Wo + ox) * s.C + c, n);
            }
          }
        }
        store_upto(dw + (ky * s.kw + kx) * s.C + c, sum, n);
      }
    }
  }
}

extern constinit const ConvKernels conv_kernels{
    .gather_patches = gather_patches,
    .scatter_patches = scatter_patches,
    .depthwise = depthwise,
    .depthwise_dx = depthwise_dx,
    .depthwise_dw = depthwise_dw,
};

TESSERA_KERNELS_END
