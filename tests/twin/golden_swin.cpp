// Swin against timm: tests/golden/swin.py wrote the numbers.
#include "tests/twin/golden.h"
#include "tests/twin/twin.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

void check(const std::string& name, Options options) {
  options.emplace("num_classes", 5);
  const GoldenErrors e = check_golden(name, "swin", options);
  CAPTURE(name);
  CAPTURE(e.worst);
  CHECK(e.logits <= (sizeof(real) == 8 ? 1e-12 : 1e-5));
  CHECK(e.gradients <= (sizeof(real) == 8 ? 1e-11 : 1e-4));
}

TWIN_CASE("golden: Swin, windows of 4 on 8 x 8 shifted, then one window, as timm's") {
  check("swin", {{"patch_size", 4},
                 {"embed_dim", 12},
                 {"depths", std::vector<int>{2, 1}},
                 {"num_heads", std::vector<int>{2, 3}}});
}
TWIN_CASE("golden: Swin of three stages, masked pairs skipped or lowered by 100, as timm's") {
  for (double mask_value : {0.0, -100.0})
    check("swin_deep", {{"embed_dim", 4},
                        {"depths", std::vector<int>{2, 2, 1}},
                        {"num_heads", std::vector<int>{1, 2, 2}},
                        {"mask_value", mask_value}});
}
TWIN_CASE("golden: Swin on a 16 x 32 image, windows that shrink on one axis, no qkv bias, as timm's") {
  check("swin_wide", {{"img_size", 16},
                      {"img_width", 32},
                      {"window_size", 8},
                      {"embed_dim", 8},
                      {"depths", std::vector<int>{2, 2}},
                      {"num_heads", std::vector<int>{2, 4}},
                      {"qkv_bias", false}});
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
