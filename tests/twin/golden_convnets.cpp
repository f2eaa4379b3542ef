// Convolutional and hybrid networks against their originals: tests/golden/resnet.py (torchvision), cvt.py (transformers), airbench.py,
// cct.py and sasa_net.py (written from the papers) wrote the numbers.
#include "tests/twin/golden_convnets.h"

#include "tests/twin/twin.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

void check(const GoldenCase& c) {
  const GoldenErrors e =
      check_golden(c.name, c.model, c.options, {.position = "", .position_options = c.position, .mode = c.mode});
  CAPTURE(c.name);
  CAPTURE(e.worst);
  CAPTURE(e.logits);
  CAPTURE(e.gradients);
  CHECK(e.logits <= (sizeof(real) == 8 ? 1e-12 : 2e-5));
  CHECK(e.gradients <= (sizeof(real) == 8 ? 1e-11 : 2e-4));
}

TWIN_CASE("golden: ResNet of both stems and shortcuts, in evaluation and in training, as torchvision's") {
  for (const GoldenCase& c : resnet_cases()) check(c);
}
TWIN_CASE(
    "golden: the speedrun's network with two and three groups, in evaluation and in training, as the paper has it") {
  for (const GoldenCase& c : airbench_cases()) check(c);
}
TWIN_CASE("golden: CCT and ViT-Lite, as the paper has them") {
  for (const GoldenCase& c : cct_cases()) check(c);
}
TWIN_CASE(
    "golden: CvT, keys rounded up, with and without class token, in evaluation and in training, as transformers'") {
  for (const GoldenCase& c : cvt_cases()) check(c);
}
TWIN_CASE("golden: stand-alone self-attention, neighbourhoods cut out and masked, as the paper has it") {
  for (const GoldenCase& c : sasa_net_cases()) check(c);
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
