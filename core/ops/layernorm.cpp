//   h  = (x - mean) rstd          y = h w + b
//   dw = sum dy h     db = sum dy     dh = dy w     dx = rstd (dh - mean(dh) - h mean(dh h))        saved: x, mean, rstd
#include "tessera/core/ops/layernorm.h"

#include <algorithm>

#include "tessera/core/kernels/kernels.h"
#include "tessera/core/parallel.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

void forward(const Tensor& x, const Tensor& w, const Tensor& b, real eps, Tensor& y, Tensor& mean, Tensor& rstd) {
  const int64_t C = x.dim(-1);
  parallel::rows(mean.size(), parallel::grain(C), [&](int64_t i, int64_t e) {
    kernels().layernorm(x.data() + i * C, w ? w.data() : nullptr, b ? b.data() : nullptr, eps, y.data() + i * C,
                        mean.data() + i, rstd.data() + i, e - i, C);
  });
}

void backward(const Tensor& x, const Tensor& w, const Tensor& b, const Tensor& mean, const Tensor& rstd,
              const Tensor& dy, Back& back) {
  const int64_t C = x.dim(-1);
  const auto summed = [&](const Tensor& p) -> real* {  // the kernel adds to dw and db
    if (!p || !back.wants(p)) return nullptr;
    const auto [to, beta] = back.into(p);
    if (beta == 0) std::fill_n(to, C, real(0));
    return to;
  };
  real *dw = summed(w), *db = summed(b);
  const Sink dx = back.wants(x) ? back.into(x) : Sink{nullptr, 0};
  const int64_t rows = mean.size();
  bool whole = false;  // one call has made dw and db, too
  parallel::rows(rows, parallel::grain(C), [&](int64_t i, int64_t e) {
    const bool all = e - i == rows;
    if (all) whole = true;
    kernels().layernorm_backward(x.data() + i * C, w ? w.data() : nullptr, mean.data() + i, rstd.data() + i,
                                 dy.data() + i * C, dx.to ? dx.to + i * C : nullptr, dx.beta, all ? dw : nullptr,
                                 all ? db : nullptr, e - i, C);
  });
  if (whole || !(dw || db)) return;
  parallel::rows(C, parallel::grain(2 * rows, 64), [&](int64_t c, int64_t e) {
    kernels().layernorm_tables(x.data() + c, mean.data(), rstd.data(), dy.data() + c, C, dw ? dw + c : nullptr,
                               db ? db + c : nullptr, rows, e - c);
  });
}

}  // namespace

Tensor layernorm(const Tensor& x, const Tensor& w, const Tensor& b, double eps) {
  if (x.rank() < 1 || (w && w.size() != x.dim(-1)) || (b && b.size() != x.dim(-1))) {
    fail(w && w.leaf() ? "layernorm " + w.leaf()->name : "layernorm",
         "input is {} but weight is {} and bias {}; both need its last dimension", x.shape().str(),
         w ? w.shape().str() : "none", b ? b.shape().str() : "none");
  }
  const int rows = x.dim(-1) ? static_cast<int>(x.size() / x.dim(-1)) : 0;
  Tensor y(x.shape()), mean({rows}), rstd({rows});
  forward(x, w, b, static_cast<real>(eps), y, mean, rstd);
  return record({"layernorm", {{"eps", eps}}}, y, {&x, &w, &b},
                [=](const Tensor& dy, Back& back) { backward(x, w, b, mean, rstd, dy, back); });
}

}  // namespace TESSERA_NS
}  // namespace tessera
