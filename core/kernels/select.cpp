// Chooses the table at start. Compiled with baseline flags, once per `real`.
#include <cstdlib>

#include "core/error.h"
#include "core/kernels/kernels.h"

namespace tessera {
inline namespace TESSERA_NS {

namespace base {
extern const Kernels table;
}
#if defined(TESSERA_HAVE_X86_TARGETS)
namespace v3 {
extern const Kernels table;
}
namespace v4 {
extern const Kernels table;
}
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
  if (which == Isa::avx512) return avx512 ? &v4::table : nullptr;
  if (which == Isa::avx2) return avx2 ? &v3::table : nullptr;
#else
  if (which != Isa::scalar) return nullptr;
#endif
  return &base::table;
}

const Kernels& kernels() {
  static const Kernels& chosen =
      kernels(isa()) ? *kernels(isa()) : base::table;  // the double twin has the baseline only
  return chosen;
}

}  // namespace TESSERA_NS
}  // namespace tessera
