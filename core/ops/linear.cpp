//   z  = x W^T + b                                   y = z, or gelu(z), or residual + z
//   dz = dy, or dy gelu'(z)                          dresidual = dy
//   dx = dz W       dW = dz^T x       db = sum over rows of dz          saved: x; with GELU also gelu'(z)
#include "tessera/core/ops/linear.h"

#include "tessera/core/gemm.h"
#include "tessera/core/kernels/kernels.h"
#include "tessera/core/ops/detail/loops.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

struct Sizes {
  int64_t rows, in, out;
  double macs() const { return static_cast<double>(rows) * static_cast<double>(in) * static_cast<double>(out); }
};

Sizes check(const char* op, const Tensor& x, const Tensor& W, const Tensor& b) {
  const int out = W.rank() ? W.dim(0) : 0, in = out ? static_cast<int>(W.size() / out) : 0;
  if (x.rank() < 1 || x.dim(-1) != in || (b && b.size() != out)) {
    fail(W.leaf() ? op + (" " + W.leaf()->name) : op, "input is {} but weight is {} (out, in) and bias {}",
         x.shape().str(), W.shape().str(), b ? b.shape().str() : "none");
  }
  int64_t rows = 1;  // also of an input without channels, whose output is the bias
  for (int k = 0; k < x.rank() - 1; ++k) rows *= x.dim(k);
  return {rows, in, out};
}

Shape output_shape(const Tensor& x, const Sizes& s) {
  Shape shape = x.shape();
  shape[-1] = static_cast<int>(s.out);
  return shape;
}

void forward(const Sizes& s, const Tensor& x, const Tensor& W, const Tensor& b, Epilogue end, const Tensor& y,
             Precision in = precision()) {
  end.bias = b ? b.data() : nullptr;
  gemm_nt(s.rows, s.out, s.in, x.data(), s.in, W.read().data(), s.in, 0, y.data(), s.out, end, W.leaf(), in);
}

/// What x and W get from dz.
void backward(const Sizes& s, const Tensor& x, const Tensor& W, const Tensor& dz, Back& back,
              Precision in = precision()) {
  if (back.wants(x)) {
    const auto [dx, beta] = back.into(x);
    gemm_nn(s.rows, s.in, s.out, dz.data(), s.out, W.read().data(), s.in, beta, dx, s.in, W.leaf(),
            back.wants(W) ? x.values() : std::span<const real>(), in);
  }
  if (back.wants(W)) {
    const auto [dW, beta] = back.into(W);
    gemm_tn(s.out, s.in, s.rows, dz.data(), s.out, x.data(), s.in, beta, dW, s.in, in);
  }
}

void backward_bias(const Sizes& s, const Tensor& b, const Tensor& dz, Back& back) {
  if (!b || !back.wants(b)) return;
  const auto [db, beta] = back.into(b);
  detail::sum_rows(dz.data(), db, beta, s.rows, s.out);
}

}  // namespace

Tensor linear(const Tensor& x, const Tensor& W, const Tensor& b, Precision in) {
  const Sizes s = check("linear", x, W, b);
  Tensor y(output_shape(x, s));
  forward(s, x, W, b, {}, y, in);
  return record({"linear", s.macs(), {{"precision", name(in)}}}, y, {&x, &W, &b}, [=](const Tensor& dy, Back& back) {
    backward(s, x, W, dy, back, in);
    backward_bias(s, b, dy, back);
  });
}

Tensor linear_gelu(const Tensor& x, const Tensor& W, const Tensor& b) {
  const Sizes s = check("linear_gelu", x, W, b);
  Tensor y(output_shape(x, s)), slope;
  Epilogue end;
  end.gelu = true;
  const Tensor* inputs[] = {&x, &W, &b};
  if (context().tape && any_tracked(inputs)) {
    slope = Tensor(y.shape());
    end.slope = slope.data(), end.ld_slope = s.out;
  }
  forward(s, x, W, b, end, y);
  return record({"linear_gelu", s.macs()}, y, inputs, [=](const Tensor& dy, Back& back) {
    const Tensor& dz = slope;  // dy may be shared and must stay as it is; what we saved is ours
    const Sink db = b && back.wants(b) ? back.into(b) : Sink{nullptr, 0};
    parallel::rows(dz.size(), parallel::numbers(),
                   [&](int64_t i, int64_t e) { kernels().mul(dz.data() + i, dy.data() + i, dz.data() + i, e - i); });
    if (db.to) detail::sum_rows(dz.data(), db.to, db.beta, s.rows, s.out);
    backward(s, x, W, dz, back);
  });
}

Tensor linear_add(const Tensor& x, const Tensor& W, const Tensor& b, const Tensor& residual) {
  const Sizes s = check("linear_add", x, W, b);
  Tensor y(output_shape(x, s));
  if (!(residual.shape() == y.shape()))
    fail(W.leaf() ? "linear_add " + W.leaf()->name : "linear_add", "residual is {} but the output is {}",
         residual.shape().str(), y.shape().str());
  Epilogue end;
  end.add = residual.data(), end.ld_add = s.out;
  forward(s, x, W, b, end, y);
  return record({"linear_add", s.macs()}, y, {&x, &W, &b, &residual},
                [s, x, W, b, added = residual.slot()](const Tensor& dy, Back& back) {
                  backward(s, x, W, dy, back);
                  backward_bias(s, b, dy, back);
                  back.add(added, dy);
                });
}

}  // namespace TESSERA_NS
}  // namespace tessera
