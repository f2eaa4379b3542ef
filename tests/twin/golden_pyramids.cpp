// PVT against its authors' code, Twins and CPVT against timm's: tests/golden/pvt.py and twins.py wrote the numbers. Maps of every stage,
// logits and gradients, at sizes that patches, reductions and windows divide and at others.
#include "tests/twin/golden_pyramids.h"

#include "tests/twin/golden.h"
#include "tests/twin/twin.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

TWIN_CASE("golden: PVT, Twins and CPVT, maps, logits and gradients") {
  for (const PyramidCase& c : pyramid_cases()) {
    const GoldenErrors e = check_golden(c.name, c.model, c.options);
    CAPTURE(c.name);
    CAPTURE(e.worst);
    CHECK(e.logits <= (sizeof(real) == 8 ? 1e-12 : 2e-5));
    CHECK(e.gradients <= (sizeof(real) == 8 ? 1e-11 : 2e-4));
  }
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
