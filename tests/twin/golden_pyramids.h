#pragma once
// The cases of tests/golden/pvt.py and twins.py: the model of the registry and its options. Free of `real`.
#include <string>
#include <vector>

#include "tessera/nn/value.h"

namespace tessera {

struct PyramidCase {
  const char *name, *model;
  Options options;
};

inline std::vector<PyramidCase> pyramid_cases() {
  using Ints = std::vector<int>;
  using Reals = std::vector<double>;
  const auto all = [](Options own, const Options& shared) {
    own.insert(shared.begin(), shared.end());
    for (const auto& [key, value] : Options{{"img_size", 32}, {"patch_size", 4}, {"in_chans", 1}, {"num_classes", 5}})
      own.emplace(key, value);
    return own;
  };
  const Options pvt{{"embed_dims", Ints{4, 8, 8, 12}},
                    {"depths", Ints{1, 1, 2, 1}},
                    {"num_heads", Ints{1, 2, 2, 3}},
                    {"mlp_ratios", Reals{2, 2, 2, 2}},
                    {"sr_ratios", Ints{4, 2, 1, 1}}};
  const Options twins{{"embed_dims", Ints{8, 12}}, {"num_heads", Ints{2, 3}}, {"mlp_ratios", Reals{2, 2}}};
  const Options cpvt{{"embed_dim", 12}, {"depth", 2}, {"num_heads", 2}, {"mlp_ratio", 2.0}};
  return {
      {"pvt", "pvt", all({}, pvt)},
      {"pvt_odd", "pvt", all({{"qkv_bias", false}}, pvt)},
      {"twins_svt", "twins", all({{"depths", Ints{3, 2}}, {"sr_ratios", Ints{2, 1}}, {"wss", Ints{4, 2}}}, twins)},
      {"twins_svt_wide", "twins",
       all({{"img_size", 16},
            {"img_width", 48},
            {"depths", Ints{2, 2}},
            {"sr_ratios", Ints{4, 2}},
            {"wss", Ints{4, 2}}},
           twins)},
      {"twins_pcpvt", "twins", all({{"depths", Ints{2, 2}}, {"sr_ratios", Ints{2, 2}}, {"wss", Ints{1, 1}}}, twins)},
      {"cpvt_token", "cpvt",
       all({{"img_size", 12}, {"img_width", 20}, {"class_token", true}, {"global_pool", "token"}}, cpvt)},
      {"cpvt_avg", "cpvt", all({{"img_size", 16}}, cpvt)},
  };
}

}  // namespace tessera
