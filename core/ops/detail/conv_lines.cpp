// Convolutions as products that read the map where it lies (core/kernels/conv_lines.cpp): a strip of some lines, or of some small images, is
// copied with its zeros around it, 1 / (kh kw) of what patches would take, and stays in L2 while all its outputs are computed.
//   y   correlates x with w
//   dx  correlates dy with w turned round: tap k of an axis reaches input i = s o - p + k d from output o. With s = 1 these are all taps in
//       reverse; else every s-th input, those of one remainder of (i + p) / s, has taps of its own: k = r, r + s, ... (d = 1)
//   dw  is x^T dy for each tap, summed over pixels
#include <algorithm>

#include "tessera/core/gemm.h"
#include "tessera/core/kernels/kernels.h"
#include "tessera/core/ops/detail/conv_plan.h"
#include "tessera/core/parallel.h"
#include "tessera/core/precision.h"
#include "tessera/core/whole.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace conv {
namespace {

/// One axis of a correlation: output o reads cells o stride + k step - before of `in`, k < taps.
struct Axis {
  int64_t in, out, before, taps, step, stride;
  int64_t padded(int64_t outs) const { return outs && taps ? (outs - 1) * stride + (taps - 1) * step + 1 : 0; }
};

/// What is read: images of C channels a cell, of which a group takes I.
struct Map {
  const real* x;
  int64_t C, I;
};

struct Correlation {
  int64_t B;
  Axis y, x;
  Map map;
  bool joined() const { return x.step == 1; }  // the taps of a row lie side by side
};

const LineProducts& products() { return rounds() ? kernels().conv_lines_bf16 : kernels().conv_lines; }

constexpr int64_t usual_room = 1 << 15;  // 128 KB

/// Some lines of outputs of some images: either whole images, or one.
struct Strip {
  int64_t image, images, first, lines;
};

/// What a correlation is cut into: strips of about `room` reals of padded map, `least` of them if there is enough, for so many workers where a
/// single image is all. They depend on sizes only.
class Strips {
 public:
  Strips(const Correlation& c, int64_t units, int64_t room, int64_t least) : lines_(c.y.out), images_(c.B), reals_(1) {
    const int64_t line = c.x.padded(c.x.out) * units, image = c.y.padded(c.y.out) * line;
    if (image <= room && (images_ >= least || lines_ < 8)) {
      count =
          std::clamp<int64_t>(std::max((images_ * image + room - 1) / room, least), 1, std::max<int64_t>(images_, 1));
    } else {  // of a line at least as many as one copy of its neighbourhood is worth
      const int64_t fit =
          std::max(room / std::max<int64_t>(line, 1) - c.y.padded(1), 3 * c.y.padded(1)) / c.y.stride + 1;
      per_image_ =
          std::clamp<int64_t>(std::max((lines_ + fit - 1) / fit, (least + images_ - 1) / std::max<int64_t>(images_, 1)),
                              1, std::max<int64_t>(lines_, 1));
      count = images_ * per_image_;
    }
    for (int64_t i = 0; i < count; ++i) {
      const Strip s = at(i);
      reals_ = std::max(reals_, s.images * c.y.padded(s.lines) * line), rows_ = std::max(rows_, s.images * s.lines);
    }
  }
  int64_t count;
  Strip at(int64_t i) const {
    if (per_image_ == 0) {
      const int64_t from = images_ * i / count;
      return {from, images_ * (i + 1) / count - from, 0, lines_};
    }
    const int64_t part = i % per_image_, from = lines_ * part / per_image_;
    return {i / per_image_, 1, from, lines_ * (part + 1) / per_image_ - from};
  }
  /// Memory for the padded map of any of them.
  Tensor room() const { return Tensor({static_cast<int>(reals_)}); }
  /// Lines of outputs of the largest.
  int64_t rows() const { return rows_; }

 private:
  int64_t lines_, images_, reals_, rows_ = 0, per_image_ = 0;
};

constexpr int64_t workers = 4;

/// f(strip, memory for its map) for all strips, whose outputs, N channels, are apart.
template <class F>
void each_strip(const Correlation& c, int64_t units, int64_t N, F f) {
  const int64_t pixels = c.B * c.y.out * c.x.out, weight = c.y.taps * c.x.taps * c.map.I * N, macs = pixels * weight;
  // workers that shared a few cells would all read the whole weight: multiply() cuts that instead
  const bool by_columns = pixels <= 256 && weight > 1 << 18;
  const Strips strips(c, units, usual_room, by_columns ? 1 : workers);
  const int64_t grain = parallel::grain_of_products(macs / std::max<int64_t>(strips.count, 1));
  parallel::rows(strips.count, grain, [&](int64_t from, int64_t to) {
    Tensor room = strips.room();
    for (int64_t i = from; i < to; ++i) f(strips.at(i), room);
  });
}

/// The map of a strip, written by `write`, and where a task finds its taps. `pair`: cells of outputs that a row stands for.
LineTask read(const Correlation& c, const Strip& s, void (*write)(const PaddedLines&, real*), int64_t units,
              int64_t pair, Tensor& room) {
  const int64_t width = c.x.padded(c.x.out), lines = c.y.padded(s.lines), line = width * units;
  for (int64_t i = 0; i < s.images; ++i)
    write({.x = c.map.x + (s.image + i) * c.y.in * c.x.in * c.map.C,
           .H = c.y.in,
           .W = c.x.in,
           .C = c.map.C,
           .I = c.map.I,
           .top = c.y.before,
           .left = c.x.before,
           .first = s.first * c.y.stride,
           .lines = lines,
           .width = width,
           .ahead = c.x.stride},
          room.data() + i * lines * line);
  LineTask t{};
  t.images = s.images, t.lines = s.lines, t.pixels = (c.x.out + pair - 1) / pair;
  t.a = room.data(), t.a_image = lines * line, t.a_line = c.y.stride * line, t.a_pixel = pair * c.x.stride * units;
  t.taps_y = c.y.taps, t.step_y = c.y.step * line;
  t.taps_x = c.joined() ? 1 : c.x.taps, t.step_x = c.x.step * units;
  t.I = c.joined() ? c.x.taps * units : units;
  return t;
}

Correlation forward_of(const Plan& p, const real* x, int64_t group) {
  const ConvShape& s = p.s;
  return {s.B,
          {s.H, s.Ho, s.pad_y, s.kh, s.dilation_y, s.stride_y},
          {s.W, s.Wo, s.pad_x, s.kw, s.dilation_x, s.stride_x},
          {x + group * p.I, s.C, p.I}};
}

/// Panels of `matrices` weights, each (N, K) as `fill` writes it in fp32.
struct Weights {
  int64_t N, K, each;  // each: reals of one's panels
  Weights(int64_t N_, int64_t K_) : N(N_), K(K_) {
    each = rounds() ? up_to(N, 32) * up_to(K, 32) : up_to(N, 2 * int64_t{kernels().lanes}) * K;
  }
  void pack(const Tensor& matrix, real* panels) const {
    (rounds() ? kernels().bf16_pack_transposed : kernels().gemm_pack_transposed)(matrix.data(), K, K, N, panels);
  }
  Tensor matrix() const { return Tensor({static_cast<int>(N), static_cast<int>(K)}); }
};

int64_t units_of(int64_t numbers) { return (numbers + products().pair - 1) / products().pair; }

/// The product of a strip, its columns shared where idle workers have no strips to share.
void multiply(const LineProducts& how, const LineTask& t) {
  const int64_t panel = 2 * int64_t{kernels().lanes}, depth = t.taps_y * t.taps_x * t.I;
  const int64_t grain = parallel::grain_of_products(t.images * t.lines * t.pixels * depth, panel);
  parallel::rows(t.N, grain, [&](int64_t j, int64_t e) {
    LineTask part = t;
    part.N = e - j, part.b += j * depth, part.c += j;
    if (part.bias) part.bias += j;
    how.multiply(part);
  });
}

/// An axis of the input gradient: the inputs first, first + every, ... (`count` of them), which taps r, r + every, ... reach.
struct Phase {
  int64_t first, every, count, r, taps;
  Axis axis;
  /// The kernel's tap that stands at place k of the correlation.
  int64_t tap(int64_t k) const { return r + every * (taps - 1 - k); }
};
Phase phase(int64_t in, int64_t out, int64_t pad, int64_t kernel, int64_t dilation, int64_t stride, int64_t r) {
  const int64_t first = ((r - pad) % stride + stride) % stride;
  const int64_t count = first < in ? (in - first + stride - 1) / stride : 0;
  const int64_t taps = r < kernel ? (kernel - r + stride - 1) / stride : 0, step = stride == 1 ? dilation : 1;
  const int64_t origin = (first + pad - r) / stride;  // the output whose tap r reaches the first input
  return {first, stride, count, r, taps, {out, count, step * (taps - 1) - origin, taps, step, 1}};
}
/// f(phase of y, phase of x, its number)
template <class F>
void each_phase(const Plan& p, F f) {
  const ConvShape& s = p.s;
  int64_t n = 0;
  for (int64_t y = 0; y < s.stride_y; ++y)
    for (int64_t x = 0; x < s.stride_x; ++x)
      f(phase(s.H, s.Ho, s.pad_y, s.kh, s.dilation_y, s.stride_y, y),
        phase(s.W, s.Wo, s.pad_x, s.kw, s.dilation_x, s.stride_x, x), n++);
}

}  // namespace

bool rounds() { return sizeof(real) == sizeof(float) && precision() == Precision::bf16; }

bool by_lines(const Plan& p) {
  const ConvShape& s = p.s;
  if (p.taps() == 1 || products().pair == 0) return false;
  if ((s.stride_y > 1 && s.dilation_y > 1) || (s.stride_x > 1 && s.dilation_x > 1)) return false;
  // OpenBLAS where vectors hold 16 bytes, as in gemm.cpp
  const bool narrow = kernels().lanes * sizeof(real) <= 16 && !rounds();
  return !narrow || s.B * s.Ho * s.Wo * p.Og * p.K <= 64 * 64 * 64;
}

void forward_lines(const Plan& p, const Tensor& x, const Tensor& w, const real* bias, Tensor& y) {
  const LineProducts& how = products();
  const int64_t pair = how.pair, units = units_of(p.I), taps = p.taps();
  const Weights weights(p.Og, taps * units * pair);
  const PanelKey key{w.read().data(), PanelKey::conv, rounds(), {p.O, p.I, p.s.kh, p.s.kw, p.groups}};
  const KeptPanels panels(w.leaf(), key, p.groups * weights.each, [&](real* to) {
    Tensor m = weights.matrix();
    for (int64_t g = 0; g < p.groups; ++g, to += weights.each) {
      const real* from = w.read().data() + g * p.Og * p.K;
      for (int64_t o = 0; o < p.Og; ++o)
        for (int64_t t = 0; t < taps; ++t)
          for (int64_t i = 0; i < units * pair; ++i)
            m[(o * taps + t) * units * pair + i] = i < p.I ? from[(o * p.I + i) * taps + t] : 0;
      weights.pack(m, to);
    }
  });
  for (int64_t g = 0; g < p.groups; ++g) {
    const Correlation c = forward_of(p, x.data(), g);
    each_strip(c, units, p.Og, [&](const Strip& s, Tensor& room) {
      LineTask t = read(c, s, how.pad, units, 1, room);
      t.N = p.Og, t.b = panels.data() + g * weights.each, t.bias = bias ? bias + g * p.Og : nullptr;
      t.c = y.data() + (s.image * p.s.Ho + s.first) * p.line() + g * p.Og;
      t.c_image = p.s.Ho * p.line(), t.c_line = p.line(), t.c_pixel = p.O;
      multiply(how, t);
    });
  }
}

void input_gradient_lines(const Plan& p, const Tensor& w, const Tensor& dy, Sink dx) {
  const LineProducts& how = products();
  const int64_t pair = how.pair, units = units_of(p.Og), row = p.s.W * p.s.C;
  each_phase(p, [&](const Phase& py, const Phase& px, int64_t number) {
    const int64_t taps = py.taps * px.taps;
    const Weights weights(p.I, taps * units * pair);
    const PanelKey key{w.read().data(),
                       PanelKey::conv_input,
                       rounds(),
                       {p.O, p.I, p.s.kh, p.s.kw, p.groups, p.s.stride_y, p.s.stride_x, number}};
    const KeptPanels panels(w.leaf(), key, p.groups * weights.each, [&](real* to) {
      Tensor m = weights.matrix();
      for (int64_t g = 0; g < p.groups; ++g, to += weights.each) {
        const real* from = w.read().data() + g * p.Og * p.K;
        for (int64_t i = 0; i < p.I; ++i)
          for (int64_t t = 0; t < taps; ++t) {
            const int64_t tap = py.tap(t / px.taps) * p.s.kw + px.tap(t % px.taps);
            for (int64_t o = 0; o < units * pair; ++o)
              m[(i * taps + t) * units * pair + o] = o < p.Og ? from[(o * p.I + i) * p.taps() + tap] : 0;
          }
        weights.pack(m, to);
      }
    });
    Correlation c{p.s.B, py.axis, px.axis, {dy.data(), p.O, p.Og}};
    for (int64_t g = 0; g < p.groups; ++g, c.map.x += p.Og)
      each_strip(c, units, p.I, [&](const Strip& s, Tensor& room) {
        LineTask t = read(c, s, how.pad, units, 1, room);
        t.N = p.I, t.b = panels.data() + g * weights.each, t.beta = dx.beta;
        t.c = dx.to + (s.image * p.s.H + py.first + s.first * py.every) * row + px.first * p.s.C + g * p.I;
        t.c_image = p.s.H * row, t.c_line = py.every * row, t.c_pixel = px.every * p.s.C;
        multiply(how, t);
      });
  });
}

void weight_gradient_lines(const Plan& p, const Tensor& x, const Tensor& dy, Sink dw) {
  const LineProducts& how = products();
  const int64_t pair = how.pair, wide = whole(p.Og);
  const bool in_place = !rounds() && p.groups == 1 && wide == p.Og;  // rows of dy are whole vectors as they lie
  const int64_t row_pixels = (p.s.Wo + pair - 1) / pair;
  // a large gradient is read and written for every strip: fewer of them
  const int64_t fit = p.K * wide > 1 << 17 ? 1 << 18 : usual_room;
  const Strips strips(forward_of(p, nullptr, 0), p.I, fit, 1);
  Tensor d({static_cast<int>(p.K), static_cast<int>(wide)}), room = strips.room(), rows;
  if (!in_place) rows = Tensor({static_cast<int>(strips.rows() * row_pixels * wide)});
  for (int64_t g = 0; g < p.groups; ++g) {
    const Correlation c = forward_of(p, x.data(), g);
    real beta = 0;
    for (int64_t i = 0; i < strips.count; ++i) {
      const Strip s = strips.at(i);
      LineTask t = read(c, s, how.zip, p.I, pair, room);
      const real* from = dy.data() + (s.image * p.s.Ho + s.first) * p.line() + g * p.Og;
      if (!in_place) how.zip_rows(from, p.O, s.images * s.lines, p.s.Wo, p.Og, rows.data());
      t.N = p.Og, t.b = in_place ? from : rows.data(), t.b_pixel = wide;
      t.c = d.data(), t.c_pixel = wide, t.beta = beta;
      how.weigh(t);
      beta = 1;
    }
    if (beta == 0) std::fill_n(d.data(), d.size(), real(0));
    kernels().add_transposed_taps(d.data(), wide, p.taps(), p.I, p.Og, dw.to + g * p.Og * p.K, dw.beta);
  }
}

}  // namespace conv
}  // namespace TESSERA_NS
}  // namespace tessera
