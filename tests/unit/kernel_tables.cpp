// The structs of core/kernels are arrays of pointers: none may be null, none may stand in another's place.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <vector>

#include "tessera/core/kernels/kernels.h"

namespace tessera {
namespace {

/// All pointers of a table, in order; `lanes` takes the place of the last. (And `pair` that of one in each LineProducts.)
std::vector<uintptr_t> pointers(const Kernels& table) {
  static_assert(sizeof(Kernels) % sizeof(uintptr_t) == 0 && sizeof(void (*)()) == sizeof(uintptr_t));
  std::vector<uintptr_t> all(sizeof(Kernels) / sizeof(uintptr_t) - 1);
  std::memcpy(all.data(), static_cast<const void*>(&table), all.size() * sizeof(uintptr_t));
  return all;
}

/// Takes the words of `part`, a member of the table, out of its pointers.
template <class Part>
void leave_out(const Part& part, const Kernels& table, std::vector<uintptr_t>& all) {
  const auto at = reinterpret_cast<const char*>(&part) - reinterpret_cast<const char*>(&table);
  const auto first = all.begin() + at / static_cast<std::ptrdiff_t>(sizeof(uintptr_t));
  all.erase(first, first + static_cast<std::ptrdiff_t>(sizeof(Part) / sizeof(uintptr_t)));
}

/// One function may serve both forms of a map; a set without such products has none of them.
bool whole(const LineProducts& p) {
  const bool all = p.pad && p.zip && p.zip_rows && p.multiply && p.weigh,
             any = p.pad || p.zip || p.zip_rows || p.multiply || p.weigh;
  return p.pair ? all : !any;
}

TEST_CASE("kernels: every pointer of every table is set, to a function of its own") {
  for (Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512, Isa::avx512_bf16, Isa::amx}) {
    const Kernels* table = kernels(isa);
    if (!table) continue;
    INFO(name(isa));
    std::vector<uintptr_t> all = pointers(*table);
    CHECK((table->conv_lines.pair == 1 && whole(table->conv_lines) && whole(table->conv_lines_bf16)));
    const LineProducts &one = table->conv_lines, &other = table->conv_lines_bf16;
    leave_out(&one > &other ? one : other, *table, all), leave_out(&one > &other ? other : one, *table, all);
    REQUIRE(all.size() >= 80);
    for (size_t i = 0; i < all.size(); ++i) CHECK_MESSAGE(all[i] != 0, "pointer " << i);
    std::sort(all.begin(), all.end());
    CHECK(std::adjacent_find(all.begin(), all.end()) == all.end());
    CHECK(table->lanes >= 4);
  }
}

/// What chains x = x m + a of these starts come to, in doubles.
double chains(int count, int64_t rounds, double m, double a, const std::function<double(int)>& start) {
  double total = 0;
  for (int i = 0; i < count; ++i) {
    double x = start(i);
    for (int64_t r = 0; r < rounds; ++r) x = x * m + a;
    total += x;
  }
  return total;
}

// Every share of the peak rests on what these count: as many operations as their result shows that they did.
TEST_CASE("kernels: the measure of the peak does the multiply-adds that it counts") {
  for (const Isa which : {Isa::scalar, Isa::avx2, Isa::avx512, Isa::avx512_bf16}) {
    const Kernels* k = kernels(which);
    if (!k) continue;
    INFO(name(which));
    for (const int64_t rounds : {1, 2, 50, 1000}) {
      CAPTURE(rounds);
      double count = 0;
      real sink = 0;
      k->fma_burn(rounds, &count, &sink);
      const double m = static_cast<double>(static_cast<real>(0.999));
      const double one = chains(12, rounds, m, m, [m](int i) { return m + i; });  // of one lane
      CHECK(static_cast<double>(sink) == doctest::Approx(k->lanes * one).epsilon(1e-4));
      CHECK(count == static_cast<double>(2 * 12 * rounds * k->lanes));
      k->bf16_burn(rounds, &count, &sink);
      if (which == Isa::avx512_bf16) {  // two products of ones join each of 16 sums in each of 16 lanes
        CHECK(static_cast<double>(sink) == 16 * chains(16, rounds, 1, 2, [](int i) { return i; }));
        CHECK(count == static_cast<double>(2 * 2 * 16 * 16 * rounds));
      } else {
        CHECK(static_cast<double>(sink) == doctest::Approx(k->lanes * one).epsilon(1e-4));
        CHECK(count == static_cast<double>(2 * 12 * rounds * k->lanes));
      }
    }
  }
}

TEST_CASE("kernels: the tables for bf16 differ from AVX-512's in its products alone") {
  for (Isa isa : {Isa::avx512_bf16, Isa::amx}) {
    if (!kernels(isa)) continue;
    INFO(name(isa));
    const std::vector<uintptr_t> plain = pointers(*kernels(Isa::avx512)), with = pointers(*kernels(isa));
    size_t others = 0;
    for (size_t i = 0; i < plain.size(); ++i) others += plain[i] != with[i];
    CHECK(others ==
          (sizeof(GemmBf16Kernels) + sizeof(AttentionBf16Kernels) + sizeof(ConvLineBf16Kernels)) / sizeof(uintptr_t));
    CHECK((kernels(isa)->bf16_gemm != kernels(Isa::avx512)->bf16_gemm));
    CHECK((kernels(isa)->gemm == kernels(Isa::avx512)->gemm));
  }
}

}  // namespace
}  // namespace tessera
