// Options of ViT and SimpleViT against timm and PyTorch: tests/golden/vit_options.py wrote the numbers.
#include "tests/twin/golden.h"
#include "tests/twin/twin.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

Options with(Options more) {
  const Options small{{"img_size", 16}, {"img_width", 12}, {"patch_size", 4}, {"embed_dim", 16},
                      {"depth", 1},     {"num_heads", 2},  {"mlp_ratio", 2},  {"num_classes", 5}};
  more.insert(small.begin(), small.end());
  return more;
}

void check(const std::string& name, const std::string& model, const Options& options, const GoldenRun& how = {}) {
  const GoldenErrors e = check_golden(name, model, with(options), how);
  CAPTURE(name);
  CAPTURE(e.worst);
  CHECK(e.logits <= (sizeof(real) == 8 ? 1e-12 : 2e-5));
  CHECK(e.gradients <= (sizeof(real) == 8 ? 1e-11 : 2e-4));
}

const Options wide{{"img_size", 12}, {"img_width", 20}};
Options on_wide(Options more) {
  more.insert(wide.begin(), wide.end());
  return more;
}

TWIN_CASE("golden: ViT with registers, as timm's") { check("vit_registers", "vit", on_wide({{"reg_tokens", 3}})); }
TWIN_CASE("golden: ViT with normalised queries and keys, registers without positions, mean of the patches, as timm's") {
  check("vit_qk_norm", "vit",
        on_wide({{"reg_tokens", 2}, {"no_embed_class", true}, {"qk_norm", true}, {"global_pool", "avg"}}));
}
TWIN_CASE("golden: ViT with LocalViT's feed-forward part in training, as PyTorch computes its equations") {
  check("vit_local", "vit", {{"mlp", "local"}}, {.position = "", .mode = Mode::train});
  check("vit_local_se", "vit", {{"mlp", "local"}, {"se_reduction", 4}}, {.position = "", .mode = Mode::train});
}
TWIN_CASE("golden: ViT with ConvFF, its extra pointwise convolution, and a convolution of the values") {
  check("vit_conv_ff", "vit", {{"mlp", "conv_ff"}, {"extra_pointwise", true}, {"lepe", 3}});
}
TWIN_CASE("golden: ViT with PVT v2's Mix-FFN; with a nonlinearity after the MLP") {
  check("vit_mix_ffn", "vit", {{"mlp", "mix_ffn"}});
  check("vit_act_out", "vit", {{"mlp_act_out", true}});
}
TWIN_CASE("golden: ViT with shifted patch tokenization and locality self-attention") {
  check("vit_spt_lsa", "vit", {{"patch", "spt"}, {"lsa", true}, {"qkv_bias", false}, {"norm_eps", 1e-5}});
}
TWIN_CASE("golden: ViT with linear attention, as all pairs give it") {
  check("vit_elu", "vit", {{"attention", "elu"}});
  check("vit_elu_rope", "vit", {{"attention", "elu"}}, {.position = "rope_axial"});
  check("vit_taylor", "vit", {{"attention", "taylor"}, {"lepe", 5}});
}
TWIN_CASE("golden: SimpleViT in lucidrains' form, as PyTorch computes its equations") {
  check("simple_vit_lucidrains", "simple_vit_lucidrains", {{"head_dim", 6}});
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
