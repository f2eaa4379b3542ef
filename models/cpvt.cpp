// Conditional Position encoding Vision Transformer.  Chu et al. 2021, "Conditional Positional Encodings for Vision Transformers", arXiv
// 2102.10882.
//
//   image (B, H, W, 3)
//     -> patch_embed                    tokens (B, N, C); a class token in front unless global_pool = avg
//     -> block 0 of a ViT               which does not know yet where anything is
//     -> position.between: PEG          patches += dwconv_3x3(map of the patches); the class token passes by
//     -> the other blocks, norm, head   as in a ViT
//
// All of it is models/vit.cpp, and PEG is nn/position/peg.cpp: a CPVT is a row that brings the two together. The authors released no code
// under this name, so the names of weights are ViT's, and PEG's the name of its place: pos_block.1.proj.0. The paper repeats PEG after
// several blocks in some of its experiments: position.after=[0, 1, 2, 3, 4].
#include "tessera/models/cpvt.h"

#include "tessera/models/image.h"
#include "tessera/models/vit.h"

namespace tessera::cpvt {
inline namespace TESSERA_NS {
namespace {

vit::Config imagenet(int embed_dim, int num_heads, bool class_token) {
  return {.img_size = 224,
          .patch_size = 16,
          .num_classes = 1000,
          .global_pool = class_token ? "token" : "avg",
          .embed_dim = embed_dim,
          .depth = 12,
          .num_heads = num_heads,
          .mlp_ratio = 4,
          .class_token = class_token};
}

}  // namespace

std::vector<ModelRow> rows() {
  const Family<vit::Config> family{.name = "cpvt",
                                   .reference = "Chu et al. 2021, arXiv 2102.10882",
                                   .position = "peg",
                                   .fields = vit::fields(),
                                   .places = vit::places,
                                   .input = image_input<vit::Config>,
                                   .fit = fit_image,
                                   .dialect = vit::dialect()};
  return {model_row<vit::Vit>(family, "cpvt", {.global_pool = "avg", .class_token = false}),
          model_row<vit::Vit>(family, "cpvt_tiny_patch16_224", imagenet(192, 3, true)),
          model_row<vit::Vit>(family, "cpvt_small_patch16_224", imagenet(384, 6, true)),
          model_row<vit::Vit>(family, "cpvt_base_patch16_224", imagenet(768, 12, true)),
          model_row<vit::Vit>(family, "cpvt_tiny_gap_patch16_224", imagenet(192, 3, false)),
          model_row<vit::Vit>(family, "cpvt_small_gap_patch16_224", imagenet(384, 6, false))};
}

}  // namespace TESSERA_NS
}  // namespace tessera::cpvt
