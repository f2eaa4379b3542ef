// Our matrix products against plain loops in double, for every instruction set this machine has, over odd shapes,
// strides wider than rows and memory that must not be read (NaN under beta 0) or written (guards behind every row).
#include "core/gemm.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "core/kernels/kernels.h"
#include "core/rng.h"
#include "nn/params.h"

namespace tessera {
namespace {

constexpr float nan = std::numeric_limits<float>::quiet_NaN();

struct Matrix {
  int64_t rows, cols, stride;
  std::vector<float> v;
  Matrix(int64_t r, int64_t c, int64_t pad, uint64_t seed) : rows(r), cols(c), stride(c + pad) {
    const rng::Stream random(seed);
    v.assign(static_cast<size_t>(r * stride + 1), nan);
    for (int64_t i = 0; i < r; ++i)
      for (int64_t j = 0; j < c; ++j)
        at(i, j) = static_cast<float>(random.uniform(static_cast<uint64_t>(i * c + j)) - 0.5);
  }
  float& at(int64_t i, int64_t j) { return v[static_cast<size_t>(i * stride + j)]; }
  float at(int64_t i, int64_t j) const { return v[static_cast<size_t>(i * stride + j)]; }
};

enum Kind { nt, nn, tn };

double gelu(double x) { return 0.5 * x * std::erfc(-x / std::sqrt(2.0)); }
double slope(double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)) + x * std::exp(-x * x / 2) / std::sqrt(2 * M_PI); }

/// Compares C (and the saved slope) with sums in double; K products of numbers below 1/2, each rounded once.
void compare(Kind kind, const Matrix& a, const Matrix& b, const Matrix& before, const Matrix& after, float beta,
             const float* bias, const Matrix* add, const Matrix* saved, int64_t K) {
  int wrong = 0;
  for (int64_t i = 0; i < after.rows; ++i) {
    for (int64_t j = 0; j < after.cols; ++j) {
      double want = 0;
      for (int64_t k = 0; k < K; ++k)
        want += static_cast<double>(kind == tn ? a.at(k, i) : a.at(i, k)) *
                static_cast<double>(kind == nt ? b.at(j, k) : b.at(k, j));
      if (beta != 0) want += static_cast<double>(beta) * static_cast<double>(before.at(i, j));
      if (bias) want += static_cast<double>(bias[j]);
      if (add) want += static_cast<double>(add->at(i, j));
      const double bound = 1e-6 * (2 + std::sqrt(static_cast<double>(K)));
      if (saved && !(std::abs(static_cast<double>(saved->at(i, j)) - slope(want)) <= bound)) ++wrong;
      if (saved) want = gelu(want);
      if (!(std::abs(static_cast<double>(after.at(i, j)) - want) <= bound)) ++wrong;
    }
    for (int64_t j = after.cols; j < after.stride; ++j) wrong += !std::isnan(after.at(i, j));  // written past the row
  }
  CHECK_MESSAGE(wrong == 0, wrong, " wrong elements, kind ", int{kind}, " ", after.rows, "x", after.cols, "x", K,
                " beta ", beta);
}

void one(const Kernels& kernel, Kind kind, int64_t M, int64_t N, int64_t K, int64_t pad, float beta, bool extras) {
  const auto seed = static_cast<uint64_t>(M * 10007 + N * 101 + K);
  Matrix a(kind == tn ? K : M, kind == tn ? M : K, pad, seed), b(kind == nt ? N : K, kind == nt ? K : N, pad, seed + 1);
  Matrix c(M, N, pad, seed + 2), add(M, N, 2 * pad, seed + 3), saved(M, N, pad, seed + 4);
  const Matrix bias(1, N, 0, seed + 5);
  if (beta == 0)
    for (auto& v : c.v) v = nan;
  const Matrix before = c;
  const int64_t width = 2 * int64_t{kernel.lanes};
  std::vector<float> panels(static_cast<size_t>((N + width - 1) / width * width * K + 16), nan);
  if (kind != tn)
    (kind == nt ? kernel.gemm_pack_transposed : kernel.gemm_pack)(b.v.data(), b.stride, K, N, panels.data());
  GemmTask t{};
  t.M = M, t.N = N, t.K = K, t.a = a.v.data(), t.panels = panels.data(), t.beta = beta, t.c = c.v.data(),
  t.ldc = c.stride;
  if (kind == tn) t.b = b.v.data(), t.ldb = b.stride, t.scratch = panels.data();
  t.a_row = kind == tn ? 1 : a.stride, t.a_col = kind == tn ? a.stride : 1;
  if (extras) {
    t.bias = bias.v.data(), t.add = add.v.data(), t.ld_add = add.stride;
    t.gelu = true, t.slope = saved.v.data(), t.ld_slope = saved.stride;
  }
  kernel.gemm(&t);
  compare(kind, a, b, before, c, beta, t.bias, extras ? &add : nullptr, extras ? &saved : nullptr, K);
}

TEST_CASE("gemm kernels: odd shapes, tails, strides, beta and epilogues on every instruction set") {
  for (Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512}) {
    const Kernels* kernel = kernels(isa);
    if (!kernel) {
      MESSAGE("skipped: no ", name(isa));
      continue;
    }
    const rng::Stream random(7);
    for (uint64_t r = 0; r < 400; ++r) {
      const auto draw = [&](uint64_t which, int64_t most) {
        return 1 + static_cast<int64_t>(random.uniform(r * 8 + which) * static_cast<double>(most));
      };
      const Kind kind = static_cast<Kind>(r % 3);
      one(*kernel, kind, draw(0, 70), draw(1, 70), draw(2, 70), r % 2 ? draw(3, 5) : 0,
          std::array{0.F, 1.F, 0.5F}[r / 3 % 3], r % 4 == 0);
    }
    for (Kind kind : {nt, nn, tn}) {
      one(*kernel, kind, 1, 1, 1, 0, 1, true);
      one(*kernel, kind, 37, 10, 600, 3, 1, true);   // several blocks of k
      one(*kernel, kind, 5, 2100, 300, 1, 0, true);  // several blocks of n
      one(*kernel, kind, 65, 128, 48, 0, 0, false);
      one(*kernel, kind, 3, 4, 0, 1, 0.5F, true);  // an empty sum
    }
  }
}

TEST_CASE("gemm: the panels of a weight follow commit(), and parts of a weight do not meet") {
  Params params(1);
  Tensor W = params.make("w", {40, 24}, normal(1), Decay::yes, false);
  const Tensor x = full({3, 24}, 1);
  const auto product = [&](int64_t first, int64_t rows, int64_t cols) {
    Tensor y({3, static_cast<int>(rows)});
    gemm_nt(3, rows, cols, x.data(), 24, W.data() + first * 24, 24, 0, y.data(), rows, nullptr, W.leaf());
    double sum = 0;
    for (int64_t i = 0; i < rows * cols; ++i) sum += static_cast<double>(W[first * 24 + i / cols * 24 + i % cols]);
    double got = 0;
    for (int64_t j = 0; j < rows; ++j) got += static_cast<double>(y[j]);
    return got - sum;
  };
  CHECK(std::abs(product(0, 40, 24)) < 1e-4);
  CHECK(std::abs(product(8, 16, 24)) < 1e-4);
  CHECK(std::abs(product(8, 16, 20)) < 1e-4);
  for (int64_t i = 0; i < W.size(); ++i) W[i] = static_cast<float>(i % 7);
  params.commit();
  CHECK(std::abs(product(0, 40, 24)) < 1e-3);
  CHECK(std::abs(product(8, 16, 20)) < 1e-3);
}

}  // namespace
}  // namespace tessera
