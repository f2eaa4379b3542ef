// Swin and Swin v2 against timm: tests/golden/swin.py and swin_v2.py wrote the numbers.
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

void check_v2(const std::string& name, const Options& more = {}) {
  Options options = swin_v2_options(name);
  options.insert(more.begin(), more.end());
  const GoldenErrors e =
      check_golden(name, "swin_v2", options, {.position = "log_cpb", .position_options = swin_v2_bias(name)});
  CAPTURE(name);
  CAPTURE(e.worst);
  CHECK(e.logits <= (sizeof(real) == 8 ? 1e-12 : 2e-5));
  CHECK(e.gradients <= (sizeof(real) == 8 ? 1e-11 : 2e-4));
}

TWIN_CASE("golden: Swin, windows of 4 on 8 x 8 shifted, then one window, as timm's") { check("swin"); }
TWIN_CASE("golden: Swin of three stages, masked pairs skipped or lowered by 100, as timm's") {
  for (double mask_value : {0.0, -100.0}) check("swin_deep", {{"mask_value", mask_value}});
}
TWIN_CASE("golden: Swin on a 16 x 32 image, windows that shrink on one axis, no qkv bias, as timm's") {
  check("swin_wide");
}
TWIN_CASE("golden: Swin with windows of 2 x 4, as timm's") { check("swin_rectangle"); }

TWIN_CASE("golden: Swin v2, windows of 4 on 8 x 8 shifted, then one window; pairs skipped or lowered, as timm's") {
  for (double mask_value : {0.0, -100.0}) check_v2("swin_v2", {{"mask_value", mask_value}});
}
TWIN_CASE("golden: Swin v2 down to a map of one token, as timm's") { check_v2("swin_v2_point"); }
TWIN_CASE("golden: Swin v2 on a 16 x 32 image, saturated scales, another unit of coordinates, no biases, as timm's") {
  check_v2("swin_v2_wide", {{"mask_value", -100.0}});
}
TWIN_CASE("golden: Swin v2 with windows of 2 x 4, as timm's") {
  check_v2("swin_v2_rectangle", {{"mask_value", -100.0}});
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
