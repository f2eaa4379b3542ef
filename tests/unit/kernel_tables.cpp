// The structs of core/kernels are arrays of pointers: none may be null, none may stand in another's place.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
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
