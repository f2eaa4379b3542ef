#include <cstdlib>

#include "tessera/core/error.h"
#include "tessera/core/kernels/kernels.h"

namespace tessera {
namespace {
#if defined(__aarch64__)
constexpr std::string_view baseline = "neon", names = "neon (or scalar)";
#else
constexpr std::string_view baseline = "scalar", names = "scalar, avx2, avx512, avx512_bf16, amx";
#endif
}  // namespace

std::string_view name(Isa isa) {
  switch (isa) {
    case Isa::amx:
      return "amx";
    case Isa::avx512_bf16:
      return "avx512_bf16";
    case Isa::avx512:
      return "avx512";
    case Isa::avx2:
      return "avx2";
    default:
      return baseline;
  }
}

namespace {
Isa choose() {
  const char* variable = std::getenv("TESSERA_ISA");
  const std::string_view forced = variable ? variable : "";
  if (forced == "scalar") return Isa::scalar;  // on every architecture, whatever its baseline is called
  if (forced == "neon" && forced != baseline)
    fail("isa", "TESSERA_ISA={}: this CPU or this build has no such instructions", forced);
  for (Isa i : {Isa::amx, Isa::avx512_bf16, Isa::avx512, Isa::avx2, Isa::scalar}) {
    if (!forced.empty() ? forced == name(i) : kernels(i) != nullptr) {
      if (!kernels(i)) fail("isa", "TESSERA_ISA={}: this CPU or this build has no such instructions", forced);
      return i;
    }
  }
  fail("isa", "TESSERA_ISA={} is not one of {}", forced, names);
}
}  // namespace

Isa isa() {
  static const Isa chosen = choose();
  return chosen;
}

}  // namespace tessera
