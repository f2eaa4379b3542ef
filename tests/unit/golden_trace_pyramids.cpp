// Ten steps of AdamW on PVT, Twins and CPVT against PyTorch: tests/golden/pvt.py and twins.py wrote the losses. What decays is what the
// authors decay: PVT's tables do, its class token and PEG do not.
#include "tests/twin/golden_pyramids.h"
#include "tests/unit/golden_trace.h"

namespace tessera {
namespace {

TEST_CASE("golden: ten AdamW steps of PVT, Twins and CPVT give PyTorch's losses") {
  for (const PyramidCase& c : pyramid_cases()) test::check_trace(c.name, c.model, c.options);
}

}  // namespace
}  // namespace tessera
