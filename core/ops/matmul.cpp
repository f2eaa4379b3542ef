//   y = A B       with A = a or a^T, B = b or b^T
//   dA = dy B^T   dB = A^T dy      (transposed again where the operand was; summed over the batches that share it)      saved: a, b
#include "tessera/core/ops/matmul.h"

#include <algorithm>

#include "tessera/core/gemm.h"
#include "tessera/core/kernels/kernels.h"
#include "tessera/core/ops/detail/loops.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

/// C (M,N) = beta C + A B with beta 0 or 1, each operand stored as it is or transposed.
void product(bool ta, bool tb, int64_t M, int64_t N, int64_t K, const real* A, const real* B, real beta, real* C,
             Precision in) {
  if (M == 0 || N == 0) return;
  if (K == 0) {
    if (beta == 0) std::fill_n(C, M * N, real(0));
    return;
  }
  if (ta && tb) {  // rare: A is turned round first
    Tensor turned({static_cast<int>(M), static_cast<int>(K)});
    kernels().transpose(A, M, turned.data(), M, K);
    return gemm_nt(M, N, K, turned.data(), K, B, K, beta, C, N, nullptr, nullptr, in);
  }
  if (ta) return gemm_tn(M, N, K, A, M, B, N, beta, C, N, in);
  if (tb) return gemm_nt(M, N, K, A, K, B, K, beta, C, N, nullptr, nullptr, in);
  gemm_nn(M, N, K, A, K, B, N, beta, C, N, nullptr, {}, in);
}

struct Geometry {
  int64_t M, N, K;
  bool ta, tb;
  Precision in;
  Shape batch, batch_a, batch_b;

  /// f(batch, its offset in a, in b), in matrices.
  template <class F>
  void each(F f) const {
    const auto sa = detail::broadcast_strides(batch_a, batch), sb = detail::broadcast_strides(batch_b, batch);
    const int64_t n = batch.size();
    for (int64_t i = 0; i < n; ++i) {
      int64_t rest = i, a = 0, b = 0;
      for (int d = batch.rank - 1; d >= 0; --d) {
        const auto k = static_cast<size_t>(d);
        a += rest % batch[d] * sa[k], b += rest % batch[d] * sb[k];
        rest /= batch[d];
      }
      f(i, a, b);
    }
  }
};

void forward(const Geometry& g, const Tensor& a, const Tensor& b, Tensor& y) {
  g.each([&](int64_t i, int64_t ia, int64_t ib) {
    product(g.ta, g.tb, g.M, g.N, g.K, a.data() + ia * g.M * g.K, b.data() + ib * g.K * g.N, 0,
            y.data() + i * g.M * g.N, g.in);
  });
}

void backward(const Geometry& g, const Tensor& a, const Tensor& b, const Tensor& dy, Back& back) {
  const auto open = [&](const Tensor& x, bool shared) {  // matrices that several batches add to start from 0
    Sink sink = back.into(x);
    if (shared && sink.beta == 0) {
      std::fill_n(sink.to, x.size(), real(0));
      sink.beta = 1;
    }
    return sink;
  };
  if (back.wants(a)) {
    const auto [to, beta] = open(a, !(g.batch_a == g.batch));
    g.each([&, to = to, beta = beta](int64_t i, int64_t ia, int64_t ib) {
      const real *d = dy.data() + i * g.M * g.N, *B = b.data() + ib * g.K * g.N;
      real* da = to + ia * g.M * g.K;
      if (g.ta) {
        product(g.tb, true, g.K, g.M, g.N, B, d, beta, da, g.in);  // B dy^T
      } else {
        product(false, !g.tb, g.M, g.K, g.N, d, B, beta, da, g.in);  // dy B^T
      }
    });
  }
  if (back.wants(b)) {
    const auto [to, beta] = open(b, !(g.batch_b == g.batch));
    g.each([&, to = to, beta = beta](int64_t i, int64_t ia, int64_t ib) {
      const real *d = dy.data() + i * g.M * g.N, *A = a.data() + ia * g.M * g.K;
      real* db = to + ib * g.K * g.N;
      if (g.tb) {
        product(true, g.ta, g.N, g.K, g.M, d, A, beta, db, g.in);  // dy^T A
      } else {
        product(!g.ta, false, g.K, g.N, g.M, A, d, beta, db, g.in);  // A^T dy
      }
    });
  }
}

}  // namespace

Tensor matmul(const Tensor& a, const Tensor& b, bool transpose_a, bool transpose_b, Precision in) {
  const auto wrong = [&]() {
    fail("matmul", "{}{} times {}{} does not fit: (..., M, K) and (..., K, N) are needed", a.shape().str(),
         transpose_a ? " transposed" : "", b.shape().str(), transpose_b ? " transposed" : "");
  };
  if (a.rank() < 2 || b.rank() < 2) wrong();
  Geometry g{.M = a.dim(transpose_a ? -1 : -2),
             .N = b.dim(transpose_b ? -2 : -1),
             .K = a.dim(transpose_a ? -2 : -1),
             .ta = transpose_a,
             .tb = transpose_b,
             .in = in,
             .batch = {},
             .batch_a = a.shape(),
             .batch_b = b.shape()};
  if (b.dim(transpose_b ? -1 : -2) != g.K) wrong();
  g.batch_a.rank -= 2, g.batch_b.rank -= 2;
  g.batch = g.batch_a.rank >= g.batch_b.rank ? g.batch_a : g.batch_b;
  const Shape& other = g.batch_a.rank >= g.batch_b.rank ? g.batch_b : g.batch_a;
  for (int i = 1; i <= other.rank; ++i) {
    if (g.batch[-i] == other[-i] || other[-i] == 1) continue;
    if (g.batch[-i] != 1) wrong();
    g.batch[-i] = other[-i];
  }
  Shape s = g.batch;
  s.rank += 2;
  s[-2] = static_cast<int>(g.M), s[-1] = static_cast<int>(g.N);
  if (!g.ta && g.batch_b.size() == 1) {  // one matrix for all batches: one product over all rows
    g.M *= g.batch_a.size();
    g.batch = g.batch_a = g.batch_b = Shape();
  }
  Tensor y(s);
  forward(g, a, b, y);
  return record({"matmul",
                 static_cast<double>(s.size()) * static_cast<double>(g.K),
                 {{"transpose_a", transpose_a}, {"transpose_b", transpose_b}, {"precision", name(in)}}},
                y, {&a, &b}, [=](const Tensor& dy, Back& back) { backward(g, a, b, dy, back); });
}

}  // namespace TESSERA_NS
}  // namespace tessera
