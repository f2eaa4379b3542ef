//   y[b,oy,ox,o] = b[o] + sum_{ky,kx,i} x[b, oy s - p + ky d, ox s - p + kx d, i] w[o,i,ky,kx]
//   dx = dy correlated with w turned round        dw = sum over pixels of dy x^T        db = sum dy           saved: x
// Depthwise ones are kernels of their own (core/kernels/conv.cpp); how the others become products is decided in detail/conv_plan.h.
#include "tessera/core/ops/conv.h"

#include <algorithm>

#include "tessera/core/kernels/kernels.h"
#include "tessera/core/ops/detail/conv_plan.h"
#include "tessera/core/ops/detail/conv_shape.h"
#include "tessera/core/ops/detail/loops.h"

namespace tessera {

inline namespace TESSERA_NS {
namespace {

using conv::Plan;

constexpr int64_t together = 16;   // images of one sum of a weight's gradient
constexpr int64_t most_sums = 16;  // that are held at once

/// f(plan of some images, the first of them): all of them, idle workers helping. Images write their own outputs, except under OpenBLAS,
/// whose sums may depend on how many rows it is given.
template <class F>
void each_images(const Plan& p, F f) {
  const int64_t image = p.s.Ho * p.s.Wo * p.O * p.K;
  if (!p.depthwise && !by_winograd(p) && !by_lines(p)) return f(p, 0);
  parallel::rows(p.s.B, parallel::grain_of_products(image), [&](int64_t a, int64_t b) {
    Plan some = p;
    some.s.B = b - a;
    f(some, a);
  });
}

Tensor forward(const Plan& p, const Tensor& x, const Tensor& w, const Tensor& b) {
  Tensor y({static_cast<int>(p.s.B), static_cast<int>(p.s.Ho), static_cast<int>(p.s.Wo), static_cast<int>(p.O)});
  const real* bias = b ? b.data() : nullptr;
  each_images(p, [&](const Plan& some, int64_t first) {
    const int from = static_cast<int>(first), to = static_cast<int>(first + some.s.B);
    const Tensor of = x.detach().rows(from, to);
    Tensor out = y.rows(from, to);
    if (p.depthwise) {
      kernels().depthwise(some.s, of.data(), permuted(p, w).data(), bias, out.data());
    } else {
      (by_winograd(p) ? conv::forward_winograd
       : by_lines(p)  ? conv::forward_lines
                      : conv::forward_patches)(some, of, w, bias, out);
    }
  });
  return y;
}

void weight_gradient(const Plan& p, const Tensor& x, const Tensor& dy, Sink to) {
  if (p.depthwise) {
    Tensor dw({static_cast<int>(p.O), static_cast<int>(p.K)});
    kernels().depthwise_dw(p.s, x.data(), dy.data(), dw.data());
    unpermute(p, dw.data(), to);
  } else {
    (by_winograd(p) ? conv::weight_gradient_winograd
     : by_lines(p)  ? conv::weight_gradient_lines
                    : conv::weight_gradient_patches)(p, x, dy, to);
  }
}

/// Of many images: sums of fixed numbers of them, added in order.
void weight_gradient_of_many(const Plan& p, const Tensor& x, const Tensor& w, const Tensor& dy, Sink to) {
  if (p.s.B > most_sums * together) {
    for (int64_t i = 0; i < p.s.B; i += most_sums * together, to.beta = 1) {
      const int from = static_cast<int>(i), end = static_cast<int>(std::min(p.s.B, i + most_sums * together));
      Plan some = p;
      some.s.B = end - from;
      weight_gradient_of_many(some, x.detach().rows(from, end), w, dy.rows(from, end), to);
    }
    return;
  }
  const int64_t blocks = (p.s.B - 1) / together + 1;
  Tensor sums({static_cast<int>(blocks), static_cast<int>(w.size())});
  parallel::rows(blocks, 1, [&](int64_t i, int64_t e) {
    for (; i < e; ++i) {
      const int from = static_cast<int>(i * together), end = static_cast<int>(std::min(p.s.B, (i + 1) * together));
      Plan some = p;
      some.s.B = end - from;
      weight_gradient(some, x.detach().rows(from, end), dy.rows(from, end), {sums.data() + i * w.size(), 0});
    }
  });
  detail::sum_rows(sums.data(), to.to, to.beta, blocks, w.size());
}

void backward(const Plan& p, const Tensor& x, const Tensor& w, const Tensor& b, const Tensor& dy, Back& back) {
  if (b && back.wants(b)) {
    const auto [db, beta] = back.into(b);
    detail::sum_rows(dy.data(), db, beta, p.s.B * p.s.Ho * p.s.Wo, p.O);
  }
  if (back.wants(w)) {
    const Sink dw = back.into(w);
    if (p.s.B > together) {
      weight_gradient_of_many(p, x, w, dy, dw);
    } else {
      weight_gradient(p, x, dy, dw);
    }
  }
  if (!back.wants(x)) return;
  const Sink dx = back.into(x);
  each_images(p, [&](const Plan& some, int64_t first) {
    const Tensor of = dy.rows(static_cast<int>(first), static_cast<int>(first + some.s.B));
    const Sink to{dx.to + first * p.s.H * p.s.W * p.s.C, dx.beta};
    if (p.depthwise) {
      kernels().depthwise_dx(some.s, of.data(), permuted(p, w).data(), to.to, to.beta);
    } else {
      (by_winograd(p) ? conv::input_gradient_winograd
       : by_lines(p)  ? conv::input_gradient_lines
                      : conv::input_gradient_patches)(some, w, of, to);
    }
  });
}

}  // namespace

ConvShape conv::checked_shape(const char* op, const Tensor& x, const Tensor& w, const Tensor& b, const ConvOptions& o) {
  const auto where = [&] { return w.leaf() ? op + (" " + w.leaf()->name) : op; };
  if (x.rank() != 4 || w.rank() != 4)
    fail(where(), "needs x (B,H,W,C) and weight (O,I,kh,kw), got {} and {}", x.shape().str(), w.shape().str());
  const auto [B, H, W, C] = x.dims<4>();
  const auto [O, I, kh, kw] = w.dims<4>();
  if (o.groups < 1 || C != I * o.groups || O % o.groups)
    fail(where(), "input has {} channels but weight is {} with {} groups", C, w.shape().str(), o.groups);
  if (b && b.size() != O) fail(where(), "bias is {} for {} outputs", b.shape().str(), O);
  if (o.stride_y < 1 || o.stride_x < 1 || o.dilation_y < 1 || o.dilation_x < 1 ||
      std::min({o.top, o.bottom, o.left, o.right}) < 0)
    fail(where(), "stride and dilation must be at least 1, padding at least 0");
  const int64_t room_y = int64_t{H} + o.top + o.bottom - int64_t{o.dilation_y} * (kh - 1) - 1,
                room_x = int64_t{W} + o.left + o.right - int64_t{o.dilation_x} * (kw - 1) - 1;
  if (room_y < 0 || room_x < 0) fail(where(), "a {}x{} kernel is larger than the padded {}x{} map", kh, kw, H, W);
  const int64_t Ho = room_y / o.stride_y + 1, Wo = room_x / o.stride_x + 1;
  return {B, H, W, C, Ho, Wo, kh, kw, o.stride_y, o.stride_x, o.top, o.left, o.dilation_y, o.dilation_x};
}

Tensor conv2d(const Tensor& x, const Tensor& w, const Tensor& b, const ConvOptions& o) {
  const ConvShape s = conv::checked_shape("conv2d", x, w, b, o);
  const int64_t O = w.dim(0), I = w.dim(1);
  const bool whole =
      s.kh * s.kw == 1 && o.stride_y == 1 && o.stride_x == 1 && std::max({o.top, o.bottom, o.left, o.right}) == 0;
  const Plan p{s, O, o.groups, I, O / o.groups, s.kh * s.kw * I, o.groups == s.C && O == s.C, whole};
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
