//   y[b,oy,ox,o] = b[o] + sum_{ky,kx,i} x[b, oy s - p + ky d, ox s - p + kx d, i] w[o,i,ky,kx]
// Dense and grouped, per image and group, with X the matrix of patches (Ho Wo, kh kw I) and W' the weight as (O, kh kw I):
//   Y = X W'^T       dX = dY W' (scattered back onto x)       dW' = dY^T X       db = sum dY           saved: x
// The patch columns are ordered (ky, kx, i), so that a patch row is kh kw contiguous copies; the weight is permuted from the file
// order (o, i, ky, kx) once per call, which is small beside the product.
#include "tessera/core/ops/conv.h"

#include <algorithm>
#include <cstring>

#include "tessera/core/gemm.h"
#include "tessera/core/kernels/kernels.h"

namespace tessera {

inline namespace TESSERA_NS {
namespace {

struct Plan {
  ConvShape s;                  // of one image; C = all input channels
  int64_t O, groups, I, Og, K;  // outputs, groups, channels in and out per group, patch width kh kw I
  bool depthwise;
  int64_t in_image() const { return s.H * s.W * s.C; }
  int64_t out_image() const { return s.Ho * s.Wo * O; }
  int64_t pixels() const { return s.Ho * s.Wo; }
};

// w (O, I, kh, kw) -> (O, kh, kw, I); for depthwise, where I = 1, -> (kh, kw, O)
Tensor permuted(const Plan& p, const Tensor& w) {
  const int64_t taps = p.s.kh * p.s.kw;
  Tensor t({static_cast<int>(p.O), static_cast<int>(p.K)});
  for (int64_t o = 0; o < p.O; ++o)
    for (int64_t i = 0; i < p.I; ++i)
      for (int64_t k = 0; k < taps; ++k)
        t[p.depthwise ? k * p.O + o : (o * taps + k) * p.I + i] = w[(o * p.I + i) * taps + k];
  return t;
}

// the inverse, into a gradient sink
void unpermute(const Plan& p, const Tensor& dw, Sink sink) {
  const int64_t taps = p.s.kh * p.s.kw;
  for (int64_t o = 0; o < p.O; ++o)
    for (int64_t i = 0; i < p.I; ++i)
      for (int64_t k = 0; k < taps; ++k) {
        real& to = sink.to[(o * p.I + i) * taps + k];
        const real d = dw[p.depthwise ? k * p.O + o : (o * taps + k) * p.I + i];
        to = sink.beta == 0 ? d : to + d;
      }
}

// f(patch row, tap, pixel of x or -1 where the padding is)
template <class F>
void each_tap(const ConvShape& s, F f) {
  for (int64_t oy = 0, row = 0; oy < s.Ho; ++oy)
    for (int64_t ox = 0; ox < s.Wo; ++ox, ++row)
      for (int64_t ky = 0, tap = 0; ky < s.kh; ++ky) {
        const int64_t iy = oy * s.stride_y - s.pad_y + ky * s.dilation_y;
        for (int64_t kx = 0; kx < s.kw; ++kx, ++tap) {
          const int64_t ix = ox * s.stride_x - s.pad_x + kx * s.dilation_x;
          f(row, tap, iy < 0 || iy >= s.H || ix < 0 || ix >= s.W ? -1 : iy * s.W + ix);
        }
      }
}

void gather_patches(const Plan& p, const real* x, real* patches) {
  const auto bytes = static_cast<size_t>(p.I) * sizeof(real);
  each_tap(p.s, [&](int64_t row, int64_t tap, int64_t pixel) {
    real* to = patches + row * p.K + tap * p.I;
    if (pixel < 0) {
      std::memset(to, 0, bytes);
    } else {
      std::memcpy(to, x + pixel * p.s.C, bytes);
    }
  });
}

void scatter_patches(const Plan& p, const real* patches, real* dx) {
  each_tap(p.s, [&](int64_t row, int64_t tap, int64_t pixel) {
    if (pixel >= 0) kernels().accumulate(patches + row * p.K + tap * p.I, dx + pixel * p.s.C, p.I);
  });
}

/// For messages: the op and the parameter it was called with.
std::string where(const Tensor& w) { return w.leaf() ? "conv2d " + w.leaf()->name : "conv2d"; }

Tensor forward(const Plan& p, const Tensor& x, const Tensor& w, const Tensor& b) {
  const Tensor wp = permuted(p, w);
  Tensor y({static_cast<int>(p.s.B), static_cast<int>(p.s.Ho), static_cast<int>(p.s.Wo), static_cast<int>(p.O)});
  if (p.depthwise) {
    kernels().depthwise(p.s, x.data(), wp.data(), b ? b.data() : nullptr, y.data());
    return y;
  }
  Tensor patches({static_cast<int>(p.pixels()), static_cast<int>(p.K)});
  for (int64_t n = 0; n < p.s.B; ++n)
    for (int64_t g = 0; g < p.groups; ++g) {
      gather_patches(p, x.data() + n * p.in_image() + g * p.I, patches.data());
      gemm_nt(p.pixels(), p.Og, p.K, patches.data(), p.K, wp.data() + g * p.Og * p.K, p.K, 0,
              y.data() + n * p.out_image() + g * p.Og, p.O, b ? b.data() + g * p.Og : nullptr);
    }
  return y;
}

void backward(const Plan& p, const Tensor& x, const Tensor& w, const Tensor& b, const Tensor& dy, Back& back) {
  if (b && back.wants(b)) {
    const auto [db, beta] = back.into(b);
    kernels().sum_rows(dy.data(), db, beta, p.s.B * p.pixels(), p.O);
  }
  const bool wants_x = back.wants(x), wants_w = back.wants(w);
  if (!wants_x && !wants_w) return;
  const Tensor wp = permuted(p, w);
  Tensor dw(wp.shape());
  if (p.depthwise) {
    if (wants_x) {
      const auto [dx, beta] = back.into(x);
      kernels().depthwise_dx(p.s, dy.data(), wp.data(), dx, beta);
    }
    if (wants_w) {
      kernels().depthwise_dw(p.s, x.data(), dy.data(), dw.data());
      unpermute(p, dw, back.into(w));
    }
    return;
  }
  const Sink dx = wants_x ? back.into(x) : Sink{nullptr, 0};
  if (wants_x && dx.beta == 0) std::fill_n(dx.to, x.size(), real(0));
  Tensor patches({static_cast<int>(p.pixels()), static_cast<int>(p.K)});
  for (int64_t n = 0; n < p.s.B; ++n)
    for (int64_t g = 0; g < p.groups; ++g) {
      const real* dyg = dy.data() + n * p.out_image() + g * p.Og;
      if (wants_w) {
        gather_patches(p, x.data() + n * p.in_image() + g * p.I, patches.data());
        gemm_tn(p.Og, p.K, p.pixels(), dyg, p.O, patches.data(), p.K, n ? real(1) : real(0), dw.data() + g * p.Og * p.K,
                p.K);
      }
      if (wants_x) {
        gemm_nn(p.pixels(), p.K, p.Og, dyg, p.O, wp.data() + g * p.Og * p.K, p.K, 0, patches.data(), p.K);
        scatter_patches(p, patches.data(), dx.to + n * p.in_image() + g * p.I);
      }
    }
  if (wants_w) {
    if (p.s.B == 0) std::fill_n(dw.data(), dw.size(), real(0));
    unpermute(p, dw, back.into(w));
  }
}

}  // namespace

Tensor conv2d(const Tensor& x, const Tensor& w, const Tensor& b, const ConvOptions& o) {
  if (x.rank() != 4 || w.rank() != 4)
    fail(where(w), "needs x (B,H,W,C) and weight (O,I,kh,kw), got {} and {}", x.shape().str(), w.shape().str());
  const auto [B, H, W, C] = x.dims<4>();
  const auto [O, I, kh, kw] = w.dims<4>();
  if (o.groups < 1 || C != I * o.groups || O % o.groups)
    fail(where(w), "input has {} channels but weight is {} with {} groups", C, w.shape().str(), o.groups);
  if (b && b.size() != O) fail(where(w), "bias is {} for {} outputs", b.shape().str(), O);
  if (o.stride_y < 1 || o.stride_x < 1 || o.dilation_y < 1 || o.dilation_x < 1 ||
      std::min({o.top, o.bottom, o.left, o.right}) < 0)
    fail(where(w), "stride and dilation must be at least 1, padding at least 0");
  const int Ho = (H + o.top + o.bottom - o.dilation_y * (kh - 1) - 1) / o.stride_y + 1;
  const int Wo = (W + o.left + o.right - o.dilation_x * (kw - 1) - 1) / o.stride_x + 1;
  if (H + o.top + o.bottom < o.dilation_y * (kh - 1) + 1 || W + o.left + o.right < o.dilation_x * (kw - 1) + 1)
    fail(where(w), "a {}x{} kernel is larger than the padded {}x{} map", kh, kw, H, W);
  const ConvShape s{B, H, W, C, Ho, Wo, kh, kw, o.stride_y, o.stride_x, o.top, o.left, o.dilation_y, o.dilation_x};
  const Plan p{s, O, o.groups, I, O / o.groups, static_cast<int64_t>(kh) * kw * I, o.groups == C && O == C};
  Tensor y = forward(p, x, w, b);
  const Attribute how[] = {{"stride_y", o.stride_y},
                           {"stride_x", o.stride_x},
                           {"top", o.top},
                           {"bottom", o.bottom},
                           {"left", o.left},
                           {"right", o.right},
                           {"groups", o.groups},
                           {"dilation_y", o.dilation_y},
                           {"dilation_x", o.dilation_x}};
  return record({"conv2d", static_cast<double>(y.size()) * static_cast<double>(p.K), how}, y, {&x, &w, &b},
                [=](const Tensor& dy, Back& back) { backward(p, x, w, b, dy, back); });
}

Tensor conv1d(const Tensor& x, const Tensor& w, const Tensor& b, int stride, int left, int right, int groups,
              int dilation) {
  if (x.rank() != 3 || w.rank() != 3)
    fail(w.leaf() ? "conv1d " + w.leaf()->name : "conv1d", "needs x (B,T,C) and weight (O,I,k), got {} and {}",
         x.shape().str(), w.shape().str());
  const auto [B, T, C] = x.dims<3>();
  const auto [O, I, k] = w.dims<3>();
  const Tensor y =
      conv2d(x.reshape({B, 1, T, C}), w.reshape({O, I, 1, k}), b, {1, stride, 0, 0, left, right, 1, dilation, groups});
  return y.reshape({B, y.dim(2), O});
}

}  // namespace TESSERA_NS
}  // namespace tessera
