// Every model, one row each: a family with defaults for 32 x 32 images, and named configurations of it. To add one: a
// file in this folder and its rows here.
#include <algorithm>
#include <utility>

#include "tessera/models/model.h"
#include "tessera/models/simple_vit.h"
#include "tessera/models/swin.h"
#include "tessera/models/vit.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

template <class Config>
bool knows(Fields<Config> fields, std::string_view key) {
  return std::ranges::any_of(fields, [&](const auto& f) { return key == f.name; });
}

/// M is built from (Scope, Config, MakePosition); `defaults` are this row's configuration.
template <class M, class Config>
ModelRow row(std::string name, std::string family, std::string reference, const char* position, const Config& defaults,
             Fields<Config> fields, Places (*places)(const Config&), std::vector<Rename> dialect = {}) {
  const auto configured = [=](const Options& options) {
    Config c = defaults;
    for (const auto& [key, value] : options)
      if (const std::string known = advice(key); !known.empty() && !knows(fields, key))
        fail("model " + name, "there is no {}: {}", key, known);
    assign(c, fields, options, "model.");
    check_fields(c, fields, "model.", defaults);
    return c;
  };
  std::map<std::string, std::string, std::less<>> help;
  for (const auto& f : fields) help[f.name] = f.help;
  return {name,
          family,
          reference,
          position,
          read(defaults, fields),
          [=](const Options& o) { return places(configured(o)); },
          [=](const Scope& s, const Options& o, const MakePosition& p) -> std::unique_ptr<Model> {
            return std::make_unique<M>(s, configured(o), p);
          },
          std::move(dialect),
          std::move(help),
          domains(fields)};
}

ModelRow vit_row(const char* name, const vit::Config& c) {
  return row<vit::Vit>(name, "vit", "Dosovitskiy et al. 2021, arXiv 2010.11929", "learned", c, vit::fields(),
                       vit::places, vit::dialect());
}
ModelRow simple_vit_row(const char* name, const simple_vit::Config& c) {
  return row<simple_vit::SimpleVit>(name, "simple_vit", "Beyer, Zhai, Kolesnikov 2022, arXiv 2205.01580", "sincos2d", c,
                                    simple_vit::fields(), simple_vit::places);
}

ModelRow swin_row(const char* name, const swin::Config& c) {
  return row<swin::Swin>(name, "swin", "Liu et al. 2021, arXiv 2103.14030", "relative_position_bias", c, swin::fields(),
                         swin::places, swin::dialect());
}

/// A ViT of the paper's shape: 224 x 224 images, patches of 16, MLP four times as wide, 1000 classes.
vit::Config imagenet(int embed_dim, int num_heads) {
  return {.img_size = 224,
          .patch_size = 16,
          .num_classes = 1000,
          .embed_dim = embed_dim,
          .depth = 12,
          .num_heads = num_heads,
          .mlp_ratio = 4};
}

std::vector<ModelRow> table() {
  return {
      vit_row("vit", {}),
      vit_row("vit_cifar_small", {.embed_dim = 128, .depth = 6, .num_heads = 4, .mlp_ratio = 2}),
      vit_row("vit_tiny_patch4_32", {.embed_dim = 192, .depth = 12, .num_heads = 3, .mlp_ratio = 4}),
      vit_row("vit_tiny_patch16_224", imagenet(192, 3)),
      vit_row("vit_small_patch16_224", imagenet(384, 6)),
      vit_row("vit_base_patch16_224", imagenet(768, 12)),
      simple_vit_row("simple_vit", {}),
      simple_vit_row("simple_vit_small_patch16_224", {.img_size = 224,
                                                      .patch_size = 16,
                                                      .num_classes = 1000,
                                                      .embed_dim = 384,
                                                      .depth = 12,
                                                      .num_heads = 6,
                                                      .mlp_ratio = 4}),
      swin_row("swin", {}),
      swin_row("swin_cifar_small", {.embed_dim = 48, .depths = {2, 4}, .num_heads = {3, 6}, .window_size = 4}),
      swin_row("swin_tiny_patch4_window7_224", {.img_size = 224,
                                                .patch_size = 4,
                                                .num_classes = 1000,
                                                .embed_dim = 96,
                                                .depths = {2, 2, 6, 2},
                                                .num_heads = {3, 6, 12, 24},
                                                .window_size = 7,
                                                .mlp_ratio = 4}),
  };
}

}  // namespace

const std::vector<ModelRow>& models() {
  static const std::vector<ModelRow> rows = table();
  return rows;
}

std::string advice(std::string_view key) {
  static constexpr std::pair<std::string_view, const char*> known[] = {
      {"ape", "absolute positions beside the relative ones are --position learned+relative_position_bias"},
      {"use_abs_pos", "absolute positions beside the relative ones are --position learned+relative_position_bias"},
      {"pos_embed", "positions are --position learned, sincos2d, none, ... (tessera positions)"},
      {"use_rel_pos_bias", "relative positions are --position relative_position_bias (tessera positions)"},
      {"rel_pos_bias", "relative positions are --position relative_position_bias (tessera positions)"},
      {"img_height", "the height is model.img_size, the width model.img_width"},
      {"in_channels", "the channels of the image are model.in_chans"},
      {"drop_path", "stochastic depth is model.drop_path_rate"},
      {"dropout", "the rates are model.drop_rate, pos_drop_rate, proj_drop_rate and attn_drop_rate"},
      {"num_layers", "the blocks are model.depth, or model.depths of a model of stages"},
      {"hidden_size", "the width is model.embed_dim"},
  };
  for (const auto& [word, said] : known)
    if (key == word) return said;
  return "";
}

const ModelRow& model(std::string_view name) {
  std::vector<std::string> names;
  for (const auto& r : models()) {
    if (r.name == name) return r;
    names.push_back(r.name);
  }
  unknown("model", name, names);
}

}  // namespace TESSERA_NS
}  // namespace tessera
