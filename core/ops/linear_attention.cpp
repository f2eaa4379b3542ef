//   f~ = f turned by the angles, f itself without any
//   S  = sum_j f~(k_j) v_j^T (F x dv)     z = sum_j f(k_j) (F)            over all keys, or those up to the query (causal)
//   o_i = f~(q_i) S / w_i                 elu: w_i = f(q_i).z + eps       taylor: w_i = max(f(q_i).z, eps)
//
//   g_i = do_i / w_i        t_i = -g_i . o_i (0 where eps is the larger)
//   df~(q_i) = S g_i        df(q_i) = t_i z          dS = sum_i f~(q_i) g_i^T        dz = sum_i t_i f(q_i)     (causal: i from the key on)
//   df~(k_j) = dS v_j       df(k_j) = dz             dv_j = dS^T f~(k_j)
//   elu: dx = df f'(x), f' = e^min(x, 0)             taylor, y = x / |x|: dx = (dy - y (y . dy)) / |x|     saved: q, k, v, o, 1 / w
//
// One step covers all tokens, or one token after the other when causal: keys are added to the sums, then the step's queries read them.
#include "tessera/core/ops/linear_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "tessera/core/kernels/kernels.h"
#include "tessera/core/parallel.h"
#include "tessera/core/whole.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

/// A matrix in scratch memory, whose rows start on whole vectors. Nothing is in it yet.
class Matrix {
 public:
  const int64_t rows, ld;
  Matrix(int64_t r, int64_t width)
      : rows(r), ld(whole(width)), memory_({static_cast<int>(r), static_cast<int>(ld)}), first_(memory_.data()) {}
  /// For sums.
  static Matrix zero(int64_t r, int64_t width) {
    Matrix m(r, width);
    std::fill_n(m.first_, m.size(), real(0));
    return m;
  }
  real* row(int64_t i) const { return first_ + i * ld; }
  int64_t size() const { return rows * ld; }

 private:
  Tensor memory_;
  real* first_;
};

/// C = A B, rows [from, from + count) of A and C.
void multiply(const Matrix& a, int64_t inner, const Matrix& b, int64_t width, int64_t from, int64_t count,
              const Matrix& c) {
  if (count) kernels().product(count, width, inner, a.row(from), a.ld, b.row(0), b.ld, c.row(from), c.ld, false);
}
/// C += A^T B over those rows of A and B.
void add_products(const Matrix& a, int64_t width_a, const Matrix& b, int64_t width_b, int64_t from, int64_t count,
                  const Matrix& c) {
  if (count) kernels().product_tn(width_a, width_b, count, a.row(from), a.ld, b.row(from), b.ld, c.row(0), c.ld, true);
}
/// A column of ones: products with it are sums.
Matrix ones(int64_t rows) {
  Matrix one = Matrix::zero(rows, 1);
  for (int64_t i = 0; i < rows; ++i) *one.row(i) = 1;
  return one;
}
/// a_i . b_i of the first `width` numbers of rows of one length.
std::vector<real> row_products(const Matrix& a, const Matrix& b, int64_t width) {
  const Matrix all(a.rows, a.ld), sums(a.rows, 1);
  kernels().mul(a.row(0), b.row(0), all.row(0), all.size());
  multiply(all, width, ones(width), 1, 0, a.rows, sums);
  std::vector<real> y(static_cast<size_t>(a.rows));
  for (int64_t i = 0; i < a.rows; ++i) y[static_cast<size_t>(i)] = *sums.row(i);
  return y;
}
/// Each row of y (width wide) = beta y + scale factor[i] x.
void add_rows(const Matrix& x, int64_t width, real scale, const real* factor, const Matrix& y, real beta) {
  kernels().scatter_rows(x.row(0), x.ld, nullptr, x.rows, width, scale, factor, y.row(0), y.ld, beta, 0);
}

/// The call with all its backward needs.
struct Call {
  Heads q, k, v;
  LinearAttention how;
  Index lengths;

  int64_t n() const { return q.tokens; }
  int64_t keys(int b) const { return lengths.empty() ? k.tokens : lengths[static_cast<size_t>(b)]; }
  int64_t features() const { return q.d + (how.similarity == Similarity::taylor); }
  bool turns() const { return static_cast<bool>(how.rotary.cos_q); }
  real eps() const { return static_cast<real>(how.eps); }
};

int64_t place(const Heads& x, int b, int h) { return int64_t{b} * x.tokens * x.stride + x.offset + int64_t{h} * x.d; }
int64_t angles(const Tensor& t, int h) { return t.dim(0) == 1 ? 0 : int64_t{h} * t.dim(1) * t.dim(2); }

/// f of some tokens of one head, f~, and what their slope needs.
struct Features {
  const Call& c;
  const Tensor &cosine, &sine;
  const int64_t d, angle;
  Matrix f, turned, slope;    // slope: elu's f'
  std::vector<real> inverse;  // taylor's 1 / |x|

  Features(const Call& call, const Heads& x, int b, int h, int64_t count, const Tensor& co, const Tensor& si)
      : c(call),
        cosine(co),
        sine(si),
        d(c.q.d),
        angle(c.turns() ? angles(co, h) : 0),
        f(count, c.features()),
        turned(c.turns() ? count : 0, c.features()),
        slope(c.how.similarity == Similarity::elu ? count : 0, d) {
    kernels().gather_rows(x.x.data() + place(x, b, h), x.stride, nullptr, count, d, f.row(0), f.ld, 0);
    if (c.how.similarity == Similarity::elu) {
      elu();
    } else {
      taylor();
    }
    if (!c.turns()) return;
    std::copy_n(f.row(0), f.size(), turned.row(0));
    kernels().rotate(turned.row(0), f.ld, count, d, cosine.data() + angle, sine.data() + angle, c.how.rotary.halves);
    if (c.how.similarity == Similarity::taylor)
      for (int64_t i = 0; i < count; ++i) turned.row(i)[d] = 1;  // rotate works on whole vectors
  }

  const Matrix& in_numerator() const { return c.turns() ? turned : f; }

  /// dx in the place of df, from the gradients of f~ and of f, which it destroys. Angles' gradients are added unless null.
  void backward(const Matrix& dturned, const Matrix& df, real* dcos, real* dsin) const {
    if (c.turns())
      kernels().rotate_backward(f.row(0), dturned.row(0), f.ld, f.rows, d, cosine.data() + angle, sine.data() + angle,
                                c.how.rotary.halves, 1, dcos ? dcos + angle : nullptr, dsin ? dsin + angle : nullptr);
    kernels().accumulate(dturned.row(0), df.row(0), f.size());
    if (c.how.similarity == Similarity::elu) return kernels().mul(df.row(0), slope.row(0), df.row(0), df.size());
    std::vector<real> along = row_products(f, df, d);
    for (size_t i = 0; i < along.size(); ++i)
      if (inverse[i] == 1 / c.eps()) along[i] = 0;  // the length is eps, whatever x
    add_rows(f, d, -1, along.data(), df, 1), add_rows(df, d, 1, inverse.data(), df, 0);
  }

 private:
  void elu() {  // max(x, 0) + e^min(x, 0), which is x + 1 above 0
    kernels().clamp(f.row(0), slope.row(0), std::numeric_limits<real>::lowest(), 0, f.size());
    kernels().exp(slope.row(0), slope.row(0), f.size());
    kernels().relu(f.row(0), f.row(0), f.size());
    kernels().add(f.row(0), slope.row(0), f.row(0), f.size());
  }
  void taylor() {
    inverse = row_products(f, f, d);
    for (real& x : inverse) {
      const real length = std::sqrt(x);
      x = length <= c.eps() ? 1 / c.eps() : 1 / length;
    }
    add_rows(f, d, 1, inverse.data(), f, 0);
    for (int64_t i = 0; i < f.rows; ++i) f.row(i)[d] = 1;
  }
};

/// One head of one sample, which has a key.
struct Head {
  const Call& c;
  const int b, h;
  const int64_t n, m, F, dv;
  Features q, k;
  Matrix v, one;

  Head(const Call& call, int sample, int head)
      : c(call),
        b(sample),
        h(head),
        n(c.n()),
        m(c.keys(b)),
        F(c.features()),
        dv(c.v.d),
        q(c, c.q, b, h, n, c.how.rotary.cos_q, c.how.rotary.sin_q),
        k(c, c.k, b, h, m, c.how.rotary.cos_k, c.how.rotary.sin_k),
        v(m, dv),
        one(ones(std::max(n, m))) {
    kernels().gather_rows(c.v.x.data() + place(c.v, b, h), c.v.stride, nullptr, m, dv, v.row(0), v.ld, 0);
  }

  /// f(first query, queries, first key, keys) of every step.
  template <class G>
  void steps(bool backwards, G f) const {
    if (!c.how.causal) return f(int64_t{0}, n, int64_t{0}, m);
    for (int64_t s = 0; s < n; ++s) {
      const int64_t i = backwards ? n - 1 - s : s;
      f(i, int64_t{1}, std::min(i, m), i < m ? int64_t{1} : int64_t{0});
    }
  }

  void forward(real* o, real* inverse) const {  // o: this head's rows of (B, n, H dv); inverse: 1 / w (n)
    const Matrix S = Matrix::zero(F, dv), z = Matrix::zero(F, 1), y(n, dv), w(n, 1);
    steps(false, [&](int64_t i0, int64_t queries, int64_t j0, int64_t keys) {
      add_products(k.in_numerator(), F, v, dv, j0, keys, S), add_products(k.f, F, one, 1, j0, keys, z);
      multiply(q.in_numerator(), F, S, dv, i0, queries, y), multiply(q.f, F, z, 1, i0, queries, w);
    });
    for (int64_t i = 0; i < n; ++i) {
      const real sum = c.how.similarity == Similarity::elu ? *w.row(i) + c.eps() : *w.row(i);
      inverse[i] = sum <= c.eps() ? 1 / c.eps() : 1 / sum;
    }
    kernels().scatter_rows(y.row(0), y.ld, nullptr, n, dv, 1, inverse, o, c.v.heads * dv, 0, 0);
  }

  struct Gradients {
    real *q = nullptr, *k = nullptr, *v = nullptr;  // of the whole tensors, to be added to; null: not wanted
    std::array<real*, 4> angles{};
  };
  void backward(const real* o, const real* inverse, const real* out, const Gradients& to) const {
    const int64_t stride = c.v.heads * dv;
    const Matrix g(n, dv), y(n, dv), t(n, 1);
    kernels().gather_rows(out, stride, nullptr, n, dv, g.row(0), g.ld, 0);
    kernels().gather_rows(o, stride, nullptr, n, dv, y.row(0), y.ld, 0);
    add_rows(g, dv, 1, inverse, g, 0);
    const std::vector<real> along = row_products(g, y, dv);
    for (int64_t i = 0; i < n; ++i) {
      const bool fixed = c.how.similarity == Similarity::taylor && inverse[i] == 1 / c.eps();
      *t.row(i) = fixed ? 0 : -along[static_cast<size_t>(i)];
    }
    const auto add = [&](const Matrix& x, const Heads& view, real* where) {
      if (where)
        kernels().scatter_rows(x.row(0), x.ld, nullptr, x.rows, view.d, 1, nullptr, where + place(view, b, h),
                               view.stride, 1, 0);
    };
    if (to.q || to.angles[0] || to.angles[1]) {
      const Matrix St = Matrix::zero(dv, F), z = Matrix::zero(1, F), dturned(n, F), df(n, F);
      steps(false, [&](int64_t i0, int64_t queries, int64_t j0, int64_t keys) {
        add_products(v, dv, k.in_numerator(), F, j0, keys, St), add_products(one, 1, k.f, F, j0, keys, z);
        multiply(g, dv, St, F, i0, queries, dturned), multiply(t, 1, z, F, i0, queries, df);
      });
      q.backward(dturned, df, to.angles[0], to.angles[1]);
      add(df, c.q, to.q);
    }
    if (!to.k && !to.v && !to.angles[2] && !to.angles[3]) return;
    const Matrix dS = Matrix::zero(F, dv), dSt = Matrix::zero(dv, F), dz = Matrix::zero(1, F), dturned(m, F), df(m, F),
                 dvalue(m, dv);
    steps(true, [&](int64_t i0, int64_t queries, int64_t j0, int64_t keys) {
      add_products(q.in_numerator(), F, g, dv, i0, queries, dS);
      add_products(g, dv, q.in_numerator(), F, i0, queries, dSt), add_products(t, 1, q.f, F, i0, queries, dz);
      multiply(k.in_numerator(), F, dS, dv, j0, keys, dvalue), multiply(v, dv, dSt, F, j0, keys, dturned);
      multiply(one, 1, dz, F, j0, keys, df);
    });
    k.backward(dturned, df, to.angles[2], to.angles[3]);
    add(df, c.k, to.k), add(dvalue, c.v, to.v);
  }
};

/// f(sample, head) for all, side by side if they touch nothing in common.
template <class G>
void each_head(const Call& c, bool apart, G f) {
  const int64_t H = c.q.heads, all = c.q.x.dim(0) * H;
  const auto some = [&](int64_t i, int64_t end) {
    for (; i < end; ++i) f(static_cast<int>(i / H), static_cast<int>(i % H));
  };
  if (apart) {
    parallel::rows(all, 1, some);
  } else {
    some(0, all);
  }
}

/// Where views of one tensor are other channels of it, or the same ones, head by head.
bool heads_apart(const Call& c) {
  const Heads* const views[] = {&c.q, &c.k, &c.v};
  for (const Heads* x : views)
    for (const Heads* y : views) {
      if (x == y || !x->x.same_gradient(y->x) || (x->offset == y->offset && x->d == y->d)) continue;
      if (x->offset < y->offset + y->heads * y->d && y->offset < x->offset + x->heads * x->d) return false;
    }
  return true;
}

void backward(const Call& c, const Tensor& o, const Tensor& inverse, const Tensor& dy, Back& back) {
  const auto sink = [&](const Tensor& x) -> real* {  // a buffer to add to
    if (!x || !back.wants(x)) return nullptr;
    const auto [to, beta] = back.into(x);
    if (beta == 0) std::fill_n(to, x.size(), real(0));
    return to;
  };
  const Rotary& r = c.how.rotary;
  const Head::Gradients to{
      sink(c.q.x), sink(c.k.x), sink(c.v.x), {sink(r.cos_q), sink(r.sin_q), sink(r.cos_k), sink(r.sin_k)}};
  const bool shared = to.angles[0] || to.angles[1] || to.angles[2] || to.angles[3];
  const int64_t n = c.n(), dv = c.v.d, H = c.q.heads;
  each_head(c, !shared && heads_apart(c), [&](int b, int h) {
    const int64_t from = b * n * H * dv + h * dv;
    if (c.keys(b)) Head(c, b, h).backward(o.data() + from, inverse.data() + (b * H + h) * n, dy.data() + from, to);
  });
}

void check_angles(const Call& c) {
  const Rotary& r = c.how.rotary;
  if (r.values) fail("linear_attention", "the rotation turns values, too, which only softmax attention does");
  if (!r.cos_q && !r.sin_q && !r.cos_k && !r.sin_k) return;
  const auto table = [&](const char* what, const Tensor& t, int rows) {
    if (!t || t.rank() != 3 || (t.dim(0) != 1 && t.dim(0) != c.q.heads) || t.dim(1) != rows || t.dim(2) != c.q.d / 2 ||
        c.q.d % 2)
      fail("linear_attention", "the rotation's {} is {} but must be (1 or {}, {}, {}) for heads of width {}", what,
           t ? t.shape().str() : "missing", c.q.heads, rows, c.q.d / 2, c.q.d);
  };
  table("cos_q", r.cos_q, c.q.tokens), table("sin_q", r.sin_q, c.q.tokens);
  table("cos_k", r.cos_k, c.k.tokens), table("sin_k", r.sin_k, c.k.tokens);
}

void check(const Call& c) {
  for (const Heads* x : {&c.q, &c.k, &c.v})
    if (!x->x || x->x.rank() != 3 || x->x.dim(1) != x->tokens || x->x.dim(2) != x->stride || x->heads < 1 || x->d < 1 ||
        x->offset < 0 || x->offset + x->heads * x->d > x->stride)
      fail("linear_attention", "{} read as {} tokens of {} heads of width {} at {} of {}; make views with heads()",
           x->x ? x->x.shape().str() : "an empty tensor", x->tokens, x->heads, x->d, x->offset, x->stride);
  const int B = c.q.x.dim(0);
  if (c.k.x.dim(0) != B || c.v.x.dim(0) != B || c.k.heads != c.q.heads || c.v.heads != c.q.heads || c.k.d != c.q.d ||
      c.v.tokens != c.k.tokens)
    fail("linear_attention",
         "q is {} samples of {} heads of width {}, k {} of {} of {}, v {} of {}; {} keys but {} values", B, c.q.heads,
         c.q.d, c.k.x.dim(0), c.k.heads, c.k.d, c.v.x.dim(0), c.v.heads, c.k.tokens, c.v.tokens);
  if (c.how.causal && c.k.tokens != c.q.tokens)
    fail("linear_attention", "{} queries and {} keys, but causal sums run over one sequence", c.q.tokens, c.k.tokens);
  if (!(c.how.eps > 0)) fail("linear_attention", "eps is {} but must be positive", c.how.eps);
  if (!c.lengths.empty() && c.lengths.size() != static_cast<size_t>(B))
    fail("linear_attention", "{} lengths for {} samples", c.lengths.size(), B);
  for (const int32_t length : c.lengths)
    if (length < 0 || length > c.k.tokens)
      fail("linear_attention", "a length is {}, expected 0 to {}", length, c.k.tokens);
  check_angles(c);
}

double macs(const Call& c) {
  double sum = 0;
  for (int b = 0; b < c.q.x.dim(0); ++b)
    sum += static_cast<double>(c.q.heads * (c.n() + c.keys(b)) * c.features()) * c.v.d;
  return sum;
}

}  // namespace

Tensor linear_attention(const Heads& q, const Heads& k, const Heads& v, const LinearAttention& how,
                        std::span<const int32_t> lengths) {
  const Call c{q, k, v, how, Index(lengths.begin(), lengths.end())};
  check(c);
  const int B = q.x.dim(0), n = q.tokens, H = q.heads, dv = v.d;
  Tensor o = zeros({B, n, H * dv}), inverse({B, H, n});
  each_head(c, true, [&](int b, int h) {
    if (c.keys(b))
      Head(c, b, h).forward(o.data() + int64_t{b} * n * H * dv + h * dv, inverse.data() + (int64_t{b} * H + h) * n);
  });
  const Rotary& r = how.rotary;
  return record({"linear_attention",
                 macs(c),
                 {{"similarity", name(how.similarity)},
                  {"causal", how.causal},
                  {"eps", how.eps},
                  {"halves", r.halves},
                  {"heads", H},
                  {"q.offset", q.offset},
                  {"q.d", q.d},
                  {"k.offset", k.offset},
                  {"v.offset", v.offset},
                  {"v.d", dv},
                  {"lengths", std::span<const int32_t>(c.lengths)}}},
                o, {&c.q.x, &c.k.x, &c.v.x, &r.cos_q, &r.sin_q, &r.cos_k, &r.sin_k},
                [=](const Tensor& dy, Back& back) { backward(c, o, inverse, dy, back); });
}

}  // namespace TESSERA_NS
}  // namespace tessera
