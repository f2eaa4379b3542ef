#include <cstdlib>

#include "core/error.h"
#include "core/kernels/kernels.h"

namespace tessera {

std::string_view name(Isa isa) {
  switch (isa) {
    case Isa::avx512:
      return "avx512";
    case Isa::avx2:
      return "avx2";
    default:
      return "scalar";
  }
}

namespace {
Isa choose() {
  const char* forced = std::getenv("TESSERA_ISA");
  for (const std::string_view elsewhere : {"amx", "neon"})
    if (forced && forced == elsewhere)
      fail("isa", "TESSERA_ISA={}: this CPU or this build has no such instructions", forced);
  for (Isa i : {Isa::avx512, Isa::avx2, Isa::scalar}) {
    if (forced && *forced ? std::string_view(forced) == name(i) : kernels(i) != nullptr) {
      if (!kernels(i)) fail("isa", "TESSERA_ISA={}: this CPU or this build has no such instructions", forced);
      return i;
    }
  }
  fail("isa", "TESSERA_ISA={} is not one of scalar, avx2, avx512", forced);
}
}  // namespace

Isa isa() {
  static const Isa chosen = choose();
  return chosen;
}

}  // namespace tessera
