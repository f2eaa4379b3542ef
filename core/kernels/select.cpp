// Chooses the table at start. Compiled with baseline flags, once per `real`.
#include "tessera/core/kernels/kernels.h"

#if defined(TESSERA_HAVE_X86_TARGETS)
#include <cpuid.h>
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace tessera {
inline namespace TESSERA_NS {

namespace base {
Kernels table();
}
#if defined(TESSERA_HAVE_X86_TARGETS)
namespace v3 {
Kernels table();
}
namespace v4 {
Kernels table();
}  // namespace v4
namespace dot {
extern const AttentionBf16Kernels attention_bf16_kernels;
extern const GemmBf16Kernels gemm_bf16_kernels;
extern const ConvLineBf16Kernels conv_line_bf16_kernels;
}  // namespace dot
namespace amx {
extern const AttentionBf16Kernels attention_bf16_kernels;
extern const GemmBf16Kernels gemm_bf16_kernels;
}  // namespace amx

namespace {

/// Does this CPU have AVX512-BF16, and what else of bfloat16?
struct Bf16 {
  bool dots = false, tiles = false;
};
Bf16 bf16_features() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr unsigned amx_bf16 = 1u << 22, amx_tile = 1u << 24, avx512_bf16 = 1u << 5;
  if (!__get_cpuid_count(7, 1, &a, &b, &c, &d) || !(a & avx512_bf16)) return {};
  Bf16 has{.dots = true};
#if defined(__linux__)
  // Linux saves tiles when it switches threads, but wants to be asked before their first use; its answer holds for all threads.
  constexpr long request_permission = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM of asm/prctl.h
  has.tiles = __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & amx_bf16) && (d & amx_tile) &&
              syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
#endif
  return has;
}

Kernels v4_with(const GemmBf16Kernels& products, const AttentionBf16Kernels& of_attention,
                const ConvLineBf16Kernels& convolutions) {
  Kernels k = v4::table();
  static_cast<AttentionBf16Kernels&>(k) = of_attention;
  static_cast<GemmBf16Kernels&>(k) = products;
  static_cast<ConvLineBf16Kernels&>(k) = convolutions;
  return k;
}

/// AVX-512's kernels with other products in bf16, or null where this CPU lacks the instructions.
const Kernels* with_bf16(Isa which) {
  static const Bf16 has = bf16_features();
  static const Kernels dots = v4_with(dot::gemm_bf16_kernels, dot::attention_bf16_kernels, dot::conv_line_bf16_kernels);
  static const Kernels tiles = v4_with(amx::gemm_bf16_kernels, amx::attention_bf16_kernels, {});  // tiles want patches
  if (which == Isa::amx) return has.tiles ? &tiles : nullptr;
  return has.dots ? &dots : nullptr;
}

}  // namespace
#endif

const Kernels* kernels(Isa which) {
#if defined(TESSERA_HAVE_X86_TARGETS)
  // The levels that -march names, whole: compilers also use BMI2, LZCNT and the like, which virtual machines may hide.
  __builtin_cpu_init();
#if defined(__clang__)  // older ones know no levels here
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
                    __builtin_cpu_supports("bmi2");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl");
#else
  const bool avx2 = __builtin_cpu_supports("x86-64-v3"), avx512 = __builtin_cpu_supports("x86-64-v4");
#endif
  if (which == Isa::amx || which == Isa::avx512_bf16) return avx512 ? with_bf16(which) : nullptr;
  if (which == Isa::avx512) {
    if (!avx512) return nullptr;
    static const Kernels table = v4::table();
    return &table;
  }
  if (which == Isa::avx2) {
    if (!avx2) return nullptr;
    static const Kernels table = v3::table();
    return &table;
  }
#else
  if (which != Isa::scalar) return nullptr;
#endif
  static const Kernels table = base::table();
  return &table;
}

const Kernels& kernels() {
  static const Kernels& chosen =
      *(kernels(isa()) ? kernels(isa()) : kernels(Isa::scalar));  // the double twin has the baseline only
  return chosen;
}

}  // namespace TESSERA_NS
}  // namespace tessera
