// Attention's kernels in bf16 against plain loops in double, for every instruction set this machine has: odd sizes, rows by index and none,
// memory that must not be read (NaN) or written (guards).
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "tessera/core/kernels/kernels.h"
#include "tessera/core/rng.h"

namespace tessera {
namespace {

constexpr float nan = std::numeric_limits<float>::quiet_NaN();
constexpr uint32_t nan_pair = 0x7fff7fff;

/// The nearest number with 8 bits of mantissa; of two equally near the one whose last bit is 0.
double to_bf16(double x) {
  int exponent = 0;
  std::frexp(x, &exponent);
  const double step = std::ldexp(1.0, exponent - 8);
  return std::nearbyint(x / step) * step;
}

struct Matrix {
  int64_t rows, columns, stride;
  std::vector<float> v;
  Matrix(int64_t r, int64_t c, int64_t pad, uint64_t seed) : rows(r), columns(c), stride(c + pad) {
    const rng::Stream random(seed);
    v.assign(static_cast<size_t>(r * stride), nan);
    for (int64_t i = 0; i < r; ++i)
      for (int64_t j = 0; j < c; ++j) at(i, j) = static_cast<float>(random.normal(static_cast<uint64_t>(i * c + j)));
  }
  float& at(int64_t i, int64_t j) { return v[static_cast<size_t>(i * stride + j)]; }
  float at(int64_t i, int64_t j) const { return v[static_cast<size_t>(i * stride + j)]; }
};

std::vector<uint32_t> pairs(int64_t n) { return std::vector<uint32_t>(static_cast<size_t>(n), nan_pair); }
double half(uint32_t pair, int64_t which) {
  const uint32_t bits = which ? pair & 0xffff0000 : pair << 16;
  float f;
  __builtin_memcpy(&f, &bits, sizeof f);
  return static_cast<double>(f);
}

void products(const Kernels& k, int64_t M, int64_t N, int64_t K, bool add) {
  const auto whole = [&](int64_t n) { return (n + k.lanes - 1) / k.lanes * k.lanes; };
  const auto seed = static_cast<uint64_t>(M * 10007 + N * 101 + K);
  const int64_t depth = (K + 1) / 2, ld_along = whole(depth), ldn = whole(N), ldm = whole(M);
  const Matrix a(M, K, 3, seed), b(K, N, 1, seed + 1), before(M, ldn, 0, seed + 2);
  Matrix turned(K, M, 2, seed);
  for (int64_t i = 0; i < M; ++i)
    for (int64_t j = 0; j < K; ++j) turned.at(j, i) = a.at(i, j);
  // memory as attention has it: 64 bytes aligned is not asked for, whole vectors of slack behind are
  auto along = pairs(M * ld_along + 32), across = pairs(depth * ldn + 32), of_turned = pairs(depth * ldm + 32);
  k.bf16_along(a.v.data(), a.stride, nullptr, M, K, along.data(), ld_along, 0);
  k.bf16_across(b.v.data(), b.stride, nullptr, K, N, across.data(), ldn, 0);
  k.bf16_across(turned.v.data(), turned.stride, nullptr, K, M, of_turned.data(), ldm, 0);
  for (const bool transposed : {false, true}) {
    std::vector<float> c = before.v;
    if (!add)
      for (float& x : c) x = nan;
    c.insert(c.end(), 16, nan);
    if (transposed) {
      k.bf16_product_tn(M, N, depth, of_turned.data(), ldm, across.data(), ldn, c.data(), ldn, add);
    } else {
      k.bf16_product(M, N, depth, along.data(), ld_along, across.data(), ldn, c.data(), ldn, add);
    }
    int wrong = 0;
    for (int64_t i = 0; i < M; ++i)
      for (int64_t j = 0; j < N; ++j) {
        double want = add ? static_cast<double>(before.at(i, j)) : 0;
        for (int64_t l = 0; l < K; ++l)
          want += to_bf16(static_cast<double>(a.at(i, l))) * to_bf16(static_cast<double>(b.at(l, j)));
        const double got = static_cast<double>(c[static_cast<size_t>(i * ldn + j)]);
        wrong += !(std::abs(got - want) <= 4e-6 * (2 + std::sqrt(static_cast<double>(K))));
      }
    for (size_t i = static_cast<size_t>(M * ldn); i < c.size(); ++i) wrong += !std::isnan(c[i]);
    CHECK_MESSAGE(wrong == 0, wrong, " wrong elements of ", M, "x", N, "x", K, transposed ? " transposed" : "",
                  add ? " added" : "");
  }
}

void operands(const Kernels& k, int64_t n, int64_t d) {
  const auto whole = [&](int64_t x) { return (x + k.lanes - 1) / k.lanes * k.lanes; };
  const Matrix x(n + 2, d, 5, static_cast<uint64_t>(n * 100 + d));
  std::vector<int32_t> at;
  for (int64_t i = 0; i < n; ++i) at.push_back(i % 4 == 3 ? -1 : static_cast<int32_t>(n + 1 - i));
  const auto want = [&](int64_t i, int64_t j, double scale) {
    if (i >= n || j >= d || at[static_cast<size_t>(i)] < 0) return 0.0;
    return to_bf16(static_cast<double>(static_cast<float>(scale) * x.at(at[static_cast<size_t>(i)], j)));
  };
  const int64_t ld_along = whole((d + 1) / 2), ld_across = whole(d), ld_turned = whole(n),
                size = (n + 16) * (d + 32) + 64;
  auto along = pairs(size), across = pairs(size), turned = pairs(size);
  k.bf16_along(x.v.data(), x.stride, at.data(), n, d, along.data(), ld_along, 0);
  k.bf16_across(x.v.data(), x.stride, at.data(), n, d, across.data(), ld_across, 0);
  k.bf16_transposed(x.v.data(), x.stride, at.data(), n, d, 0.25F, turned.data(), ld_turned, 0);
  int wrong = 0;
  for (int64_t h = 0; h < 2; ++h) {
    for (int64_t i = 0; i < n; ++i)
      for (int64_t p = 0; p < ld_along; ++p)
        wrong += half(along[static_cast<size_t>(i * ld_along + p)], h) != want(i, 2 * p + h, 1);
    for (int64_t p = 0; p < (n + 1) / 2; ++p)
      for (int64_t j = 0; j < ld_across; ++j)
        wrong += half(across[static_cast<size_t>(p * ld_across + j)], h) != want(2 * p + h, j, 1);
    for (int64_t p = 0; p < (d + 1) / 2; ++p)
      for (int64_t i = 0; i < ld_turned; ++i)
        wrong += half(turned[static_cast<size_t>(p * ld_turned + i)], h) != want(i, 2 * p + h, 0.25);
  }
  wrong += along[static_cast<size_t>(n * ld_along)] != nan_pair;
  wrong += across[static_cast<size_t>((n + 1) / 2 * ld_across)] != nan_pair;
  wrong += turned[static_cast<size_t>((d + 1) / 2 * ld_turned)] != nan_pair;
  CHECK_MESSAGE(wrong == 0, wrong, " wrong halves of ", n, " rows of ", d);
}

TEST_CASE("attention kernels in bf16: operands rounded once, products added in fp32, on every instruction set") {
  for (Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512, Isa::avx512_bf16, Isa::amx}) {
    const Kernels* k = kernels(isa);
    if (!k) {
      MESSAGE("skipped: no ", name(isa));
      continue;
    }
    INFO(name(isa));
    for (const int64_t n : {1, 2, 5, 16, 17, 33, 65})
      for (const int64_t d : {1, 8, 13, 16, 24, 32, 33, 64}) operands(*k, n, d);
    for (const bool add : {false, true})
      for (const int64_t M : {1, 5, 17, 65})
        for (const int64_t N : {1, 8, 16, 17, 65, 100})
          for (const int64_t K : {1, 2, 24, 33, 65, 300, 600}) products(*k, M, N, K, add);
  }
}

TEST_CASE("attention kernels in bf16: NaN stays NaN, infinity infinity, ties go to even") {
  for (Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512, Isa::avx512_bf16}) {
    const Kernels* k = kernels(isa);
    if (!k) continue;
    const float inf = std::numeric_limits<float>::infinity(), loud = __builtin_bit_cast(float, 0x7f800001);
    const std::vector<float> x{nan, loud, inf, -inf, 1 + 0x1p-8F, 1 + 0x3p-8F, 3.4e38F, -0.0F};
    auto y = pairs(64);
    k->bf16_along(x.data(), 8, nullptr, 1, 8, y.data(), k->lanes, 0);
    CHECK(std::isnan(half(y[0], 0)));
    CHECK(std::isnan(half(y[0], 1)));
    CHECK(half(y[1], 0) == static_cast<double>(inf));
    CHECK(half(y[1], 1) == -static_cast<double>(inf));
    CHECK(half(y[2], 0) == 1);
    CHECK(half(y[2], 1) == 1 + 0x1p-6);
    CHECK(half(y[3], 0) > 3e38);
    CHECK(std::signbit(half(y[3], 1)));
  }
}

}  // namespace
}  // namespace tessera
