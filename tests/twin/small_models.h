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
