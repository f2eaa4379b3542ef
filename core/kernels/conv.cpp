#include "tessera/core/kernels/conv.h"

#include "tessera/core/kernels/simd.h"

TESSERA_KERNELS_BEGIN

// Depthwise convolution on channels-last maps: every tap is a product of channel vectors, so the whole kernel is FMAs over C.

static inline vec load_upto(const real* p, int64_t n) { return n >= lanes ? load(p) : load_part(p, n); }
static inline void store_upto(real* p, vec v, int64_t n) {
  if (n >= lanes) {
    store(p, v);
  } else {
    store_part(p, v, n);
  }
}

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
    .depthwise = depthwise,
    .depthwise_dx = depthwise_dx,
    .depthwise_dw = depthwise_dw,
};

TESSERA_KERNELS_END
