// The Transformer against torch.nn.Transformer with masks: tests/golden/transformer.py wrote the numbers.
#include "tests/twin/golden.h"
#include "tests/twin/twin.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

TWIN_CASE("golden: Transformer, padded sequences, norms after the sums or in front of the branches, as torch's") {
  for (const char* name : {"transformer_post", "transformer_pre"}) {
    const GoldenErrors e = check_golden(name, "transformer", transformer_options(name));
    CAPTURE(name);
    CAPTURE(e.worst);
    CHECK(e.logits <= (sizeof(real) == 8 ? 1e-12 : 2e-5));
    CHECK(e.gradients <= (sizeof(real) == 8 ? 1e-11 : 2e-4));
  }
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
