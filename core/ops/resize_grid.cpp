//   T    = Wy X          (h, w0 C)  <-  (h0, w0 C)
//   y_i  = Wx T_i        (w, C)  <-  (w0, C), each row i
//
//   dT_i = Wx^T dy_i
//   dX   = Wy^T dT       saved: nothing
#include "tessera/core/ops/resize_grid.h"

#include <algorithm>
#include <tuple>

#include "tessera/core/gemm.h"
#include "tessera/core/kernels/kernels.h"
#include "tessera/core/memo.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

constexpr Precision exact = Precision::f32;  // weights of an interpolation sum to 1, which rounded ones do not

struct Sizes {
  int h0, w0, h, w, C, before, after;
  int64_t cells0() const { return static_cast<int64_t>(h0) * w0; }
  int64_t cells() const { return static_cast<int64_t>(h) * w; }
};

Tensor matrix(int in, int out, Interpolation rule) {
  static Memo<std::tuple<int, int, Interpolation>, Tensor> memo;
  return memo({in, out, rule}, [&] { return tensor({out, in}, interpolation_matrix(in, out, rule)); });
}

void forward(const Sizes& s, const Tensor& Wy, const Tensor& Wx, const Tensor& x, Tensor& y) {
  const int64_t C = s.C, line0 = s.w0 * C, line = s.w * C;
  std::copy_n(x.data(), s.before * C, y.data());
  Tensor T({s.h, s.w0, s.C});
  gemm_nn(s.h, line0, s.h0, Wy.data(), s.h0, x.data() + s.before * C, line0, 0, T.data(), line0, nullptr, {}, exact);
  for (int64_t i = 0; i < s.h; ++i)
    gemm_nn(s.w, C, s.w0, Wx.data(), s.w0, T.data() + i * line0, C, 0, y.data() + s.before * C + i * line, C, nullptr,
            {}, exact);
  std::copy_n(x.data() + (s.before + s.cells0()) * C, s.after * C, y.data() + (s.before + s.cells()) * C);
}

void backward(const Sizes& s, const Tensor& Wy, const Tensor& Wx, const Tensor& x, const Tensor& dy, Back& back) {
  const int64_t C = s.C, line0 = s.w0 * C, line = s.w * C;
  const auto [dx, beta] = back.into(x);
  const auto kept = [&, to = dx, b = beta](int64_t from, int64_t into, int64_t rows) {  // dx = beta dx + dy
    if (b == 0)
      std::copy_n(dy.data() + from * C, rows * C, to + into * C);
    else
      kernels().accumulate(dy.data() + from * C, to + into * C, rows * C);
  };
  kept(0, 0, s.before);
  Tensor dT({s.h, s.w0, s.C});
  for (int64_t i = 0; i < s.h; ++i)
    gemm_tn(s.w0, C, s.w, Wx.data(), s.w0, dy.data() + s.before * C + i * line, C, 0, dT.data() + i * line0, C, exact);
  gemm_tn(s.h0, line0, s.h, Wy.data(), s.h0, dT.data(), line0, beta, dx + s.before * C, line0, exact);
  kept(s.before + s.cells(), s.before + s.cells0(), s.after);
}

}  // namespace

Tensor resize_grid(const Tensor& x, int h0, int w0, int h, int w, Interpolation rule, int before, int after) {
  if (x.rank() < 1) fail("resize_grid", "the table is empty");
  const Sizes s{h0, w0, h, w, x.dim(-1), before, after};
  if (x.size() != (before + s.cells0() + after) * s.C) {
    fail("resize_grid", "a table of {} does not hold a grid of {} x {} cells and {} class rows", x.shape().str(), h0,
         w0, before + after);
  }
  const Tensor &Wy = matrix(h0, h, rule), &Wx = matrix(w0, w, rule);
  Tensor y({static_cast<int>(before + s.cells() + after), s.C});
  forward(s, Wy, Wx, x, y);
  const double macs = static_cast<double>(s.h) * s.w0 * s.C * s.h0 + static_cast<double>(s.h) * s.w * s.C * s.w0;
  const Attribute how[] = {{"h0", h0},           {"w0", w0},         {"h", h},        {"w", w},
                           {"rule", name(rule)}, {"before", before}, {"after", after}};
  return record({"resize_grid", macs, how}, y, {&x},
                [s, Wy, Wx, in = x.slot()](const Tensor& dy, Back& back) { backward(s, Wy, Wx, in, dy, back); });
}

}  // namespace TESSERA_NS
}  // namespace tessera
