//   h = relu(x w0^T + b0)        y = h w2^T
//   dw2 = dy^T h        dh = (dy w2) [h > 0]        dw0 = dh^T x        db0 = sum_r dh_r        dx = dh w0        saved: x and the weights
// As two linear layers, products with 2 or 4 columns are padded to whole panels and h, far larger than x and y, is written and read five
// times; here it is made again in blocks of units that stay in the first cache, transposed, so that the many points fill the vectors.
#include "tessera/core/ops/point_mlp.h"

#include <algorithm>

#include "tessera/core/kernels/kernels.h"
#include "tessera/core/ops/detail/target.h"
#include "tessera/core/whole.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

constexpr int64_t block = 32;

Tensor matrix(int64_t rows, int64_t columns) { return zeros({static_cast<int>(rows), static_cast<int>(columns)}); }

/// Points and first layer with one more coordinate, which is 1 and carries the bias; rows padded to whole vectors.
struct Points {
  const int64_t R, D, F, Rp = whole(R), Dp = whole(D + 1);
  Tensor columns = matrix(D + 1, Rp), weights = matrix(F, Dp), hidden = matrix(block, Rp);

  Points(const Tensor& x, const Tensor& w0, const Tensor& b0) : R(x.dim(0)), D(x.dim(1)), F(w0.dim(0)) {
    for (int64_t r = 0; r < R; ++r) {
      for (int64_t c = 0; c < D; ++c) columns[c * Rp + r] = x[r * D + c];
      columns[D * Rp + r] = 1;
    }
    for (int64_t f = 0; f < F; ++f) {
      std::copy_n(w0.data() + f * D, D, weights.data() + f * Dp);
      weights[f * Dp + D] = b0[f];
    }
  }
  /// f(first unit, units) with `hidden` holding their values, (units, Rp).
  template <class G>
  void each_block(G f) {
    for (int64_t j = 0; j < F; j += block) {
      const int64_t n = std::min(block, F - j);
      kernels().product(n, R, D + 1, weights.data() + j * Dp, Dp, columns.data(), Rp, hidden.data(), Rp, false);
      kernels().relu(hidden.data(), hidden.data(), n * Rp);
      f(j, n);
    }
  }
};

void forward(const Tensor& x, const Tensor& w0, const Tensor& b0, const Tensor& w2, Tensor& y) {
  Points p(x, w0, b0);
  const int64_t O = w2.dim(0);
  Tensor turned = matrix(O, p.Rp);
  p.each_block([&](int64_t j, int64_t n) {
    kernels().product(O, p.R, n, w2.data() + j, p.F, p.hidden.data(), p.Rp, turned.data(), p.Rp, true);
  });
  for (int64_t r = 0; r < p.R; ++r)
    for (int64_t o = 0; o < O; ++o) y[r * O + o] = turned[o * p.Rp + r];
}

void backward(const Tensor& x, const Tensor& w0, const Tensor& b0, const Tensor& w2, const Tensor& dy, Back& back) {
  Points p(x, w0, b0);
  const int64_t O = w2.dim(0), Op = whole(O), D = p.D;
  Tensor rows = matrix(p.R, p.Dp), dy_rows = matrix(p.R, Op), dy_columns = matrix(O, p.Rp), dh = matrix(block, p.Rp),
         out = matrix(block, std::max(Op, p.Dp)), dx_rows = matrix(p.R, p.Dp);
  for (int64_t r = 0; r < p.R; ++r) {
    for (int64_t c = 0; c <= D; ++c) rows[r * p.Dp + c] = p.columns[c * p.Rp + r];
    for (int64_t o = 0; o < O; ++o) dy_rows[r * Op + o] = dy_columns[o * p.Rp + r] = dy[r * O + o];
  }
  const detail::Target dw0(w0, back), db0(b0, back), dw2(w2, back), dx(x, back);
  const Kernels& k = kernels();
  p.each_block([&](int64_t j, int64_t n) {
    if (dw2) {
      k.product(n, O, p.R, p.hidden.data(), p.Rp, dy_rows.data(), Op, out.data(), Op, false);
      for (int64_t o = 0; o < O; ++o)
        for (int64_t f = 0; f < n; ++f) dw2.put(o * p.F + j + f, out[f * Op + o]);
    }
    if (!dw0 && !db0 && !dx) return;
    k.product_tn(n, p.R, O, w2.data() + j, p.F, dy_columns.data(), p.Rp, dh.data(), p.Rp, false);
    k.relu_backward(p.hidden.data(), dh.data(), dh.data(), 0, n * p.Rp);
    if (dw0 || db0) k.product(n, D + 1, p.R, dh.data(), p.Rp, rows.data(), p.Dp, out.data(), p.Dp, false);
    for (int64_t f = 0; f < n; ++f) {
      for (int64_t c = 0; dw0 && c < D; ++c) dw0.put((j + f) * D + c, out[f * p.Dp + c]);
      if (db0) db0.put(j + f, out[f * p.Dp + D]);
    }
    if (dx) k.product_tn(p.R, D, n, dh.data(), p.Rp, p.weights.data() + j * p.Dp, p.Dp, dx_rows.data(), p.Dp, true);
  });
  for (int64_t r = 0; dx && r < p.R; ++r)
    for (int64_t c = 0; c < D; ++c) dx.put(r * D + c, dx_rows[r * p.Dp + c]);
}

}  // namespace

Tensor point_mlp(const Tensor& x, const Tensor& w0, const Tensor& b0, const Tensor& w2) {
  const auto [R, D] = x.dims<2>();
  const auto [F, in] = w0.dims<2>();
  const auto [O, hidden] = w2.dims<2>();
  if (in != D || hidden != F || b0.size() != F)
    fail(w0.leaf() ? "point_mlp " + w0.leaf()->name : "point_mlp",
         "points are {}, the first layer is {} with bias {}, the second {}; widths must meet", x.shape().str(),
         w0.shape().str(), b0.shape().str(), w2.shape().str());
  Tensor y({R, O});
  forward(x, w0, b0, w2, y);
  return record({"point_mlp", static_cast<double>(R) * F * (D + O)}, y, {&x, &w0, &b0, &w2},
                [=](const Tensor& dy, Back& back) { backward(x, w0, b0, w2, dy, back); });
}

}  // namespace TESSERA_NS
}  // namespace tessera
