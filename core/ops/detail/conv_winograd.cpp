// Convolutions 3 x 3 of stride 1 by Winograd's F(2x2, 3x3): the map is cut into tiles of 4 x 4 cells that overlap by two, every tile and the weight
// are transformed to 16 numbers a channel, and where 2 x 2 outputs took 36 products a pair of channels, they take 16:
//   y = A^T [sum_i (B^T d_i B) * (G w_oi G^T)] A           16 products of matrices (tiles, I) (I, O)
//   dx = the same of dy, with w turned round                dw = G^T [sum over tiles of (B^T d B)^T (A dy A^T)] G
// Sums are of other terms than the definition's, their rounding is of the same size (0.7 to 1.7 times that of gathered patches, rms, 16 to 256
// channels); of an infinity in the map the difference with another one may come out, NaN. In bf16 it is the transformed numbers that are rounded.
#include <algorithm>

#include "tessera/core/gemm.h"
#include "tessera/core/kernels/kernels.h"
#include "tessera/core/ops/detail/conv_plan.h"
#include "tessera/core/parallel.h"
#include "tessera/core/whole.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace conv {
namespace {

constexpr int64_t forms = 16;   // numbers of a tile
constexpr int64_t workers = 4;  // that may share one image

struct Tiling {
  WinogradTiles of_map, of_outputs;  // 4 x 4 cells of what is read; 2 x 2 of what is written
  int64_t all, step;                 // tiles; of a strip
};

/// Outputs H x W of O channels from a map of h x w cells and I channels, in `least` strips or more if there are tiles enough.
Tiling tiling(int64_t B, int64_t h, int64_t w, int64_t I, int64_t top, int64_t left, int64_t H, int64_t W, int64_t O,
              int64_t least) {
  const int64_t ty = (H + 1) / 2, tx = (W + 1) / 2, all = B * ty * tx;
  // both sides of the products, 16 (I + O) numbers a tile, stay in L2 together: 384 KB; whole tiles of the micro-kernel
  const int64_t fit = std::max<int64_t>(6144 / (I + O) / 14, 2) * 14;
  const int64_t strips = std::max<int64_t>({(all + fit - 1) / fit, std::min(least, all / 28), 1});
  Tiling t{{h, w, I, top, left, ty, tx, 0, 0, 0}, {H, W, O, 0, 0, ty, tx, 0, 0, 0}, all, (all + strips - 1) / strips};
  t.of_map.plane = t.step * I + 16, t.of_outputs.plane = t.step * O + 16;  // not a multiple of 4 KB apart
  return t;
}
Tensor planes(const WinogradTiles& t) { return Tensor({static_cast<int>(forms * t.plane)}); }

int64_t strips_of(const Tiling& t) { return t.step ? (t.all + t.step - 1) / t.step : 0; }
/// Strip i of the map and of the outputs.
Tiling strip(Tiling t, int64_t i) {
  t.of_map.first = t.of_outputs.first = i * t.step;
  t.of_map.count = t.of_outputs.count = std::min(t.step, t.all - i * t.step);
  return t;
}

int64_t panels_size(int64_t I, int64_t O) {
  return rounds() ? up_to(O, 32) * up_to(I, 32) : up_to(O, 2 * int64_t{kernels().lanes}) * I;
}

/// Which number of a weight (O, I, 3, 3) belongs to row k and column n of the matrices that are multiplied with.
struct Reading {
  const real* w;
  int64_t k_step, n_step;
  bool turned;  // taps in reverse
};

/// Panels of the 16 matrices (K, N) of G w G^T.
void transform_weight(int64_t K, int64_t N, const Reading& from, real* panels) {
  const int64_t plane = K * N;
  Tensor u({static_cast<int>(forms), static_cast<int>(plane)});
  Tensor taps({9, static_cast<int>(N)});  // of one row, which stays in L1
  for (int64_t k = 0; k < K; ++k) {
    const real* w = from.w + k * from.k_step;
    for (int64_t n = 0; n < N; ++n, w += from.n_step)
      for (int64_t t = 0; t < 9; ++t) taps[t * N + n] = w[from.turned ? 8 - t : t];
    kernels().winograd_weights(taps.data(), N, plane, u.data() + k * N);
  }
  const auto pack = rounds() ? kernels().bf16_pack : kernels().gemm_pack;
  for (int64_t f = 0; f < forms; ++f) pack(u.data() + f * plane, N, K, N, panels + f * panels_size(K, N));
}

/// Memory for what bf16_gemm makes of rows of K numbers.
Tensor room_of(int64_t K) { return rounds() ? Tensor({64, static_cast<int>(up_to(K, 32))}) : Tensor(); }
/// C (M, N) = A (M, K) B, plainly or of rounded operands.
void multiply(GemmTask t, Tensor& room) {
  if (!rounds()) return kernels().gemm(&t);
  t.scratch = room.data();
  kernels().bf16_gemm(&t);
}

/// Writes the outputs of a tiling.
void correlate(const Tiling& all, const real* x, const real* panels, const real* bias, real beta, real* y) {
  const int64_t I = all.of_map.C, O = all.of_outputs.C;
  const int64_t grain = parallel::grain_of_products(forms * all.step * I * O);
  parallel::rows(strips_of(all), grain, [&](int64_t from, int64_t to) {
    Tensor in = planes(all.of_map), out = planes(all.of_outputs);
    for (int64_t i = from; i < to; ++i) {
      const auto [map, outputs, tiles, step] = strip(all, i);
      kernels().winograd_cells(map, x, in.data());
      // shared where there is one strip only: ResNet-18's answer to one image of 32 x 32, two threads of a Zen 4, in turn: 7.2-8.5 ms before, 4.8 now
      parallel::rows(forms, parallel::grain_of_products(map.count * I * O),
                     [&, &map = map, &outputs = outputs](int64_t f, int64_t end) {
                       Tensor room = room_of(I);
                       for (; f < end; ++f) {
                         GemmTask t{};
                         t.M = map.count, t.N = O, t.K = I, t.a = in.data() + f * map.plane, t.a_row = I, t.a_col = 1;
                         t.panels = panels + f * panels_size(I, O), t.c = out.data() + f * outputs.plane, t.ldc = O;
                         multiply(t, room);
                       }
                     });
      kernels().winograd_outputs(outputs, out.data(), bias, beta, y);
    }
  });
}

}  // namespace

bool by_winograd(const Plan& p) {
  const ConvShape& s = p.s;
  if (s.kh != 3 || s.kw != 3 || s.stride_y != 1 || s.stride_x != 1 || s.dilation_y != 1 || s.dilation_x != 1)
    return false;
  if (p.groups != 1 || p.I % 16 || p.Og % 16 || std::max(p.I, p.Og) > 512) return false;
  // the weight has 16 numbers where it had 9, which a few tiles do not pay back
  if (s.B * ((s.Ho + 1) / 2) * ((s.Wo + 1) / 2) < 16) return false;
  // in bf16 products take half the time, additions what they took
  return by_lines(p) && (!rounds() || std::min(p.I, p.Og) >= 64);
}

void forward_winograd(const Plan& p, const Tensor& x, const Tensor& w, const real* bias, Tensor& y) {
  const Reading from{w.read().data(), 9, 9 * p.I, false};
  const PanelKey key{from.w, PanelKey::conv_winograd, rounds(), {p.O, p.I}};
  const KeptPanels panels(w.leaf(), key, forms * panels_size(p.I, p.O),
                          [&](real* to) { transform_weight(p.I, p.O, from, to); });
  const ConvShape& s = p.s;
  correlate(tiling(s.B, s.H, s.W, p.I, s.pad_y, s.pad_x, s.Ho, s.Wo, p.O, workers), x.data(), panels.data(), bias, 0,
            y.data());
}

void input_gradient_winograd(const Plan& p, const Tensor& w, const Tensor& dy, Sink dx) {
  const Reading from{w.read().data(), 9 * p.I, 9, true};
  const PanelKey key{from.w, PanelKey::conv_winograd_input, rounds(), {p.O, p.I}};
  const KeptPanels panels(w.leaf(), key, forms * panels_size(p.O, p.I),
                          [&](real* to) { transform_weight(p.O, p.I, from, to); });
  const ConvShape& s = p.s;
  correlate(tiling(s.B, s.Ho, s.Wo, p.O, 2 - s.pad_y, 2 - s.pad_x, s.H, s.W, p.I, workers), dy.data(), panels.data(),
            nullptr, dx.beta, dx.to);
}

void weight_gradient_winograd(const Plan& p, const Tensor& x, const Tensor& dy, Sink dw) {
  if (p.I * p.O > 256 * 256) return weight_gradient_lines(p, x, dy, dw);  // 16 matrices of this size leave L3
  const ConvShape& s = p.s;
  const int64_t I = p.I, O = p.O;
  const Tiling all = tiling(s.B, s.H, s.W, I, s.pad_y, s.pad_x, s.Ho, s.Wo, O, 1);
  Tensor in = planes(all.of_map), out = planes(all.of_outputs);
  Tensor du({static_cast<int>(forms), static_cast<int>(I * O)}), taps({9, static_cast<int>(I * O)});
  if (all.all == 0) std::fill_n(du.data(), du.size(), real(0));
  for (int64_t i = 0; i < strips_of(all); ++i) {
    const auto [map, outputs, tiles, step] = strip(all, i);
    kernels().winograd_cells(map, x.data(), in.data());
    kernels().winograd_cotangents(outputs, dy.data(), out.data());
    for (int64_t f = 0; f < forms; ++f) {
      const real *a = in.data() + f * map.plane, *b = out.data() + f * outputs.plane;
      real *c = du.data() + f * I * O, beta = map.first ? real(1) : real(0);
      if (rounds()) {
        gemm_tn(I, O, map.count, a, I, b, O, beta, c, O);
        continue;
      }
      LineTask t{};
      t.images = t.lines = t.taps_y = t.taps_x = 1, t.pixels = map.count;
      t.a = a, t.a_pixel = I, t.I = I, t.b = b, t.b_pixel = O, t.N = O;
      t.c = c, t.c_pixel = O, t.beta = beta;
      kernels().conv_lines.weigh(t);
    }
  }
  kernels().winograd_taps(du.data(), I * O, taps.data());
  kernels().add_transposed_taps(taps.data(), O, 9, I, O, dw.to, dw.beta);
}

}  // namespace conv
}  // namespace TESSERA_NS
}  // namespace tessera
