// Ten steps of AdamW on a ViT and a Swin against PyTorch: tests/golden/vit.py and swin.py wrote the losses.
#include "tests/unit/golden_trace.h"

#include "tests/twin/golden_conformer.h"

namespace tessera {
namespace {

using test::check_trace;

TEST_CASE("golden: ten AdamW steps of ViT and SimpleViT give PyTorch's losses") {
  const auto check = [](const std::string& name, const std::string& model, Options options) {
    for (const auto& [key, value] : Options{{"img_size", 16},
                                            {"patch_size", 4},
                                            {"embed_dim", 24},
                                            {"depth", 2},
                                            {"num_heads", 3},
                                            {"mlp_ratio", 2},
                                            {"num_classes", 5}})
      options.emplace(key, value);
    check_trace(name, model, options);
  };
  check("vit_token", "vit", {});
  check("vit_avg", "vit", {{"class_token", false}, {"global_pool", "avg"}, {"qkv_bias", false}});
  check("vit_layerscale", "vit",
        {{"img_size", 12}, {"img_width", 20}, {"init_values", 0.1}, {"no_embed_class", true}, {"global_pool", "avg"}});
  check("vit_resized", "vit", {});
  check("simple_vit", "simple_vit", {{"img_width", 12}});
}

TEST_CASE("golden: ten AdamW steps of Swin give timm's losses") {
  for (const char* name : {"swin", "swin_deep", "swin_wide"}) {
    Options options = swin_options(name);
    options.emplace("drop_path_rate", 0.0);
    check_trace(name, "swin", options);
  }
}

TEST_CASE("golden: ten AdamW steps of a Conformer give torchaudio's losses") {
  check_trace("conformer_train", "conformer", conformer_options("conformer_train"), "none");
}

}  // namespace
}  // namespace tessera
