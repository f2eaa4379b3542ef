// Swin against timm: tests/golden/swin.py wrote the numbers.
#include "tests/twin/golden.h"
#include "tests/twin/twin.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

void check(const std::string& name, const Options& more = {}) {
  Options options = swin_options(name);
  options.insert(more.begin(), more.end());
  const GoldenErrors e = check_golden(name, "swin", options);
  CAPTURE(name);
  CAPTURE(e.worst);
  CHECK(e.logits <= (sizeof(real) == 8 ? 1e-12 : 1e-5));
  CHECK(e.gradients <= (sizeof(real) == 8 ? 1e-11 : 1e-4));
}

TWIN_CASE("golden: Swin, windows of 4 on 8 x 8 shifted, then one window, as timm's") { check("swin"); }
TWIN_CASE("golden: Swin of three stages, masked pairs skipped or lowered by 100, as timm's") {
  for (double mask_value : {0.0, -100.0}) check("swin_deep", {{"mask_value", mask_value}});
}
TWIN_CASE("golden: Swin on a 16 x 32 image, windows that shrink on one axis, no qkv bias, as timm's") {
  check("swin_wide");
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
