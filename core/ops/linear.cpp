//   y  = x W^T + b
//   dx = dy W       dW = dy^T x       db = sum over rows of dy          saved: x
#include "core/ops/linear.h"

#include "core/gemm.h"
#include "core/kernels/kernels.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

struct Sizes {
  int64_t rows, in, out;
};

void forward(const Sizes s, const Tensor& x, const Tensor& W, const Tensor& b, Tensor& y) {
  gemm_nt(s.rows, s.out, s.in, x.data(), s.in, W.data(), s.in, 0, y.data(), s.out, b ? b.data() : nullptr, W.leaf());
}

void backward(const Sizes s, const Tensor& x, const Tensor& W, const Tensor& b, const Tensor& dy, Back& back) {
  if (back.wants(x)) {
    const auto [dx, beta] = back.into(x);
    gemm_nn(s.rows, s.in, s.out, dy.data(), s.out, W.data(), s.in, beta, dx, s.in, W.leaf());
  }
  if (back.wants(W)) {
    const auto [dW, beta] = back.into(W);
    gemm_tn(s.out, s.in, s.rows, dy.data(), s.out, x.data(), s.in, beta, dW, s.in);
  }
  if (b && back.wants(b)) {
    const auto [db, beta] = back.into(b);
    kernels().sum_rows(dy.data(), db, beta, s.rows, s.out);
  }
}

}  // namespace

Tensor linear(const Tensor& x, const Tensor& W, const Tensor& b) {
  const int out = W.rank() ? W.dim(0) : 0, in = out ? static_cast<int>(W.size() / out) : 0;
  if (x.rank() < 1 || x.dim(-1) != in || (b && b.size() != out)) {
    fail(W.leaf() ? "linear " + W.leaf()->name : "linear", "input is {} but weight is {} (out, in) and bias {}",
         x.shape().str(), W.shape().str(), b ? b.shape().str() : "none");
  }
  Shape shape = x.shape();
  shape[-1] = out;
  Tensor y(shape);
  const Sizes s{in ? x.size() / in : 0, in, out};
  forward(s, x, W, b, y);
  return record({"linear", static_cast<double>(s.rows) * in * out}, y, {&x, &W, &b},
                [=](const Tensor& dy, Back& back) { backward(s, x, W, b, dy, back); });
}

}  // namespace TESSERA_NS
}  // namespace tessera
