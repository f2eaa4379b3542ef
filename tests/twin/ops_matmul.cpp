// Rows of matmul.
#include "tessera/core/ops/matmul.h"
#include "tests/twin/op_table.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

/// Three loops over every batch; the batch of an operand with fewer dimensions, or an extent of 1, repeats.
Array plain_matmul(const Array& a, const Array& b, bool ta, bool tb, const Shape& batch) {
  const int M = a.dim(ta ? -1 : -2), K = a.dim(ta ? -2 : -1), N = b.dim(tb ? -2 : -1);
  Shape s = batch;
  s.rank += 2;
  s[-2] = M, s[-1] = N;
  Array y(s);
  const auto matrix = [&](const Array& x, int64_t i) {
    int64_t at = 0, unit = 1;
    for (int d = 1; d <= batch.rank; ++d) {
      if (d + 2 <= x.shape.rank) {
        const int n = x.dim(-d - 2);
        if (n > 1) at += i % batch[-d] * unit;
        unit *= n;
      }
      i /= batch[-d];
    }
    return at * x.dim(-1) * x.dim(-2);
  };
  for (int64_t i = 0; i < batch.size(); ++i)
    for (int64_t m = 0; m < M; ++m)
      for (int64_t n = 0; n < N; ++n)
        for (int64_t k = 0; k < K; ++k)
          y[(i * M + m) * N + n] +=
              a[matrix(a, i) + (ta ? k * M + m : m * K + k)] * b[matrix(b, i) + (tb ? n * K + k : k * N + n)];
  return y;
}

OP_ROWS(matmul) {
  struct Case {
    Shape batch_a, batch_b, batch;
    int M, N, K;
  };
  const auto with = [](Shape s, int m, int n) {
    s.rank += 2;
    s[-2] = m, s[-1] = n;
    return s;
  };
  for (const Case& c : std::vector<Case>{{{}, {}, {}, 1, 1, 1},
                                         {{}, {}, {}, 7, 5, 3},
                                         {{3}, {3}, {3}, 4, 6, 5},
                                         {{3}, {}, {3}, 4, 3, 7},
                                         {{}, {2}, {2}, 4, 3, 7},
                                         {{2, 1}, {3}, {2, 3}, 3, 2, 4},
                                         {{1, 2}, {3, 1}, {3, 2}, 2, 5, 3},
                                         {{2}, {2}, {2}, 31, 33, 32},
                                         {{2}, {2}, {2}, 3, 4, 0},
                                         {{0}, {}, {0}, 3, 4, 2}})
    for (bool ta : {false, true})
      for (bool tb : {false, true})
        rows.push_back({.op = "matmul",
                        .name = fmt::format("{} x {}: {}x{}x{}{}{}", c.batch_a.str(), c.batch_b.str(), c.M, c.N, c.K,
                                            ta ? " Ta" : "", tb ? " Tb" : ""),
                        .in = {{ta ? with(c.batch_a, c.K, c.M) : with(c.batch_a, c.M, c.K)},
                               {tb ? with(c.batch_b, c.N, c.K) : with(c.batch_b, c.K, c.N)}},
                        .run = [=](const Tensors& x) { return matmul(x[0], x[1], ta, tb); },
                        .reference = [=](const Arrays& x) { return plain_matmul(x[0], x[1], ta, tb, c.batch); },
                        .K = static_cast<double>(std::max({c.M, c.N, c.K}) * 3)});
  errors.push_back({"matmul", "inner",
                    [] {
                      matmul(zeros({2, 3}), zeros({4, 5}));
                    },
                    "(2, 3) times (4, 5) does not fit"});
  errors.push_back({"matmul", "transposed",
                    [] {
                      matmul(zeros({2, 3}), zeros({3, 5}), false, true);
                    },
                    "(3, 5) transposed"});
  errors.push_back({"matmul", "batches", [] { matmul(zeros({2, 2, 3}), zeros({3, 3, 5})); }, "does not fit"});
  errors.push_back({"matmul", "vectors", [] { matmul(zeros({3}), zeros({3, 5})); }, "does not fit"});
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
