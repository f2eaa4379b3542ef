//   y[b,oy,ox,o] = b[o] + sum_{ky,kx,i} x[b, oy s - p + ky d, ox s - p + kx d, i] w[o,i,ky,kx]
// Dense and grouped, per group, with X the matrix of patches (B Ho Wo, kh kw I) and W' the weight as (O, kh kw I):
//   Y = X W'^T       dX = dY W' (scattered back onto x)       dW' = dY^T X       db = sum dY           saved: x
// X is never whole: strips of it, some lines of outputs of any image, are gathered into a buffer that stays in L2 and multiplied there with
// panels of W' that are packed once a call. Where the kernel is 1 x 1, X is x. The patch columns are ordered (ky, kx, i), so that
// a patch row is kh stretches of memory; the weight is permuted from the file order (o, i, ky, kx) once a call, which is small beside the product.
#include "tessera/core/ops/conv.h"

#include <algorithm>

#include "tessera/core/gemm.h"
#include "tessera/core/kernels/kernels.h"
#include "tessera/core/ops/detail/loops.h"

namespace tessera {

inline namespace TESSERA_NS {
namespace {

struct Plan {
  ConvShape s;                  // of one image; C = all input channels
  int64_t O, groups, I, Og, K;  // outputs, groups, channels in and out per group, patch width kh kw I
  bool depthwise;
  bool whole;                                // 1 x 1: the patches are the map
  int64_t line() const { return s.Wo * O; }  // of outputs, in reals
};

// w (O, I, kh, kw) -> (O, kh, kw, I); for depthwise, where I = 1, -> (kh, kw, O)
Tensor permuted(const Plan& p, const Tensor& w) {
  const int64_t taps = p.s.kh * p.s.kw;
  Tensor t({static_cast<int>(p.O), static_cast<int>(p.K)});
  real* to = t.data();
  const real* from = w.read().data();
  if (p.depthwise) {
    for (int64_t k = 0; k < taps; ++k)
      for (int64_t o = 0; o < p.O; ++o) *to++ = from[o * taps + k];
    return t;
  }
  for (int64_t o = 0; o < p.O; ++o, from += p.K)
    for (int64_t k = 0; k < taps; ++k)
      for (int64_t i = 0; i < p.I; ++i) *to++ = from[i * taps + k];
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

// f(first line of outputs, one past the last, rows of patches) for strips of about 128 KB
template <class F>
void each_strip(const Plan& p, F f) {
  const int64_t lines = p.s.B * p.s.Ho,
                rows = std::clamp<int64_t>((128 << 10) / (p.K * int64_t{sizeof(real)}), 64, 512);
  const int64_t step = p.whole ? lines : std::max<int64_t>(rows / p.s.Wo, 1);
  for (int64_t first = 0; first < lines; first += step) {
    const int64_t last = std::min(first + step, lines);
    f(first, last, (last - first) * p.s.Wo);
  }
}

// room for the patches of a strip; none where they are the map itself
Tensor strip(const Plan& p) {
  if (p.whole) return {};
  int64_t most = 0;
  each_strip(p, [&](int64_t, int64_t, int64_t rows) { most = std::max(most, rows); });
  return Tensor({static_cast<int>(most), static_cast<int>(p.K)});
}

struct Patches {
  const real* at;
  int64_t step;  // from row to row
};
Patches patches(const Plan& p, const real* x, int64_t group, int64_t first, int64_t last, Tensor& room) {
  if (p.whole) return {x + group * p.I, p.s.C};
  kernels().gather_patches(p.s, x + group * p.I, p.I, first, last, room.data());
  return {room.data(), p.K};
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
  Tensor room = strip(p);
  for (int64_t g = 0; g < p.groups; ++g) {
    const Packed weight = Packed::transposed(wp.data() + g * p.Og * p.K, p.K, p.K, p.Og);
    each_strip(p, [&](int64_t first, int64_t last, int64_t rows) {
      const auto [a, step] = patches(p, x.data(), g, first, last, room);
      weight.multiply(rows, a, step, 0, y.data() + first * p.line() + g * p.Og, p.O, b ? b.data() + g * p.Og : nullptr);
    });
  }
  return y;
}

void backward(const Plan& p, const Tensor& x, const Tensor& w, const Tensor& b, const Tensor& dy, Back& back) {
  if (b && back.wants(b)) {
    const auto [db, beta] = back.into(b);
    detail::sum_rows(dy.data(), db, beta, p.s.B * p.s.Ho * p.s.Wo, p.O);
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
  if (wants_x && !p.whole && dx.beta == 0) std::fill_n(dx.to, x.size(), real(0));
  Tensor room = strip(p);
  for (int64_t g = 0; g < p.groups; ++g) {
    const real* wg = wp.data() + g * p.Og * p.K;
    if (wants_w) {
      each_strip(p, [&](int64_t first, int64_t last, int64_t rows) {
        const auto [a, step] = patches(p, x.data(), g, first, last, room);
        gemm_tn(p.Og, p.K, rows, dy.data() + first * p.line() + g * p.Og, p.O, a, step, first ? real(1) : real(0),
                dw.data() + g * p.Og * p.K, p.K);
      });
    }
    if (!wants_x) continue;
    const Packed weight = Packed::as_is(wg, p.K, p.Og, p.K);
    each_strip(p, [&](int64_t first, int64_t last, int64_t rows) {
      const real* dyg = dy.data() + first * p.line() + g * p.Og;
      if (p.whole) return weight.multiply(rows, dyg, p.O, dx.beta, dx.to + g * p.I, p.s.C);
      weight.multiply(rows, dyg, p.O, 0, room.data(), p.K);
      kernels().scatter_patches(p.s, room.data(), p.I, first, last, dx.to + g * p.I);
    });
  }
  if (wants_w) {
    if (p.s.B * p.s.Ho * p.s.Wo == 0) std::fill_n(dw.data(), dw.size(), real(0));
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
  const bool whole =
      kh * kw == 1 && o.stride_y == 1 && o.stride_x == 1 && std::max({o.top, o.bottom, o.left, o.right}) == 0;
  const Plan p{s, O, o.groups, I, O / o.groups, static_cast<int64_t>(kh) * kw * I, o.groups == C && O == C, whole};
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
