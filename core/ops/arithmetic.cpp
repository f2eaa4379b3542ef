//   y = a + b      da = dy              db = dy
//   y = a - b      da = dy              db = -dy
//   y = a b        da = dy b            db = dy a            saved: a, b
//   y = a / b      da = dy / b          db = -dy y / b       saved: b, y
//   each gradient summed over the dimensions in which its operand was repeated
#include "tessera/core/ops/arithmetic.h"

#include "tessera/core/kernels/kernels.h"
#include "tessera/core/ops/detail/loops.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

Shape broadcast(const char* op, const Tensor& a, const Tensor& b) {
  Shape y = a.rank() >= b.rank() ? a.shape() : b.shape();
  const Shape& o = a.rank() >= b.rank() ? b.shape() : a.shape();
  for (int i = 1; i <= o.rank; ++i) {
    if (y[-i] == o[-i] || o[-i] == 1) continue;
    if (y[-i] != 1) fail(op, "{} and {} do not broadcast", a.shape().str(), b.shape().str());
    y[-i] = o[-i];
  }
  return y;
}

/// Both operands run; b stands still; a stands still.
struct Rows {
  void (*both)(const real* a, const real* b, real* y, int64_t n);
  void (*b_fixed)(const real* a, real b, real* y, int64_t n);
  void (*a_fixed)(real a, const real* b, real* y, int64_t n);
};
Rows add_rows() {
  return {kernels().add, [](const real* a, real b, real* y, int64_t n) { kernels().affine(a, y, 0, 1, b, n); },
          [](real a, const real* b, real* y, int64_t n) { kernels().affine(b, y, 0, 1, a, n); }};
}
Rows sub_rows() {
  return {kernels().sub, [](const real* a, real b, real* y, int64_t n) { kernels().affine(a, y, 0, 1, -b, n); },
          [](real a, const real* b, real* y, int64_t n) { kernels().affine(b, y, 0, -1, a, n); }};
}
Rows mul_rows() {
  return {kernels().mul, [](const real* a, real b, real* y, int64_t n) { kernels().affine(a, y, 0, b, 0, n); },
          [](real a, const real* b, real* y, int64_t n) { kernels().affine(b, y, 0, a, 0, n); }};
}
Rows div_rows() { return {kernels().div, kernels().div_by, kernels().div_of}; }

void forward(const Rows& rows, const Tensor& a, const Tensor& b, Tensor& y) {
  if (y.size() == 0) return;
  const auto l = detail::broadcast_loops(y.shape(), a.shape(), b.shape());
  const int64_t n = l.inner();
  if (l.rank <= 1 && l.inner_a() == 1 && l.inner_b() == 1) {  // one long row: cut it
    return parallel::rows(n, parallel::numbers(),
                          [&](int64_t i, int64_t e) { rows.both(a.data() + i, b.data() + i, y.data() + i, e - i); });
  }
  detail::each_row(l, [&](int64_t row, int64_t oa, int64_t ob) {
    real* to = y.data() + row * n;
    if (l.inner_a() == 0) {
      rows.a_fixed(a[oa], b.data() + ob, to, n);
    } else if (l.inner_b() == 0) {
      rows.b_fixed(a.data() + oa, b[ob], to, n);
    } else {
      rows.both(a.data() + oa, b.data() + ob, to, n);
    }
  });
}

Tensor compute(const Rows& rows, const Shape& shape, const Tensor& a, const Tensor& b) {
  Tensor y(shape);
  forward(rows, a, b, y);
  return y;
}

/// dx += factor dy o, summed to x's shape.
void add_product(Back& back, const Tensor& x, const Tensor& dy, const Tensor& o) {
  if (!back.wants(x)) return;
  if (x.size() == dy.size() && o.size() == dy.size()) {
    const auto [dx, beta] = back.into(x);
    return parallel::rows(dy.size(), parallel::numbers(), [&, dx = dx, beta = beta](int64_t i, int64_t e) {
      kernels().add_product(dy.data() + i, o.data() + i, dx + i, beta, e - i);
    });
  }
  detail::add_summed(back, x, compute(mul_rows(), dy.shape(), dy, o));
}

/// y = beta y + a x + b
void affine(const Tensor& x, real* y, real beta, real a, real b) {
  parallel::rows(x.size(), parallel::numbers(),
                 [&](int64_t i, int64_t e) { kernels().affine(x.data() + i, y + i, beta, a, b, e - i); });
}

Tensor affine(const Op& op, const Tensor& x, real a, real b) {
  Tensor y(x.shape());
  affine(x, y.data(), 0, a, b);
  return record(op, y, {&x}, [a, in = x.slot()](const Tensor& dy, Back& back) {
    if (a == 1) return back.add(in, dy);
    const auto [dx, beta] = back.into(in);
    affine(dy, dx, beta, a, 0);
  });
}

}  // namespace

Tensor add(const Tensor& a, const Tensor& b) {
  const Tensor y = compute(add_rows(), broadcast("add", a, b), a, b);
  return record("add", y, {&a, &b}, [a = a.slot(), b = b.slot()](const Tensor& dy, Back& back) {
    detail::add_summed(back, a, dy);
    detail::add_summed(back, b, dy);
  });
}

Tensor sub(const Tensor& a, const Tensor& b) {
  const Tensor y = compute(sub_rows(), broadcast("sub", a, b), a, b);
  return record("sub", y, {&a, &b}, [a = a.slot(), b = b.slot()](const Tensor& dy, Back& back) {
    detail::add_summed(back, a, dy);
    if (!back.wants(b)) return;
    Tensor db(dy.shape());
    affine(dy, db.data(), 0, -1, 0);
    detail::add_summed(back, b, db);
  });
}

Tensor mul(const Tensor& a, const Tensor& b) {
  const Tensor y = compute(mul_rows(), broadcast("mul", a, b), a, b);
  return record("mul", y, {&a, &b}, [a, b](const Tensor& dy, Back& back) {
    add_product(back, a, dy, b);
    add_product(back, b, dy, a);
  });
}

Tensor div(const Tensor& a, const Tensor& b) {
  const Tensor y = compute(div_rows(), broadcast("div", a, b), a, b);
  return record("div", y, {&a, &b}, [a = a.slot(), b, y](const Tensor& dy, Back& back) {
    const Tensor da = compute(div_rows(), dy.shape(), dy, b);
    detail::add_summed(back, a, da);
    if (!back.wants(b)) return;
    Tensor db = compute(mul_rows(), dy.shape(), da, y);
    affine(db, db.data(), 0, -1, 0);
    detail::add_summed(back, b, db);
  });
}

Tensor scale(const Tensor& x, double s) { return affine({"scale", {{"by", s}}}, x, static_cast<real>(s), 0); }
Tensor add_scalar(const Tensor& x, double s) { return affine({"add_scalar", {{"by", s}}}, x, 1, static_cast<real>(s)); }
Tensor neg(const Tensor& x) { return affine("neg", x, -1, 0); }

}  // namespace TESSERA_NS
}  // namespace tessera
