// What pairs of tokens look up in tables, against plain loops in double, for every instruction set this machine has: indices that run, fall,
// stay, repeat, jump or name no row, with and without class tokens before them; what must not be read is NaN, what must not be written is watched.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "tessera/core/kernels/kernels.h"
#include "tessera/core/rng.h"

namespace tessera {
namespace {

constexpr float nan = std::numeric_limits<float>::quiet_NaN();

enum class Shape { up, down, level, columns, holes, grid, jumps, one };

/// The row of the table that query i sees at key j: keys lie in lines of `width`, behind `prefix` tokens of index `prefix_row`.
int32_t row_of(Shape shape, int64_t i, int64_t j, int64_t width, int64_t prefix, int32_t prefix_row, int64_t rows,
               const rng::Stream& random) {
  if (j < prefix) return prefix_row;
  const int64_t key = j - prefix, x = key % width, y = key / width;
  int64_t row = 0;
  switch (shape) {
    case Shape::up:
      row = key + i;
      break;
    case Shape::down:
      row = rows - 1 - key - i;
      break;
    case Shape::level:
      row = y + i;
      break;
    case Shape::columns:
      row = (i % 2 ? width - x : x) + i;
      break;
    case Shape::holes:
      row = x == 2 ? -1 : x + i;
      break;
    case Shape::grid:
      row = y * (2 * width - 1) + x + i;
      break;
    case Shape::jumps:
      row = static_cast<int64_t>(random.bits(static_cast<uint64_t>(i * 1000 + j)) % 23) - 1;
      break;
    case Shape::one:
      row = 3;
      break;
  }
  return static_cast<int32_t>(row < 0 ? -1 : row % rows);
}

void check(const Kernels& k, Shape shape, int64_t m, int64_t width, int64_t prefix, int32_t prefix_row, bool own_rows,
           int32_t base, int64_t step, int64_t column) {
  constexpr int64_t n = 5, guard = 16;
  const int64_t rows = 3 * m + 8, ld = m + 3;
  const rng::Stream random(static_cast<uint64_t>(m * 131 + width));
  std::vector<int32_t> rho(static_cast<size_t>(n * ld), -7);
  std::vector<float> s(rho.size(), 9);
  const int64_t apart = own_rows ? rows * step + m * column : 0;
  std::vector<float> table(static_cast<size_t>((own_rows ? n : 1) * (rows * step + m * column) + 2 * guard), nan);
  std::vector<float> sums(table.size(), 0.5F);
  const auto at = [&](int64_t i, int64_t j) { return static_cast<size_t>(i * ld + j); };
  const auto place = [&](int64_t i, int64_t j) {
    return static_cast<size_t>(guard + i * apart + (rho[at(i, j)] - base) * step + j * column);
  };
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < m; ++j) {
      const int32_t row = row_of(shape, i, j, width, prefix, prefix_row, rows, random);
      rho[at(i, j)] = row < 0 ? row : row + base;
      s[at(i, j)] = static_cast<float>(random.normal(static_cast<uint64_t>(1000000 + i * m + j)));
      if (row < 0) continue;
      table[place(i, j)] = static_cast<float>(random.normal(2000000 + place(i, j)));
    }
  std::vector<double> want_s(s.begin(), s.end()), want_sums(sums.begin(), sums.end()), size(sums.size(), 0.0);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < m; ++j) {
      if (rho[at(i, j)] < 0) continue;
      want_s[at(i, j)] += static_cast<double>(table[place(i, j)]);
      want_sums[place(i, j)] += static_cast<double>(s[at(i, j)]);
      size[place(i, j)] += std::abs(static_cast<double>(s[at(i, j)]));
    }
  std::vector<float> got_s = s;
  k.pair_gather(got_s.data(), ld, n, m, table.data() + guard, apart, step, column, rho.data(), ld, base);
  k.pair_scatter(s.data(), ld, n, m, sums.data() + guard, apart, step, column, rho.data(), ld, base);
  const auto wrong = [](float got, double want, double limit) {
    return !(std::abs(static_cast<double>(got) - want) <= limit);
  };
  int wrong_s = 0, wrong_sums = 0;
  for (size_t l = 0; l < s.size(); ++l) wrong_s += wrong(got_s[l], want_s[l], rho[l] < 0 ? 0 : 1e-6);
  for (size_t l = 0; l < sums.size(); ++l)
    wrong_sums += wrong(sums[l], want_sums[l], size[l] > 0 ? 3e-7 * (1 + size[l]) : 0);
  const std::string told = std::to_string(m) + " keys in lines of " + std::to_string(width) + " behind " +
                           std::to_string(prefix) + ", shape " + std::to_string(static_cast<int>(shape));
  CHECK_MESSAGE(wrong_s == 0, wrong_s, " wrong scores of ", told);
  CHECK_MESSAGE(wrong_sums == 0, wrong_sums, " wrong sums of ", told);
}

TEST_CASE("attention's pairs: what is looked up and its transpose, on every instruction set") {
  for (Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512, Isa::avx512_bf16, Isa::amx}) {
    const Kernels* k = kernels(isa);
    if (!k) {
      MESSAGE("skipped: no ", name(isa));
      continue;
    }
    INFO(name(isa));
    for (const Shape shape :
         {Shape::up, Shape::down, Shape::level, Shape::columns, Shape::holes, Shape::grid, Shape::jumps, Shape::one})
      for (const int64_t width : {5, 8, 12, 16, 24})
        for (const int64_t prefix : {0, 1, 5, 24})  // 24 of no row fill a vector
          for (const int64_t keys : {1, 7, 8, 15, 16, 17, 40, 63, 64, 144})
            for (const int32_t prefix_row : {-1, 0})
              for (const int32_t base : {0, 2}) {  // the first row that the table has
                check(*k, shape, keys + prefix, width, prefix, prefix_row, true, base, 1, 0);   // a band a query
                check(*k, shape, keys + prefix, width, prefix, prefix_row, false, base, 1, 0);  // one table for all
              }
    for (const Shape shape : {Shape::up, Shape::level, Shape::jumps})  // keys beside each other, as terms of keys are
      for (const int64_t keys : {1, 16, 37}) check(*k, shape, keys, 8, 0, 0, false, 2, keys, 1);
  }
}

}  // namespace
}  // namespace tessera
