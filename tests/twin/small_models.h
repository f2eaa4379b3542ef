#pragma once
// A small model of every family, for the tests that walk the registry. A new family adds its line; without one the tests fail.
#include <algorithm>

#include "tessera/models/model.h"

namespace tessera {

/// Options that make a model of this row small and quick; images are 32 x 32 with 2 channels, of 3 classes.
inline Options small_options(const ModelRow& row) {
  using Ints = std::vector<int>;
  const std::pair<const char*, Options> families[] = {
      {"vit", {{"embed_dim", 24}, {"depth", 2}, {"num_heads", 3}}},
      {"simple_vit", {{"embed_dim", 24}, {"depth", 2}, {"num_heads", 3}}},
      {"swin", {{"embed_dim", 24}, {"depths", Ints{1, 2}}, {"num_heads", Ints{3, 6}}}},
      {"resnet", {{"depths", Ints{1, 1}}, {"widths", Ints{8, 12}}}},
      {"airbench", {{"widths", Ints{8, 12}}}},
      {"cct", {{"embed_dim", 24}, {"depth", 2}, {"num_heads", 3}}},
      {"cvt", {{"embed_dims", Ints{8, 16, 16}}, {"depths", Ints{1, 1, 1}}, {"num_heads", Ints{1, 2, 2}}}},
      {"sasa_net", {{"depths", Ints{1, 1}}, {"widths", Ints{16, 16}}, {"num_heads", 2}}},
      {"cpvt", {{"embed_dim", 24}, {"depth", 2}, {"num_heads", 3}}},
      {"pvt",
       {{"patch_size", 4},
        {"embed_dims", Ints{16, 24}},
        {"depths", Ints{1, 2}},
        {"num_heads", Ints{2, 3}},
        {"mlp_ratios", std::vector<double>{2, 2}},
        {"sr_ratios", Ints{2, 1}}}},
      {"twins",
       {{"patch_size", 4},
        {"embed_dims", Ints{16, 24}},
        {"depths", Ints{2, 1}},
        {"num_heads", Ints{2, 3}},
        {"mlp_ratios", std::vector<double>{2, 2}},
        {"sr_ratios", Ints{2, 1}},
        {"wss", Ints{4, 2}}}},
      {"conformer", {{"input_dim", 8}, {"embed_dim", 24}, {"num_layers", 2}, {"num_heads", 3}, {"num_frames", 16}}},
      {"conformer_image", {{"embed_dim", 24}, {"num_layers", 2}, {"num_heads", 3}}},
      {"swin_v2", {{"embed_dim", 24}, {"depths", Ints{1, 2}}, {"num_heads", Ints{3, 6}}}},
      {"transformer", {{"vocab_size", 12}, {"d_model", 24}, {"nhead", 3}, {"dim_feedforward", 32}, {"max_length", 16}}},
  };
  for (const auto& [family, options] : families) {
    if (row.family != family) continue;
    Options all = options;
    for (const auto& [key, value] : Options{{"img_size", 32}, {"in_chans", 2}, {"num_classes", 3}})
      if (row.defaults.contains(key)) all.emplace(key, value);
    return all;
  }
  fail("small_options", "there is no small model of the family {}: add one to tests/twin/small_models.h", row.family);
}

}  // namespace tessera
