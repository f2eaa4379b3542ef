// ViT against timm, SimpleViT against PyTorch: tests/golden/vit.py wrote the numbers.
#include "tests/twin/golden.h"
#include "tests/twin/twin.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

const Options small{{"img_size", 16}, {"patch_size", 4}, {"embed_dim", 24}, {"depth", 2},
                    {"num_heads", 3}, {"mlp_ratio", 2},  {"num_classes", 5}};

Options with(Options more) {
  more.insert(small.begin(), small.end());
  return more;
}

void check(const std::string& name, const std::string& model, const Options& options, double double_bound = 1e-12) {
  const GoldenErrors e = check_golden(name, model, options);
  CAPTURE(name);
  CAPTURE(e.worst);
  // In double nothing but the order of sums differs; the float bounds are those promised for 32-bit inference and
  // training.
  CHECK(e.logits <= (sizeof(real) == 8 ? double_bound : 1e-5));
  CHECK(e.gradients <= (sizeof(real) == 8 ? double_bound : 1e-4));
}

TWIN_CASE("golden: ViT with a class token, as timm's") { check("vit_token", "vit", small); }
TWIN_CASE("golden: ViT with the mean of patches and fc_norm, no qkv bias, as timm's") {
  check("vit_avg", "vit", with({{"class_token", false}, {"global_pool", "avg"}, {"qkv_bias", false}}));
}
TWIN_CASE("golden: ViT with LayerScale, no_embed_class, mean pooling behind a class token, 12 x 20 image, as timm's") {
  check("vit_layerscale", "vit",
        with({{"img_size", 12},
              {"img_width", 20},
              {"init_values", 0.1},
              {"no_embed_class", true},
              {"global_pool", "avg"}}));
}
TWIN_CASE("golden: ViT called at another resolution than it was built for, as timm's dynamic_img_size") {
  check("vit_resized", "vit", small, 1e-6);  // timm interpolates its table in 32 bits whatever the model's type
}
TWIN_CASE("golden: SimpleViT, as PyTorch computes its equations") {
  check("simple_vit", "simple_vit", with({{"img_width", 12}}));
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
