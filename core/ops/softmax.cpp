//   softmax      y = e^x / sum e^x        dx = y (dy - sum dy y)          saved: y
//   log_softmax  y = x - ln sum e^x       dx = dy - e^y sum dy            saved: y
//   normalize    y = x i, i = 1 / max(|x|, eps)
//                dx = (dy - y sum dy y) i; where |x| < eps: dx = dy i     saved: y, i
#include "tessera/core/ops/softmax.h"

#include "tessera/core/kernels/kernels.h"
#include "tessera/core/parallel.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

struct Rows {
  int64_t count, width;
};
Rows rows_of(const char* op, const Tensor& x) {
  if (x.rank() < 1) fail(op, "a scalar has no last dimension");
  const int64_t C = x.dim(-1);
  return {C ? x.size() / C : 0, C};
}

}  // namespace

Tensor softmax(const Tensor& x) {
  const auto [rows, C] = rows_of("softmax", x);
  Tensor y(x.shape());
  parallel::rows(rows, parallel::grain(C),
                 [&, C = C](int64_t i, int64_t e) { kernels().softmax(x.data() + i * C, y.data() + i * C, e - i, C); });
  return record("softmax", y, {&x}, [y, rows = rows, C = C, in = x.slot()](const Tensor& dy, Back& back) {
    const auto [dx, beta] = back.into(in);
    parallel::rows(rows, parallel::grain(C), [&, dx = dx, beta = beta](int64_t i, int64_t e) {
      kernels().softmax_backward(y.data() + i * C, dy.data() + i * C, dx + i * C, beta, e - i, C);
    });
  });
}

Tensor log_softmax(const Tensor& x) {
  const auto [rows, C] = rows_of("log_softmax", x);
  Tensor y(x.shape());
  parallel::rows(rows, parallel::grain(C), [&, C = C](int64_t i, int64_t e) {
    kernels().log_softmax(x.data() + i * C, y.data() + i * C, e - i, C);
  });
  return record("log_softmax", y, {&x}, [y, rows = rows, C = C, in = x.slot()](const Tensor& dy, Back& back) {
    const auto [dx, beta] = back.into(in);
    parallel::rows(rows, parallel::grain(C), [&, dx = dx, beta = beta](int64_t i, int64_t e) {
      kernels().log_softmax_backward(y.data() + i * C, dy.data() + i * C, dx + i * C, beta, e - i, C);
    });
  });
}

Tensor normalize(const Tensor& x, double eps) {
  const auto [rows, C] = rows_of("normalize", x);
  if (!(eps > 0)) fail("normalize", "eps is {} but must be positive", eps);
  const auto least = static_cast<real>(eps);
  Tensor y(x.shape()), inverse({static_cast<int>(rows)});
  parallel::rows(rows, parallel::grain(C), [&, C = C](int64_t i, int64_t e) {
    kernels().normalize(x.data() + i * C, y.data() + i * C, inverse.data() + i, least, e - i, C);
  });
  return record({"normalize", {{"eps", eps}}}, y, {&x},
                [y, inverse, least, rows = rows, C = C, in = x.slot()](const Tensor& dy, Back& back) {
                  const auto [dx, beta] = back.into(in);
                  parallel::rows(rows, parallel::grain(C), [&, dx = dx, beta = beta](int64_t i, int64_t e) {
                    kernels().normalize_backward(y.data() + i * C, inverse.data() + i, least, dy.data() + i * C,
                                                 dx + i * C, beta, e - i, C);
                  });
                });
}

}  // namespace TESSERA_NS
}  // namespace tessera
