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
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
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
