// Convolutions as products with the matrix of patches X (B Ho Wo, kh kw I), W' being the weight as (O, kh kw I):
//   Y = X W'^T       dX = dY W' (scattered back onto x)       dW' = dY^T X
// X is never whole: strips of it, some lines of outputs of any image, are gathered into a buffer that stays in L2 and multiplied there with
// panels of W' that the weight keeps. Where the kernel is 1 x 1, X is x. The patch columns are ordered (ky, kx, i), so that
// a patch row is kh stretches of memory; the weight is permuted from the file order (o, i, ky, kx) when its panels are made.
#include <algorithm>

#include "tessera/core/gemm.h"
#include "tessera/core/kernels/kernels.h"
#include "tessera/core/ops/detail/conv_plan.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace conv {
namespace {

// f(first line of outputs, one past the last, rows of patches) for strips of about 128 KB
template <class F>
void each_strip(const Plan& p, F f) {
  const int64_t lines = p.s.B * p.s.Ho,
                rows = std::clamp<int64_t>((128 << 10) / (std::max<int64_t>(p.K, 1) * int64_t{sizeof(real)}), 64, 512);
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

}  // namespace

namespace {

/// The weight of each group as (Og, K) in panels: those of the product with its transpose, or with itself.
Packed in_panels(const Plan& p, const Tensor& w, bool transposed) {
  const PanelKey key{w.read().data(),
                     transposed ? PanelKey::conv_patches : PanelKey::conv_patches_input,
                     rounds(),
                     {p.O, p.I, p.s.kh, p.s.kw, p.groups}};
  return Packed(w.leaf(), key, transposed, p.groups, transposed ? p.K : p.Og, transposed ? p.Og : p.K,
                [&](real* to) { permute(p, w, to); });
}

}  // namespace

void permute(const Plan& p, const Tensor& w, real* to) {
  const int64_t taps = p.taps();
  const real* from = w.read().data();
  if (p.depthwise) {
    for (int64_t k = 0; k < taps; ++k)
      for (int64_t o = 0; o < p.O; ++o) *to++ = from[o * taps + k];
    return;
  }
  for (int64_t o = 0; o < p.O; ++o, from += p.K)
    for (int64_t k = 0; k < taps; ++k)
      for (int64_t i = 0; i < p.I; ++i) *to++ = from[i * taps + k];
}

Tensor permuted(const Plan& p, const Tensor& w) {
  Tensor t({static_cast<int>(p.O), static_cast<int>(p.K)});
  permute(p, w, t.data());
  return t;
}

void unpermute(const Plan& p, const real* dw, Sink sink) {
  const int64_t taps = p.taps(), step = p.depthwise ? p.O : p.I;  // from tap to tap
  const auto each = [&](auto put) {
    real* to = sink.to;
    for (int64_t o = 0; o < p.O; ++o) {
      const real* from = dw + (p.depthwise ? o : o * p.K);
      for (int64_t i = 0; i < p.I; ++i)
        for (int64_t k = 0; k < taps; ++k) put(*to++, from[k * step + i]);
    }
  };
  if (sink.beta == 0) return each([](real& to, real d) { to = d; });
  each([](real& to, real d) { to += d; });
}

void forward_patches(const Plan& p, const Tensor& x, const Tensor& w, const real* bias, Tensor& y) {
  const Packed weight = in_panels(p, w, true);
  Tensor room = strip(p);
  for (int64_t g = 0; g < p.groups; ++g)
    each_strip(p, [&](int64_t first, int64_t last, int64_t rows) {
      const auto [a, step] = patches(p, x.data(), g, first, last, room);
      weight.multiply(g, rows, a, step, 0, y.data() + first * p.line() + g * p.Og, p.O,
                      bias ? bias + g * p.Og : nullptr);
    });
}

void input_gradient_patches(const Plan& p, const Tensor& w, const Tensor& dy, Sink dx) {
  if (!p.whole && dx.beta == 0) std::fill_n(dx.to, p.s.B * p.s.H * p.s.W * p.s.C, real(0));
  const Packed weight = in_panels(p, w, false);
  Tensor room = strip(p);
  for (int64_t g = 0; g < p.groups; ++g)
    each_strip(p, [&](int64_t first, int64_t last, int64_t rows) {
      const real* dyg = dy.data() + first * p.line() + g * p.Og;
      if (p.whole) return weight.multiply(g, rows, dyg, p.O, dx.beta, dx.to + g * p.I, p.s.C);
      weight.multiply(g, rows, dyg, p.O, 0, room.data(), p.K);
      kernels().scatter_patches(p.s, room.data(), p.I, first, last, dx.to + g * p.I);
    });
}

void weight_gradient_patches(const Plan& p, const Tensor& x, const Tensor& dy, Sink dw) {
  Tensor d({static_cast<int>(p.O), static_cast<int>(p.K)}), room = strip(p);
  for (int64_t g = 0; g < p.groups; ++g)
    each_strip(p, [&](int64_t first, int64_t last, int64_t rows) {
      const auto [a, step] = patches(p, x.data(), g, first, last, room);
      gemm_tn(p.Og, p.K, rows, dy.data() + first * p.line() + g * p.Og, p.O, a, step, first ? real(1) : real(0),
              d.data() + g * p.Og * p.K, p.K);
    });
  if (p.s.B * p.s.Ho * p.s.Wo == 0) std::fill_n(d.data(), d.size(), real(0));
  unpermute(p, d.data(), dw);
}

}  // namespace conv
}  // namespace TESSERA_NS
}  // namespace tessera
