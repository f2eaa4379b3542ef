//   average:  y = sum of the window's cells / count        dx[cell] += dy / count
//   maximum:  y = x[best]                                   dx[best] += dy          saved: best, one index per output
// All three are loops over windows [y0, y1) x [x0, x1) of a channels-last map (core/kernels/pool.cpp); only where a window lies differs.
#include "tessera/core/ops/pool.h"

#include <algorithm>
#include <cmath>

#include "tessera/core/kernels/kernels.h"
#include "tessera/core/parallel.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

struct Span {
  int a, b;   // cells inside the map
  int count;  // what the average divides by, along this axis
};

// windows along one axis
struct Axis {
  int in, out;
  PoolOptions o;
  bool adaptive;
  Span at(int i) const {
    if (adaptive) {
      const int a = static_cast<int>(static_cast<int64_t>(i) * in / out);
      const int b = static_cast<int>((static_cast<int64_t>(i + 1) * in + out - 1) / out);
      return {a, b, b - a};
    }
    const int start = i * o.stride - o.padding, end = std::min(start + o.kernel, in + o.padding);
    const int a = std::max(start, 0), b = std::min(end, in);
    return {a, b, o.count_include_pad ? end - start : b - a};
  }
};

Axis axis(const char* op, int in, const PoolOptions& o) {
  const int64_t padding = o.padding, padded = in + 2 * padding, room = padded - o.kernel;
  if (in < 1) fail(op, "a map without cells has nothing to pool");
  if (o.kernel < 1 || o.stride < 1 || o.padding < 0 || 2 * padding > o.kernel)
    fail(op, "kernel {}, stride {}, padding {}: padding may be at most half of the kernel", o.kernel, o.stride,
         o.padding);
  if (room < 0) fail(op, "a window of {} is larger than the padded extent {}", o.kernel, padded);
  const int64_t stride = o.stride;
  int64_t out = (room + (o.ceil_mode ? stride - 1 : 0)) / stride + 1;
  if (o.ceil_mode && (out - 1) * stride >= in + padding) --out;
  return {in, static_cast<int>(out), o, false};
}

/// f(first image, end) over all of B images of `numbers` each, idle workers helping: what an image reads and writes is its own.
template <class F>
void each_images(int B, int64_t numbers, F f) {
  parallel::rows(B, parallel::grain(numbers),
                 [&](int64_t a, int64_t e) { f(static_cast<int>(a), static_cast<int>(e)); });
}

/// f(output cell, image, rows, columns) of all windows of images [first, end), with cells counted in pixels.
template <class F>
void each_window(int first, int end, const Axis& ay, const Axis& ax, F f) {
  for (int b = first, out = first * ay.out * ax.out; b < end; ++b)
    for (int i = 0; i < ay.out; ++i)
      for (int j = 0; j < ax.out; ++j, ++out) f(out, b, ay.at(i), ax.at(j));
}

PoolWindow window(Span rows, Span columns, int W, int C) {
  return {rows.b - rows.a, columns.b - columns.a, static_cast<int64_t>(W) * C, C};
}
int64_t first_cell(int image, Span rows, Span columns, int H, int W) {
  return (static_cast<int64_t>(image) * H + rows.a) * W + columns.a;
}

Tensor average(const Op& op, const Tensor& x, const Axis& ay, const Axis& ax) {
  const auto [B, H, W, C] = x.dims<4>();
  Tensor y({B, ay.out, ax.out, C});
  const int64_t image = int64_t{H} * W * C;
  each_images(B, image, [&, H_ = H, W_ = W, C_ = C](int first, int end) {
    each_window(first, end, ay, ax, [&](int out, int b, Span r, Span c) {
      kernels().pool_average(window(r, c, W_, C_), x.data() + first_cell(b, r, c, H_, W_) * C_,
                             static_cast<real>(r.count) * static_cast<real>(c.count),
                             y.data() + static_cast<int64_t>(out) * C_);
    });
  });
  return record(op, y, {&x}, [=, in = x.slot(), B_ = B, H_ = H, W_ = W, C_ = C](const Tensor& dy, Back& back) {
    if (!back.wants(in)) return;
    const Sink dx = back.into(in);
    each_images(B_, image, [&](int first, int end) {
      if (dx.beta == 0) std::fill_n(dx.to + first * image, (end - first) * image, real(0));
      each_window(first, end, ay, ax, [&](int out, int b, Span r, Span c) {
        kernels().pool_average_backward(window(r, c, W_, C_), dy.data() + static_cast<int64_t>(out) * C_,
                                        real(1) / (static_cast<real>(r.count) * static_cast<real>(c.count)),
                                        dx.to + first_cell(b, r, c, H_, W_) * C_);
      });
    });
  });
}

std::array<Attribute, 5> how(const PoolOptions& o) {
  return {{{"kernel", o.kernel},
           {"stride", o.stride},
           {"padding", o.padding},
           {"ceil_mode", o.ceil_mode},
           {"count_include_pad", o.count_include_pad}}};
}

void need_map(const char* op, const Tensor& x) {
  if (x.rank() != 4) fail(op, "needs a map (B,H,W,C), got {}", x.shape().str());
}

}  // namespace

Tensor avg_pool2d(const Tensor& x, const PoolOptions& o) {
  need_map("avg_pool2d", x);
  return average({"avg_pool2d", 0, how(o)}, x, axis("avg_pool2d", x.dim(1), o), axis("avg_pool2d", x.dim(2), o));
}

Tensor adaptive_avg_pool2d(const Tensor& x, int h, int w) {
  need_map("adaptive_avg_pool2d", x);
  if (h < 1 || w < 1) fail("adaptive_avg_pool2d", "{}x{} is no output size", h, w);
  if (x.dim(1) < 1 || x.dim(2) < 1) fail("adaptive_avg_pool2d", "a map without cells has nothing to pool");
  return average({"adaptive_avg_pool2d", {{"h", h}, {"w", w}}}, x, {x.dim(1), h, {}, true}, {x.dim(2), w, {}, true});
}

Tensor max_pool2d(const Tensor& x, const PoolOptions& o) {
  need_map("max_pool2d", x);
  const auto [B, H, W, C] = x.dims<4>();
  const Axis ay = axis("max_pool2d", H, o), ax = axis("max_pool2d", W, o);
  Tensor y({B, ay.out, ax.out, C});
  Tensor best(y.shape());  // opaque: the index of the largest cell in its image, exact up to 2^24 cells of float
  if (static_cast<int64_t>(H) * W > (1 << 24)) fail("max_pool2d", "a map of {}x{} cells is too large", H, W);
  const int64_t image = int64_t{H} * W * C, pooled = int64_t{ay.out} * ax.out * C;
  each_images(B, image, [&, H_ = H, W_ = W, C_ = C](int first, int end) {
    each_window(first, end, ay, ax, [&](int out, int b, Span r, Span c) {
      kernels().pool_max(window(r, c, W_, C_), x.data() + first_cell(b, r, c, H_, W_) * C_,
                         static_cast<real>(r.a * W_ + c.a), static_cast<real>(W_),
                         y.data() + static_cast<int64_t>(out) * C_, best.data() + static_cast<int64_t>(out) * C_);
    });
  });
  return record({"max_pool2d", 0, how(o)}, y, {&x}, [=, in = x.slot(), B_ = B, C_ = C](const Tensor& dy, Back& back) {
    if (!back.wants(in)) return;
    const Sink dx = back.into(in);
    each_images(B_, image, [&](int first, int end) {
      for (int b = first; b < end; ++b) {  // one image at a time: its zeros are in the cache when the gradients arrive
        real* const to = dx.to + b * image;
        if (dx.beta == 0) std::fill_n(to, image, real(0));
        const real *const d = dy.data() + b * pooled, *const at = best.data() + b * pooled;
        for (int64_t i = 0; i < pooled; i += C_)
          for (int k = 0; k < C_; ++k) to[static_cast<int64_t>(at[i + k]) * C_ + k] += d[i + k];
      }
    });
  });
}

}  // namespace TESSERA_NS
}  // namespace tessera
