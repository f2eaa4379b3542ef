// Our matrix products against plain loops in double, for every instruction set this machine has, over odd shapes,
// strides wider than rows and memory that must not be read (NaN under beta 0) or written (guards behind every row).
#include "tessera/core/gemm.h"

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "tessera/core/kernels/kernels.h"
#include "tessera/core/memory.h"
#include "tessera/core/parallel.h"
#include "tessera/core/precision.h"
#include "tessera/core/rng.h"
#include "tessera/nn/params.h"

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

/// The nearest number with 8 bits of mantissa; of two equally near the one whose last bit is 0. Not for NaN.
double to_bf16(float x) {
  int exponent = 0;
  std::frexp(x, &exponent);
  const double step = std::ldexp(1.0, exponent - 8);
  return std::nearbyint(static_cast<double>(x) / step) * step;
}

/// Memory for panels as the library would take it, full of NaN.
struct Scratch {
  int64_t n;
  float* at;
  explicit Scratch(int64_t size) : n(size), at(static_cast<float*>(Pool::mine().take(static_cast<size_t>(n) * 4))) {
    std::fill_n(at, n, nan);
  }
  ~Scratch() { Pool::give(at); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
};

double gelu(double x) { return 0.5 * x * std::erfc(-x / std::sqrt(2.0)); }
double slope(double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)) + x * std::exp(-x * x / 2) / std::sqrt(2 * M_PI); }

/// Compares C (and the saved slope) with sums in double; K products of numbers below 1/2, each rounded once.
void compare(Kind kind, const Matrix& a, const Matrix& b, const Matrix& before, const Matrix& after, float beta,
             const float* bias, const Matrix* add, const Matrix* saved, int64_t K, Precision p) {
  const auto read = [p](float x) { return p == Precision::bf16 ? to_bf16(x) : static_cast<double>(x); };
  int wrong = 0;
  for (int64_t i = 0; i < after.rows; ++i) {
    for (int64_t j = 0; j < after.cols; ++j) {
      double want = 0;
      for (int64_t k = 0; k < K; ++k)
        want += read(kind == tn ? a.at(k, i) : a.at(i, k)) * read(kind == nt ? b.at(j, k) : b.at(k, j));
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
  CHECK_MESSAGE(wrong == 0, wrong, " wrong elements, ", name(p), ", kind ", int{kind}, " ", after.rows, "x", after.cols,
                "x", K, " beta ", beta);
}

void one(const Kernels& kernel, Precision precision, Kind kind, int64_t M, int64_t N, int64_t K, int64_t pad,
         float beta, bool extras) {
  const auto seed = static_cast<uint64_t>(M * 10007 + N * 101 + K);
  Matrix a(kind == tn ? K : M, kind == tn ? M : K, pad, seed), b(kind == nt ? N : K, kind == nt ? K : N, pad, seed + 1);
  Matrix c(M, N, pad, seed + 2), add(M, N, 2 * pad, seed + 3), saved(M, N, pad, seed + 4);
  const Matrix bias(1, N, 0, seed + 5);
  if (beta == 0)
    for (auto& v : c.v) v = nan;
  const Matrix before = c;
  const bool bf16 = precision == Precision::bf16;
  const auto padded = [](int64_t n) { return (n + 31) / 32 * 32; };
  const Scratch panels(padded(N) * padded(K) + 16), strip(64 * padded(K) + 16);
  const auto pack = [&](auto of_matrix, auto of_transpose) {
    (kind == nt ? of_transpose : of_matrix)(b.v.data(), b.stride, K, N, panels.at);
  };
  GemmTask t{};
  t.M = M, t.N = N, t.K = K, t.a = a.v.data(), t.panels = panels.at, t.beta = beta, t.c = c.v.data(), t.ldc = c.stride;
  t.scratch = strip.at;
  if (bf16) {
    pack(kernel.bf16_pack, kernel.bf16_pack_transposed);
  } else if (kind == tn) {
    t.b = b.v.data(), t.ldb = b.stride, t.scratch = panels.at;
  } else {
    pack(kernel.gemm_pack, kernel.gemm_pack_transposed);
  }
  t.a_row = kind == tn ? 1 : a.stride, t.a_col = kind == tn ? a.stride : 1;
  if (extras) {
    t.bias = bias.v.data(), t.add = add.v.data(), t.ld_add = add.stride;
    t.gelu = true, t.slope = saved.v.data(), t.ld_slope = saved.stride;
  }
  (bf16 ? kernel.bf16_gemm : kernel.gemm)(&t);
  compare(kind, a, b, before, c, beta, t.bias, extras ? &add : nullptr, extras ? &saved : nullptr, K, precision);
}

void odd_shapes(Precision precision) {
  for (Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512, Isa::avx512_bf16, Isa::amx}) {
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
      one(*kernel, precision, kind, draw(0, 70), draw(1, 70), draw(2, 70), r % 2 ? draw(3, 5) : 0,
          std::array{0.F, 1.F, 0.5F}[r / 3 % 3], r % 4 == 0);
    }
    for (Kind kind : {nt, nn, tn}) {
      one(*kernel, precision, kind, 1, 1, 1, 0, 1, true);
      one(*kernel, precision, kind, 37, 10, 600, 3, 1, true);   // several blocks of k
      one(*kernel, precision, kind, 5, 2100, 300, 1, 0, true);  // several blocks of n
      one(*kernel, precision, kind, 65, 128, 48, 0, 0, false);
      one(*kernel, precision, kind, 3, 4, 0, 1, 0.5F, true);  // an empty sum
    }
  }
}

TEST_CASE("gemm kernels: odd shapes, tails, strides, beta and epilogues on every instruction set") {
  odd_shapes(Precision::f32);
}

TEST_CASE("gemm kernels in bf16: operands rounded once, their products added in fp32, on every instruction set") {
  CHECK(to_bf16(1 + 0x1p-8F) == 1);  // the tests' own rounding: ties to even
  CHECK(to_bf16(1 + 0x3p-8F) == 1 + 0x1p-6);
  odd_shapes(Precision::bf16);
}

TEST_CASE("gemm in bf16: NaN stays NaN, infinity infinity") {
  const Computing computing(Precision::bf16);
  const float inf = std::numeric_limits<float>::infinity(), quiet = std::bit_cast<float>(0x7fffffff);
  Tensor a({1, 40}), b({2, 40}), y({1, 2});
  for (int k = 0; k < 40; ++k) a[k] = 1, b[k] = b[40 + k] = 1;
  b[7] = quiet, b[47] = inf;
  gemm_nt(1, 2, 40, a.data(), 40, b.data(), 40, 0, y.data(), 2);
  CHECK(std::isnan(y[0]));
  CHECK(y[1] == inf);
}

TEST_CASE("gemm in bf16: rows do not depend on how many there are, panels of both precisions live beside each other") {
  Params params(1);
  const int64_t M = 300, N = 70, K = 90;
  const Tensor W = params.make("w", {70, 90}, normal(1), Decay::yes, false),
               x = params.make("x", {300, 90}, normal(1), Decay::no, false);
  const auto product = [&](int64_t rows, Precision p) {
    const Computing computing(p);
    Tensor y({static_cast<int>(rows), 70});
    gemm_nt(rows, N, K, x.data(), K, W.read().data(), K, 0, y.data(), N, nullptr, W.leaf());
    return y;
  };
  const Tensor whole = product(M, Precision::bf16), exact = product(M, Precision::f32),
               one = product(1, Precision::bf16);
  for (int64_t j = 0; j < N; ++j) CHECK(one[j] == whole[j]);
  double off = 0;
  for (int64_t i = 0; i < M * N; ++i) off = std::max(off, std::abs(static_cast<double>(whole[i] - exact[i])));
  CHECK(off > 1e-4);  // it does round
  CHECK(off < 0.15);  // 90 products of standard deviation 1, each off by some 2^-9: 0.02 on average, 0.1 at worst
}

TEST_CASE("gemm: the panels of a weight follow commit(), and parts of a weight do not meet") {
  Params params(1);
  Tensor W = params.make("w", {40, 24}, normal(1), Decay::yes, false);
  const Tensor x = full({3, 24}, 1);
  const auto product = [&](int64_t first, int64_t rows, int64_t cols) {
    Tensor y({3, static_cast<int>(rows)});
    gemm_nt(3, rows, cols, x.data(), 24, W.read().data() + first * 24, 24, 0, y.data(), rows, nullptr, W.leaf());
    double sum = 0;
    for (int64_t i = 0; i < rows * cols; ++i)
      sum += static_cast<double>(W.read()[static_cast<size_t>(first * 24 + i / cols * 24 + i % cols)]);
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

/// gelu(A B^T + bias + add) and its slope, B's panels kept as a parameter's.
std::vector<float> finished(int64_t M, int64_t N, int64_t K, Precision in) {
  const Matrix a(M, K, 3, 1), b(N, K, 0, 2), add(M, N, 1, 3), bias(1, N, 0, 4);
  Matrix c(M, N, 2, 5), saved(M, N, 5, 6);
  gemm_nt(M, N, K, a.v.data(), a.stride, b.v.data(), b.stride, 0, c.v.data(), c.stride,
          Epilogue{bias.v.data(), add.v.data(), add.stride, true, saved.v.data(), saved.stride}, nullptr, in);
  std::vector<float> all;
  for (int64_t i = 0; i < M; ++i)
    for (int64_t j = 0; j < N; ++j) all.push_back(c.at(i, j)), all.push_back(saved.at(i, j));
  return all;
}

TEST_CASE("gemm: rows or columns, however they are cut, have the same bits") {
  const int before = parallel::threads();
  for (const Precision in : {Precision::f32, Precision::bf16})
    for (const int64_t M : {1, 31, 49, 196, 255, 256, 300})
      for (const auto& [N, K] : {std::pair{int64_t{127}, int64_t{40}}, {128, 33}, {300, 96}, {768, 700}, {333, 800}}) {
        parallel::set_threads(1);
        const std::vector<float> one = finished(M, N, K, in);
        for (const int threads : {2, 3, 5}) {
          parallel::set_threads(threads);
          CHECK_MESSAGE(finished(M, N, K, in) == one, M, "x", N, "x", K, ", ", threads, " threads, ", name(in));
        }
        const parallel::CutAll cut;
        CHECK_MESSAGE(finished(M, N, K, in) == one, M, "x", N, "x", K, ", cut, ", name(in));
      }
  parallel::set_threads(before);
}

}  // namespace
}  // namespace tessera
