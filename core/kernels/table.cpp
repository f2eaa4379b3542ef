// Compiled once per target: this target's kernels, as one table.
#include "tessera/core/kernels/lists.h"
#include "tessera/core/kernels/simd.h"

TESSERA_KERNELS_BEGIN
#define ROW(NAME, ...) void NAME(__VA_ARGS__);
TESSERA_KERNEL_LISTS(ROW)
#undef ROW
TESSERA_KERNELS_END

// kernels.h pulls in standard headers, which kernel files must not: the struct is repeated from the same lists
namespace tessera {
inline namespace TESSERA_NS {
struct Kernels {
#define ROW(NAME, ...) void (*NAME)(__VA_ARGS__);
  TESSERA_KERNEL_LISTS(ROW)
#undef ROW
  int lanes;
};
namespace TARGET {
extern const Kernels table;
const Kernels table = {
#define ROW(NAME, ...) &NAME,
    TESSERA_KERNEL_LISTS(ROW)
#undef ROW
        lanes};
}  // namespace TARGET
}  // namespace TESSERA_NS
}  // namespace tessera
