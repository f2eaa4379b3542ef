// Tap t = (u, v) of output pixel p sees, of a channel c of offset group g, the map between its cells:
//   y = oy stride - top + u dilation + dy[p,g,t]        x likewise with dx        ly, lx: their fractions above the cell (floor y, floor x)
//   S[p,t,c]  = sum_q a_q x[q,c]                        q: the four cells around; a = (1-ly)(1-lx), (1-ly)lx, ly(1-lx), ly lx; outside: x = 0
//   P[p,t,c]  = m[p,g,t] S[p,t,c]                       Y = P W'^T + b, per image and group of channels, as in conv2d
// With dP = dY W' and D_q = sum_c dP[p,t,c] x[q,c] over the channels of g:
//   dm        = sum_q a_q D_q
//   d(dy)     = m ((1-lx)(D_10 - D_00) + lx (D_11 - D_01))        d(dx) = m ((1-ly)(D_01 - D_00) + ly (D_11 - D_10))
//   dx[q,c]  += m a_q dP[p,t,c]        dW' = dY^T P        db = sum dY        saved: x, offset, mask; P is made again
#include "tessera/core/ops/deform_conv.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "tessera/core/gemm.h"
#include "tessera/core/kernels/kernels.h"
#include "tessera/core/ops/detail/conv_shape.h"
#include "tessera/core/ops/detail/loops.h"
#include "tessera/core/ops/detail/target.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

struct Plan {
  ConvOptions o;
  int64_t B, H, W, C, Ho, Wo, O, I, Og, kh, kw, G;  // C = all input channels, I and Og = those in and out per group
  int64_t taps() const { return kh * kw; }
  int64_t pixels() const { return Ho * Wo; }
  int64_t K() const { return taps() * I; }
  int64_t width() const { return taps() * C; }  // of a row of P: group by group, in each (tap, channel)
  int64_t column(int64_t tap, int64_t c) const { return (c / I * taps() + tap) * I + c % I; }
};

/// f(first channel, how many): the channels of offset group g, cut where the groups of the weight are.
template <class F>
void each_segment(const Plan& p, int64_t g, F f) {
  const int64_t block = p.C / p.G;
  for (int64_t c = g * block; c < (g + 1) * block;) {
    const int64_t end = std::min((g + 1) * block, (c / p.I + 1) * p.I);
    f(c, end - c);
    c = end;
  }
}

/// The four cells around a point, row by row; -1 where there is none.
struct Sample {
  std::array<int64_t, 4> cell{-1, -1, -1, -1};
  real ly = 0, lx = 0;
  bool lost = false;  ///< its place is not a number
  std::array<real, 4> shares() const { return {(1 - ly) * (1 - lx), (1 - ly) * lx, ly * (1 - lx), ly * lx}; }
};

Sample sample(const Plan& p, real y, real x) {
  Sample s;
  s.lost = std::isnan(y) || std::isnan(x);
  if (!(y > -1 && y < static_cast<real>(p.H) && x > -1 && x < static_cast<real>(p.W))) return s;
  const real top = std::floor(y), left = std::floor(x);
  s.ly = y - top, s.lx = x - left;
  const auto i = static_cast<int64_t>(top), j = static_cast<int64_t>(left);
  for (int64_t q = 0; q < 4; ++q)
    if (const int64_t a = i + q / 2, b = j + q % 2; a >= 0 && a < p.H && b >= 0 && b < p.W)
      s.cell[static_cast<size_t>(q)] = a * p.W + b;
  return s;
}

/// f(pixel, offset group, tap, sample) of one image; `offset` is that image's.
template <class F>
void each_sample(const Plan& p, const real* offset, F f) {
  for (int64_t pixel = 0; pixel < p.pixels(); ++pixel)
    for (int64_t g = 0; g < p.G; ++g)
      for (int64_t tap = 0; tap < p.taps(); ++tap, offset += 2) {
        const int64_t y = pixel / p.Wo * p.o.stride_y - p.o.top + tap / p.kw * p.o.dilation_y;
        const int64_t x = pixel % p.Wo * p.o.stride_x - p.o.left + tap % p.kw * p.o.dilation_x;
        f(pixel, g, tap, sample(p, static_cast<real>(y) + offset[0], static_cast<real>(x) + offset[1]));
      }
}

/// One image's part of a tensor (B, Ho, Wo, channels), or null.
const real* image(const Plan& p, const Tensor& t, int64_t n) { return t ? t.data() + n * (t.size() / p.B) : nullptr; }

void gather(const Plan& p, const real* x, const real* offset, const real* mask, real* P) {
  std::fill_n(P, p.pixels() * p.width(), real(0));
  each_sample(p, offset, [&](int64_t pixel, int64_t g, int64_t tap, const Sample& s) {
    const real m = mask ? mask[(pixel * p.G + g) * p.taps() + tap] : 1;
    const auto share = s.shares();
    each_segment(p, g, [&](int64_t first, int64_t count) {
      real* to = P + pixel * p.width() + p.column(tap, first);
      for (size_t q = 0; q < 4; ++q) {
        if (s.cell[q] < 0) continue;
        const real* from = x + s.cell[q] * p.C + first;
        for (int64_t c = 0; c < count; ++c) to[c] += share[q] * from[c];
      }
      if (s.lost) std::fill_n(to, count, std::numeric_limits<real>::quiet_NaN());
      for (int64_t c = 0; mask && c < count; ++c) to[c] *= m;
    });
  });
}

// From dP of image n to the gradients of the map, the offsets and the mask.
void scatter(const Plan& p, int64_t n, const Tensor& x, const Tensor& offset, const Tensor& mask, const real* dP,
             const detail::Target& dx, const detail::Target& doffset, const detail::Target& dmask) {
  const real* map = image(p, x, n);
  const real* m_of = image(p, mask, n);
  real* dmap = dx ? dx.sink.to + n * p.H * p.W * p.C : nullptr;
  each_sample(p, image(p, offset, n), [&](int64_t pixel, int64_t g, int64_t tap, const Sample& s) {
    const int64_t at = (pixel * p.G + g) * p.taps() + tap, place = n * p.pixels() * p.G * p.taps() + at;
    const real m = m_of ? m_of[at] : 1;
    const auto share = s.shares();
    std::array<real, 4> D{};
    if (s.lost) D.fill(std::numeric_limits<real>::quiet_NaN());
    each_segment(p, g, [&](int64_t channel, int64_t count) {
      const real* d = dP + pixel * p.width() + p.column(tap, channel);
      for (size_t q = 0; q < 4; ++q) {
        if (s.cell[q] < 0) continue;
        const int64_t first = s.cell[q] * p.C + channel;
        real dot = 0;
        for (int64_t c = 0; c < count; ++c) dot += d[c] * map[first + c];
        D[q] += dot;
        const real a = m * share[q];
        for (int64_t c = 0; dmap && c < count; ++c) dmap[first + c] += a * d[c];
      }
      if (s.lost && dmap)
        for (int64_t cell = 0; cell < p.H * p.W; ++cell)
          std::fill_n(dmap + cell * p.C + channel, count, std::numeric_limits<real>::quiet_NaN());
    });
    if (dmask) dmask.put(place, share[0] * D[0] + share[1] * D[1] + share[2] * D[2] + share[3] * D[3]);
    if (!doffset) return;
    doffset.put(2 * place, m * ((1 - s.lx) * (D[2] - D[0]) + s.lx * (D[3] - D[1])));
    doffset.put(2 * place + 1, m * ((1 - s.ly) * (D[1] - D[0]) + s.ly * (D[3] - D[2])));
  });
}

// w (O, I, kh, kw) -> W' (O, kh kw I)
Tensor permuted(const Plan& p, const Tensor& w) {
  Tensor t({static_cast<int>(p.O), static_cast<int>(p.K())});
  real* to = t.data();
  const real* from = w.read().data();
  for (int64_t o = 0; o < p.O; ++o)
    for (int64_t i = 0; i < p.I; ++i)
      for (int64_t k = 0; k < p.taps(); ++k) to[(o * p.taps() + k) * p.I + i] = *from++;
  return t;
}

Tensor forward(const Plan& p, const Tensor& x, const Tensor& offset, const Tensor& mask, const Tensor& w,
               const Tensor& b) {
  const Tensor wp = permuted(p, w);
  Tensor y({static_cast<int>(p.B), static_cast<int>(p.Ho), static_cast<int>(p.Wo), static_cast<int>(p.O)});
  Tensor P({static_cast<int>(p.pixels()), static_cast<int>(p.width())});
  for (int64_t n = 0; n < p.B; ++n) {
    gather(p, image(p, x, n), image(p, offset, n), image(p, mask, n), P.data());
    for (int64_t g = 0; g < p.o.groups; ++g)
      gemm_nt(p.pixels(), p.Og, p.K(), P.data() + g * p.K(), p.width(), wp.data() + g * p.Og * p.K(), p.K(), 0,
              y.data() + n * p.pixels() * p.O + g * p.Og, p.O, b ? b.data() + g * p.Og : nullptr);
  }
  return y;
}

void backward(const Plan& p, const Tensor& x, const Tensor& offset, const Tensor& mask, const Tensor& w,
              const Tensor& b, const Tensor& dy, Back& back) {
  if (b && back.wants(b)) {
    const auto [db, beta] = back.into(b);
    detail::sum_rows(dy.data(), db, beta, p.B * p.pixels(), p.O);
  }
  const detail::Target dx(x, back), doffset(offset, back), dmask(mask, back), dw(w, back);
  if (dx && dx.sink.beta == 0) std::fill_n(dx.sink.to, x.size(), real(0));
  const bool samples = dx || doffset || dmask;
  const Tensor wp = permuted(p, w);
  Tensor P({static_cast<int>(p.pixels()), static_cast<int>(p.width())}), dwp = zeros(wp.shape());
  for (int64_t n = 0; n < p.B; ++n) {
    const real* dyn = dy.data() + n * p.pixels() * p.O;
    if (dw) {
      gather(p, image(p, x, n), image(p, offset, n), image(p, mask, n), P.data());
      for (int64_t g = 0; g < p.o.groups; ++g)
        gemm_tn(p.Og, p.K(), p.pixels(), dyn + g * p.Og, p.O, P.data() + g * p.K(), p.width(), 1,
                dwp.data() + g * p.Og * p.K(), p.K());
    }
    if (!samples) continue;
    for (int64_t g = 0; g < p.o.groups; ++g)
      gemm_nn(p.pixels(), p.K(), p.Og, dyn + g * p.Og, p.O, wp.data() + g * p.Og * p.K(), p.K(), 0,
              P.data() + g * p.K(), p.width());
    scatter(p, n, x, offset, mask, P.data(), dx, doffset, dmask);
  }
  if (!dw) return;
  for (int64_t o = 0; o < p.O; ++o)
    for (int64_t i = 0; i < p.I; ++i)
      for (int64_t k = 0; k < p.taps(); ++k) dw.put((o * p.I + i) * p.taps() + k, dwp[(o * p.taps() + k) * p.I + i]);
}

/// For messages: the op and the parameter it was called with.
std::string where(const Tensor& w) { return w.leaf() ? "deform_conv2d " + w.leaf()->name : "deform_conv2d"; }

Plan plan(const Tensor& x, const Tensor& offset, const Tensor& mask, const Tensor& w, const Tensor& b,
          const ConvOptions& o, int G) {
  const ConvShape s = conv::checked_shape("deform_conv2d", x, w, b, o);
  if (G < 1 || s.C % G) fail(where(w), "{} offset groups do not divide {} channels", G, s.C);
  const int B = x.dim(0), Ho = static_cast<int>(s.Ho), Wo = static_cast<int>(s.Wo), T = static_cast<int>(s.kh * s.kw);
  if (const Shape want{B, Ho, Wo, 2 * G * T}; offset.shape() != want)
    fail(where(w), "offset is {}, expected {}: dy and dx of {} taps in {} groups", offset.shape().str(), want.str(), T,
         G);
  if (const Shape want{B, Ho, Wo, G * T}; mask && mask.shape() != want)
    fail(where(w), "mask is {}, expected {}", mask.shape().str(), want.str());
  const int64_t O = w.dim(0), I = w.dim(1);
  return {o, s.B, s.H, s.W, s.C, s.Ho, s.Wo, O, I, O / o.groups, s.kh, s.kw, G};
}

}  // namespace

Tensor deform_conv2d(const Tensor& x, const Tensor& offset, const Tensor& mask, const Tensor& w, const Tensor& b,
                     const ConvOptions& o, int offset_groups) {
  const Plan p = plan(x, offset, mask, w, b, o, offset_groups);
  Tensor y = forward(p, x, offset, mask, w, b);
  const Attribute how[] = {{"stride_y", o.stride_y},
                           {"stride_x", o.stride_x},
                           {"top", o.top},
                           {"bottom", o.bottom},
                           {"left", o.left},
                           {"right", o.right},
                           {"groups", o.groups},
                           {"dilation_y", o.dilation_y},
                           {"dilation_x", o.dilation_x},
                           {"offset_groups", offset_groups}};
  const double macs = static_cast<double>(y.size()) * static_cast<double>(p.K()) +
                      4.0 * static_cast<double>(p.B * p.pixels() * p.width());  // the products, and four cells a sample
  return record({"deform_conv2d", macs, how}, y, {&x, &offset, &mask, &w, &b},
                [=](const Tensor& dy, Back& back) { backward(p, x, offset, mask, w, b, dy, back); });
}

}  // namespace TESSERA_NS
}  // namespace tessera
